package jsonproto

import (
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

// A goodbye, which is a reply to no call, goes to peers that may be of this project: those
// write V5, and one of V7 is of eRPC.
func TestCarriesBye(t *testing.T) {
	for _, d := range []Dialect{V5, V7} {
		c, s := connect([]Dialect{d}, nil)
		pass(t, c, s, goldens["call"]())
		for name, e := range map[string]socket.Proto{"dialled": c.Proto, "accepted": s.Proto} {
			if got, want := e.(socket.ByeCarrier).CarriesBye(), d == V5; got != want {
				t.Errorf("%s connection of %v carries a goodbye: %v; want %v", name, d, got, want)
			}
		}
	}
}
