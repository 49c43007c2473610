package tptest

import (
	"context"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/inherit"
)

// Move does what a Reboot does with the sessions that a peer has accepted: it hands them to
// another one, which stands for that of the new process and must listen too, with their
// connections. It runs the hooks of both, as they are in two processes. It returns how many
// sessions have moved, and why the others stay. On systems without unix sockets none moves.
// Sessions in use are tried again for up to five seconds.
func Move(t testing.TB, from, to tp.Peer) (moved int, stayed map[string]int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return inherit.Rehearse(ctx, from, to)
}
