module github.com/teleport-go/teleport/tools/attack

go 1.26.0

require (
	github.com/apache/thrift v0.25.0
	github.com/teleport-go/teleport/codecs/cborcodec v0.1.0
	github.com/teleport-go/teleport/codecs/formcodec v0.1.0
	github.com/teleport-go/teleport/codecs/jsoncodec v0.1.0
	github.com/teleport-go/teleport/codecs/pbcodec v0.1.0
	github.com/teleport-go/teleport/codecs/plaincodec v0.1.0
	github.com/teleport-go/teleport/codecs/thriftcodec v0.1.0
	github.com/teleport-go/teleport/codecs/xmlcodec v0.1.0
	github.com/teleport-go/teleport/core v0.1.0
	github.com/teleport-go/teleport/protos/httproto v0.1.0
	github.com/teleport-go/teleport/protos/jsonproto v0.1.0
	github.com/teleport-go/teleport/protos/pbproto v0.1.0
	github.com/teleport-go/teleport/protos/rawproto v0.1.0
	github.com/teleport-go/teleport/protos/thriftproto v0.1.0
	github.com/teleport-go/teleport/xfers/gzip v0.1.0
	github.com/teleport-go/teleport/xfers/md5 v0.1.0
	github.com/teleport-go/teleport/xfers/zstd v0.1.0
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/fxamacker/cbor/v2 v2.9.6 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/x448/float16 v0.8.4 // indirect
)
