//go:build unix

package tp

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/inherit"
)

// lateContext is a context that is about to end.
type lateContext struct{ context.Context }

func (lateContext) Deadline() (time.Time, bool) { return time.Now(), true }

// A connection that has hardly any time left when it is handed back does not end the line for
// the others.
func TestHandBackLate(t *testing.T) {
	child, parent, err := inherit.NewLines()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	settled := make(chan bool, 2)
	go func() {
		ended <- parent.Adopt(func(_, _ []byte, conn net.Conn) (func(bool), error) {
			conn.Close()
			return func(mine bool) { settled <- mine }, nil
		})
	}()
	p := NewPeer(PeerConfig{}).(*peer)
	defer p.Close()
	handBack := p.handBack(child)
	conn, _ := openTCP(t)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := handBack(over, []byte("over"), conn); err == nil {
		t.Error("a connection whose time is over was handed back")
	}
	for _, ctx := range []context.Context{lateContext{t.Context()}, t.Context()} {
		if err := handBack(ctx, []byte("x"), conn); err != nil {
			t.Fatal(err)
		}
		if !<-settled {
			t.Error("the connection is not the old process's")
		}
	}
	child.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
