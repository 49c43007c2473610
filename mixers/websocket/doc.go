// Package websocket is being built.
package websocket

import _ "github.com/teleport-go/teleport/core"
