module github.com/teleport-go/teleport/mixers/outproc

go 1.25

require github.com/teleport-go/teleport/core v0.1.0
