// Package evio is being built.
package evio

import _ "github.com/teleport-go/teleport/core"
