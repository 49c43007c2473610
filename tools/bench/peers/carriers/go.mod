module github.com/teleport-go/teleport/tools/bench/peers/carriers

go 1.26.0

require (
	github.com/teleport-go/teleport/codecs/pbcodec v0.1.0
	github.com/teleport-go/teleport/core v0.1.0
	github.com/teleport-go/teleport/mixers/kcp v0.1.0
	github.com/teleport-go/teleport/mixers/quic v0.1.0
	github.com/teleport-go/teleport/mixers/standard v0.1.0
	github.com/teleport-go/teleport/mixers/websocket v0.1.0
	github.com/teleport-go/teleport/tools/bench v0.1.0
)

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0 // indirect
	github.com/gobwas/httphead v0.1.0 // indirect
	github.com/gobwas/ws v1.5.0 // indirect
	github.com/klauspost/cpuid/v2 v2.2.6 // indirect
	github.com/klauspost/reedsolomon v1.12.0 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/planetscale/vtprotobuf v0.6.0 // indirect
	github.com/quic-go/quic-go v0.65.0 // indirect
	github.com/teleport-go/teleport/codecs/formcodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/jsoncodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/plaincodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/xmlcodec v0.1.0 // indirect
	github.com/teleport-go/teleport/protos/jsonproto v0.1.0 // indirect
	github.com/teleport-go/teleport/protos/pbproto v0.1.0 // indirect
	github.com/teleport-go/teleport/protos/rawproto v0.1.0 // indirect
	github.com/teleport-go/teleport/xfers/gzip v0.1.0 // indirect
	github.com/teleport-go/teleport/xfers/md5 v0.1.0 // indirect
	github.com/tjfoc/gmsm v1.4.1 // indirect
	github.com/xtaci/kcp-go/v5 v5.6.24 // indirect
	golang.org/x/crypto v0.57.0 // indirect
	golang.org/x/net v0.59.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
