module github.com/teleport-go/teleport/plugins/overloader

go 1.26.0

require (
	github.com/teleport-go/teleport/core v0.1.0
	golang.org/x/time v0.16.0
)
