module github.com/teleport-go/teleport/xfers/zstd

go 1.25

require (
	github.com/klauspost/compress v1.20.3
	github.com/teleport-go/teleport/core v0.1.0
)
