module github.com/teleport-go/teleport/tools/bench

go 1.25.0

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/planetscale/vtprotobuf v0.6.0
	github.com/stretchr/testify v1.12.1
	github.com/teleport-go/teleport/codecs/pbcodec v0.1.0
	github.com/teleport-go/teleport/core v0.1.0
	github.com/teleport-go/teleport/mixers/standard v0.1.0
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/teleport-go/teleport/codecs/formcodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/jsoncodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/plaincodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/xmlcodec v0.1.0 // indirect
	github.com/teleport-go/teleport/protos/rawproto v0.1.0 // indirect
	github.com/teleport-go/teleport/xfers/gzip v0.1.0 // indirect
	github.com/teleport-go/teleport/xfers/md5 v0.1.0 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
)
