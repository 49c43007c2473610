// Package wasm is being built.
package wasm

import _ "github.com/teleport-go/teleport/core"
