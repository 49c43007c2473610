module github.com/teleport-go/teleport/mixers/multiclient

go 1.25

require github.com/teleport-go/teleport/core v0.1.0
