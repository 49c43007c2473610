//go:build !wasm

package guest

import "runtime"

// Serve makes the parts, each an xfer.XferFilter or a codec.Codec, those of this guest. It
// panics, since this program was not built as a guest.
func Serve(parts ...any) {
	if _, err := newServer(parts); err != nil {
		panic(err.Error())
	}
	panic("guest.Serve: this program was built for " + runtime.GOOS + "/" + runtime.GOARCH +
		": build a guest with GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared")
}
