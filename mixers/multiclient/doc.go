// Package multiclient is being built.
package multiclient

import _ "github.com/teleport-go/teleport/core"
