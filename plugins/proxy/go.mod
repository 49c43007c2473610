module github.com/teleport-go/teleport/plugins/proxy

go 1.25

require (
	github.com/stretchr/testify v1.12.1
	github.com/teleport-go/teleport/core v0.1.0
)

require go.yaml.in/yaml/v3 v3.0.6 // indirect
