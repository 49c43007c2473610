module github.com/teleport-go/teleport/tools/bench/peers/drpc

go 1.25.0

require (
	github.com/teleport-go/teleport/tools/bench v0.1.0
	google.golang.org/protobuf v1.36.12
	storj.io/drpc v1.0.0
)

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0 // indirect
	github.com/planetscale/vtprotobuf v0.6.0 // indirect
	github.com/zeebo/errs v1.2.2 // indirect
)
