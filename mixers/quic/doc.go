// Package quic is being built.
package quic

import _ "github.com/teleport-go/teleport/core"
