module github.com/teleport-go/teleport/mixers/kcp

go 1.26.0

require (
	github.com/stretchr/testify v1.12.1
	github.com/teleport-go/teleport/core v0.1.0
	github.com/xtaci/kcp-go/v5 v5.6.24
)

require (
	github.com/klauspost/cpuid/v2 v2.2.6 // indirect
	github.com/klauspost/reedsolomon v1.12.0 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/tjfoc/gmsm v1.4.1 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/crypto v0.57.0 // indirect
	golang.org/x/net v0.59.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
)
