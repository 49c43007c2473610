// Package html is being built.
package html

import _ "github.com/teleport-go/teleport/core"
