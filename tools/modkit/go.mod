module github.com/teleport-go/teleport/tools/modkit

go 1.25.0

require (
	github.com/alecthomas/kong v1.17.0
	golang.org/x/mod v0.40.0
)
