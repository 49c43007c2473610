module github.com/teleport-go/teleport/tools/modkit

go 1.25
