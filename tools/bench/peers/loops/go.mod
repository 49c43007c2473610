module github.com/teleport-go/teleport/tools/bench/peers/loops

go 1.26.0

require (
	github.com/lesismal/nbio v1.6.7
	github.com/panjf2000/gnet/v2 v2.9.4
	github.com/teleport-go/teleport/codecs/pbcodec v0.1.0
	github.com/teleport-go/teleport/core v0.1.0
	github.com/teleport-go/teleport/mixers/evio v0.1.0
	github.com/teleport-go/teleport/mixers/standard v0.1.0
	github.com/teleport-go/teleport/tools/bench v0.1.0
)

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0 // indirect
	github.com/panjf2000/ants/v2 v2.11.3 // indirect
	github.com/planetscale/vtprotobuf v0.6.0 // indirect
	github.com/teleport-go/teleport/codecs/formcodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/jsoncodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/plaincodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/xmlcodec v0.1.0 // indirect
	github.com/teleport-go/teleport/protos/rawproto v0.1.0 // indirect
	github.com/teleport-go/teleport/xfers/gzip v0.1.0 // indirect
	github.com/teleport-go/teleport/xfers/md5 v0.1.0 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	go.uber.org/zap v1.27.0 // indirect
	golang.org/x/sync v0.11.0 // indirect
	golang.org/x/sys v0.30.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
	gopkg.in/natefinch/lumberjack.v2 v2.2.1 // indirect
)
