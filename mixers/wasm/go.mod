module github.com/teleport-go/teleport/mixers/wasm

go 1.26.0

require (
	github.com/stretchr/testify v1.12.1
	github.com/teleport-go/teleport/codecs/cborcodec v0.1.0
	github.com/teleport-go/teleport/codecs/jsoncodec v0.1.0
	github.com/teleport-go/teleport/core v0.1.0
	github.com/teleport-go/teleport/xfers/md5 v0.1.0
	github.com/tetratelabs/wazero v1.12.0
)

require (
	github.com/fxamacker/cbor/v2 v2.9.6 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/sys v0.48.0 // indirect
)
