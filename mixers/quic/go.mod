module github.com/teleport-go/teleport/mixers/quic

go 1.26

require github.com/teleport-go/teleport/core v0.1.0
