module github.com/teleport-go/teleport/tools/bench/peers/connect

go 1.26.0

require (
	connectrpc.com/connect v1.21.1
	github.com/teleport-go/teleport/tools/bench v0.1.0
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0 // indirect
	github.com/planetscale/vtprotobuf v0.6.0 // indirect
)
