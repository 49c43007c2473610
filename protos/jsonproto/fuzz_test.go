package jsonproto

import (
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

func FuzzUnpack(f *testing.F) { dialectTests.FuzzUnpack(f) }

func FuzzRoundTrip(f *testing.F) {
	dialectTests.FuzzRoundTrip(f, func(Dialect, socket.Message) bool { return false })
}
