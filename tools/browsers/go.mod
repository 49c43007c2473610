module github.com/teleport-go/teleport/tools/browsers

go 1.26.0

require (
	github.com/coder/websocket v1.8.15
	github.com/stretchr/testify v1.12.1
	github.com/teleport-go/teleport/codecs/jsoncodec v0.1.0
	github.com/teleport-go/teleport/codecs/plaincodec v0.1.0
	github.com/teleport-go/teleport/core v0.1.0
	github.com/teleport-go/teleport/mixers/websocket v0.1.0
	github.com/teleport-go/teleport/plugins/auth v0.1.0
	github.com/teleport-go/teleport/plugins/heartbeat v0.1.0
)
