module github.com/teleport-go/teleport/codecs/thriftcodec

go 1.26

require (
	github.com/apache/thrift v0.25.0
	github.com/teleport-go/teleport/core v0.1.0
)
