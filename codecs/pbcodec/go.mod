module github.com/teleport-go/teleport/codecs/pbcodec

go 1.25

require (
	github.com/teleport-go/teleport/core v0.1.0
	google.golang.org/protobuf v1.36.12
)
