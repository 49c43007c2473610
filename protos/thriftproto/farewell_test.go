package thriftproto

import (
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

// A goodbye, which is a reply to no call, goes to peers that may be of this project: those
// write the binary form in V5. One of V7 is of eRPC, and one that writes structs may be of
// Thrift's own library.
func TestCarriesBye(t *testing.T) {
	for _, f := range []form{binaryForm, structForm} {
		for _, d := range []Dialect{V5, V7} {
			c, s := connect(f, []Dialect{d}, nil)
			pass(t, c, s, call())
			for name, e := range map[string]socket.Proto{"dialled": c.Proto, "accepted": s.Proto} {
				if got, want := e.(socket.ByeCarrier).CarriesBye(), f == binaryForm && d == V5; got != want {
					t.Errorf("%s connection of %c, %v carries a goodbye: %v; want %v", name, f, d, got, want)
				}
			}
		}
	}
}
