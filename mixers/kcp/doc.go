// Package kcp is being built.
package kcp

import _ "github.com/teleport-go/teleport/core"
