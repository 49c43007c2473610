module github.com/teleport-go/teleport/mixers/resume

go 1.26.0

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/stretchr/testify v1.12.1
	github.com/teleport-go/teleport/codecs/jsoncodec v0.1.0
	github.com/teleport-go/teleport/core v0.1.0
	github.com/teleport-go/teleport/protos/rawproto v0.1.0
)

require go.yaml.in/yaml/v3 v3.0.6 // indirect
