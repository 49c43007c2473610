module github.com/teleport-go/teleport/tools/browsers

go 1.26.0

require (
	github.com/coder/websocket v1.8.15
	github.com/stretchr/testify v1.12.1
	github.com/teleport-go/teleport/codecs/formcodec v0.1.0
	github.com/teleport-go/teleport/codecs/jsoncodec v0.1.0
	github.com/teleport-go/teleport/codecs/plaincodec v0.1.0
	github.com/teleport-go/teleport/core v0.1.0
	github.com/teleport-go/teleport/mixers/html v0.1.0
	github.com/teleport-go/teleport/mixers/resume v0.1.0
	github.com/teleport-go/teleport/mixers/websocket v0.1.0
	github.com/teleport-go/teleport/plugins/auth v0.1.0
	github.com/teleport-go/teleport/plugins/heartbeat v0.1.0
	github.com/teleport-go/teleport/protos/httproto v0.1.0
	github.com/teleport-go/teleport/protos/jsonproto v0.1.0
)

require (
	github.com/anishathalye/porcupine v1.3.1 // indirect
	github.com/gobwas/httphead v0.1.0 // indirect
	github.com/gobwas/ws v1.5.0 // indirect
	github.com/teleport-go/teleport/protos/pbproto v0.1.0 // indirect
	github.com/teleport-go/teleport/protos/rawproto v0.1.0 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
)
