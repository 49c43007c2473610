// Package outproc is being built.
package outproc

import _ "github.com/teleport-go/teleport/core"
