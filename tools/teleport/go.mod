module github.com/teleport-go/teleport/tools/teleport

go 1.26.0

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/alecthomas/kong v1.17.0
	github.com/schollz/progressbar/v3 v3.19.1
	github.com/teleport-go/teleport/core v0.1.0
	github.com/teleport-go/teleport/mixers/standard v0.1.0
)

require (
	github.com/mitchellh/colorstring v0.0.0-20190213212951-d06e56a500db // indirect
	github.com/rivo/uniseg v0.4.7 // indirect
	github.com/teleport-go/teleport/codecs/formcodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/jsoncodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/plaincodec v0.1.0 // indirect
	github.com/teleport-go/teleport/codecs/xmlcodec v0.1.0 // indirect
	github.com/teleport-go/teleport/protos/rawproto v0.1.0 // indirect
	github.com/teleport-go/teleport/xfers/gzip v0.1.0 // indirect
	github.com/teleport-go/teleport/xfers/md5 v0.1.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/term v0.44.0 // indirect
)
