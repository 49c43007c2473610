//go:build unix

package tp

import (
	"context"
	"errors"
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
	handBack := p.handBack([]*inherit.Line{child})
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

// The processes before are asked one after the other, the last one first; one that has ended, or
// refuses, does not keep those before it from being asked.
func TestHandBackToAnOlderProcess(t *testing.T) {
	taken := make(chan string, 1)
	process := func(name string, refuses bool) *inherit.Line {
		near, far, err := inherit.NewLines()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { near.Close() })
		go far.Adopt(func(_, _ []byte, conn net.Conn) (func(bool), error) { // ends with near
			conn.Close()
			if refuses {
				return nil, errors.New("it is not known")
			}
			return func(bool) { taken <- name }, nil
		})
		return near
	}
	ended := process("ended", false)
	ended.Close()
	p := NewPeer(PeerConfig{}).(*peer)
	defer p.Close()
	refuses, first, second := process("refuses", true), process("first", false), process("second", false)
	conn, _ := openTCP(t)
	for _, test := range []struct {
		name  string
		lines []*inherit.Line
		want  string // "": none takes it
	}{
		{"the last one", []*inherit.Line{second, first}, "second"},
		{"one has ended", []*inherit.Line{ended, first}, "first"},
		{"one refuses", []*inherit.Line{refuses, ended, first}, "first"},
		{"none has it", []*inherit.Line{ended, refuses}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := p.handBack(test.lines)(t.Context(), nil, conn)
			switch {
			case test.want == "":
				if !errors.Is(err, inherit.ErrRefused) {
					t.Errorf("error %v; want that it is refused", err)
				}
			case err != nil:
				t.Error(err)
			default:
				if got := <-taken; got != test.want {
					t.Errorf("the process %q has it; want %q", got, test.want)
				}
			}
		})
	}
	if p.handBack(nil) != nil {
		t.Error("without a process before, there is one to ask")
	}
}
