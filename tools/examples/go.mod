module github.com/teleport-go/teleport/tools/examples

go 1.25

require (
	github.com/teleport-go/teleport/core v0.1.0
	github.com/teleport-go/teleport/mixers/standard v0.1.0
)
