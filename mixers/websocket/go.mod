module github.com/teleport-go/teleport/mixers/websocket

go 1.26

require (
	github.com/coder/websocket v1.8.15
	github.com/gobwas/ws v1.5.0
	github.com/stretchr/testify v1.12.1
	github.com/teleport-go/teleport/codecs/jsoncodec v0.1.0
	github.com/teleport-go/teleport/core v0.1.0
	github.com/teleport-go/teleport/protos/jsonproto v0.1.0
	github.com/teleport-go/teleport/protos/pbproto v0.1.0
	github.com/teleport-go/teleport/protos/rawproto v0.1.0
)

require (
	github.com/gobwas/httphead v0.1.0 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
)
