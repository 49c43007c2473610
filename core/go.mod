module github.com/teleport-go/teleport/core

go 1.25
