module github.com/teleport-go/teleport/codecs/cborcodec

go 1.25

require (
	github.com/fxamacker/cbor/v2 v2.9.6
	github.com/teleport-go/teleport/core v0.1.0
)

require github.com/x448/float16 v0.8.4 // indirect
