//go:build unix

package tp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/inherit"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// savedConn is a HandOverConn around a socket.
type savedConn struct {
	net.Conn
	name    string
	saves   atomic.Int32
	fail    func(save int32) error // of Save
	settled atomic.Pointer[[]bool]
}

func (w *savedConn) Save() (state []byte, below net.Conn, err error) {
	if err := w.fail(w.saves.Add(1)); err != nil {
		return nil, nil, err
	}
	return []byte(w.name), w.Conn, nil
}

func (w *savedConn) Settle(mine bool) {
	var list []bool
	if p := w.settled.Load(); p != nil {
		list = *p
	}
	list = append(list, mine)
	w.settled.Store(&list)
	if !mine {
		w.Conn.Close()
	}
}

// savingLis is a listener of savedConns.
type savingLis struct {
	net.Listener
	accepted, restored atomic.Pointer[savedConn] // the last one
	fail               func(save int32) error
	restore            func() error
}

func (l *savingLis) Unwrap() net.Listener { return l.Listener }
func (l *savingLis) Replaced()            {}

func (l *savingLis) TakeBack([]byte, net.Conn) (func(), error) { return nil, errors.New("none") }

func (l *savingLis) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	w := &savedConn{Conn: conn, name: "made here", fail: l.fail}
	l.accepted.Store(w)
	return w, nil
}

func (l *savingLis) Restore(state []byte, below net.Conn) (HandOverConn, error) {
	if err := l.restore(); err != nil {
		return nil, err
	}
	w := &savedConn{Conn: below, name: string(state) + ", and moved", fail: l.fail}
	l.restored.Store(w)
	return w, nil
}

// refuses is a plugin that lets a session not move, in the new process.
type refuses struct{ r *Rerror }

func (refuses) Name() string                         { return "refuses" }
func (refuses) Save(BaseSession) ([]byte, error)     { return nil, nil }
func (p refuses) Restore(PreSession, []byte) *Rerror { return p.r }
func (refuses) PostAccept(PreSession) *Rerror        { return nil }

// A connection of a network that wraps sockets moves by its Save and Restore, or stays and is
// what it was.
func TestWrappedConnMoves(t *testing.T) {
	never := func(int32) error { return nil }
	var giveUp context.CancelFunc // ends the time of the move
	fine := func() error { return nil }
	for _, test := range []struct {
		name    string
		save    func(save int32) error
		restore func() error
		refuse  *Rerror
		stays   string // "": it moves
		settled string // of the old connection, and the new one
	}{
		{"moves", never, fine, nil, "", "[false] [true]"},
		{"is busy at first", func(save int32) error {
			if save < 3 {
				return errors.New("another one is about to carry it")
			}
			return nil
		}, fine, nil, "", "[false] [true]"},
		{"cannot", func(int32) error { return fmt.Errorf("never: %w", errors.ErrUnsupported) }, fine, nil, "its connection: never", "[] []"},
		{"is busy all the time", func(save int32) error {
			if save == 3 {
				giveUp()
			}
			return errors.New("busy")
		}, fine, nil, "in use all the time", "[] []"},
		{"is not restored", never, func() error { return errors.New("the state is wrong") }, nil, "its connection: the state is wrong", "[true] []"},
		{"panics", never, func() error { panic("a network's panic") }, nil, "it panicked: a network's panic", "[true] []"},
		{"is refused", never, fine, NewRerror(CodeForbidden, "Forbidden", "no"), "plugin refuses: 403", "[true] [false]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			testwire.Register()
			var made []*savingLis
			n := Network{Name: "wrapped", Dial: dialTCP, Listen: func(ctx context.Context, c ListenConfig) (net.Listener, error) {
				c.Network = "tcp"
				lis, err := listenTCP(ctx, c)
				if err != nil {
					return nil, err
				}
				w := &savingLis{Listener: lis, fail: test.save, restore: test.restore}
				made = append(made, w)
				return w, nil
			}}
			open := func() *peer {
				cfg := moveConfig("", "127.0.0.1")
				cfg.Net = &n
				p, err := Open(cfg, refuses{test.refuse})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { p.Close() })
				HandleCall(p, "/echo", func(_ CallCtx, s *string) (string, error) { return *s, nil })
				if err := p.Listen(); err != nil {
					t.Fatal(err)
				}
				return p.(*peer)
			}
			from, to := open(), open()
			s, r := moveClient(t, "tcp").Dial(from.Addrs()[0].String())
			if r != nil {
				t.Fatal(r)
			}
			wantCall(t, s.(*session), "/echo", "x", "x")
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			giveUp = cancel
			moved, stayed := inherit.Rehearse(ctx, from, to)
			if want := test.stays == ""; want != (moved == 1) || want != (len(stayed) == 0) || !strings.Contains(fmt.Sprint(stayed), test.stays) {
				t.Errorf("%d have moved, others stay: %v; want %q", moved, stayed, test.stays)
			}
			wantCall(t, s.(*session), "/echo", "x", "x")
			old, next := made[0].accepted.Load(), made[1].restored.Load()
			if got := fmt.Sprint(settled(old), settled(next)); got != strings.Replace(test.settled, " ", "", 1) && got != test.settled {
				t.Errorf("settled: %s; want %s", got, test.settled)
			}
			if moved == 1 && next.name != "made here, and moved" {
				t.Errorf("the connection is %q", next.name)
			}
		})
	}
}

func settled(w *savedConn) []bool {
	if w == nil || w.settled.Load() == nil {
		return nil
	}
	return *w.settled.Load()
}
