package tp_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// xorConn inverts each byte, like a connection with a cipher.
type xorConn struct{ net.Conn }

func (c xorConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for i := range p[:n] {
		p[i] ^= 0x5a
	}
	return n, err
}

func (c xorConn) Write(p []byte) (int, error) {
	q := make([]byte, len(p))
	for i := range p {
		q[i] = p[i] ^ 0x5a
	}
	return c.Conn.Write(q)
}

func TestModifySocket(t *testing.T) {
	named := func(rw socket.IOWithReadBuffer) tp.Proto { return namedProto{testwire.New(rw).(socket.FrameAppender)} }
	for _, test := range []struct {
		name  string
		conn  func(net.Conn) net.Conn
		proto tp.ProtoFunc
	}{
		{"no change", func(net.Conn) net.Conn { return nil }, nil},
		{"the protocol alone", func(net.Conn) net.Conn { return nil }, named},
		{"the connection alone", func(c net.Conn) net.Conn { return xorConn{c} }, nil},
		{"both", func(c net.Conn) net.Conn { return xorConn{c} }, named},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := new(ends)
			version := func(s tp.PreSession) string {
				_, name := s.GetProtoFunc()(nil).Version()
				return name
			}
			want := testwire.Name
			if test.proto != nil {
				want = "named"
			}
			modify := func(s tp.PreSession) *tp.Rerror {
				s.Swap().Store("k", "v")
				id := s.ID()
				s.ModifySocket(func(c net.Conn) (net.Conn, tp.ProtoFunc) { return test.conn(c), test.proto })
				if v, _ := s.Swap().Load("k"); v != "v" || s.ID() != id || version(s) != want {
					return wrong("afterwards: %v %v %s", v, s.ID(), version(s))
				}
				return nil
			}
			r := talk(t, e, func(s tp.PreSession) *tp.Rerror {
				var got string
				if r := s.PreCall("/first", nil, &got); r != nil || got != "plain" {
					return wrong("%q %v", got, r)
				}
				if r := modify(s); r != nil {
					return r
				}
				if r := s.PreCall("/second", nil, &got); r != nil || got != "modified" {
					return wrong("%q %v", got, r)
				}
				return nil
			}, func(s tp.PreSession) *tp.Rerror {
				if r := s.PreReply(s.PreReceive(nil), "plain", nil); r != nil {
					return r
				}
				if r := modify(s); r != nil {
					return r
				}
				return s.PreReply(s.PreReceive(nil), "modified", nil)
			})
			if r != nil {
				t.Fatalf("Dial: %v", r)
			}
			for range 3 {
				if r := e.call(t, "/echo", nil, nil); r != nil {
					t.Errorf("afterwards a call gives %v", r)
				}
			}
		})
	}
}

type namedProto struct{ socket.FrameAppender }

func (namedProto) Version() (byte, string) { return 249, "named" }

// Bytes that were read before the connection was replaced are not lost: the peer
// sent its second message with the first, and xorConn undoes the bytes of both.
func TestModifySocketHandsOverWhatWasRead(t *testing.T) {
	for _, test := range []struct {
		name string
		conn func(net.Conn) net.Conn
		pf   tp.ProtoFunc
	}{
		{"same connection, new protocol", func(net.Conn) net.Conn { return nil }, testwire.NewPlain},
		{"wrapped connection", func(c net.Conn) net.Conn { return struct{ net.Conn }{c} }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := new(ends)
			r := talk(t, e, func(s tp.PreSession) *tp.Rerror {
				done := make(chan *tp.Rerror, 1)
				s.RawPush("/one", "1")
				go func() { done <- nil }()
				s.RawPush("/two", strings.Repeat("2", 5000))
				s.RawPush("/three", "3")
				<-done
				return s.PreReceive(text).Rerror()
			}, func(s tp.PreSession) *tp.Rerror {
				if m := s.PreReceive(text); *m.Body().(*string) != "1" {
					return wrong("first: %v", m)
				}
				s.ModifySocket(func(c net.Conn) (net.Conn, tp.ProtoFunc) { return test.conn(c), test.pf })
				if m := s.PreReceive(text); m.Rerror() != nil || len(*m.Body().(*string)) != 5000 {
					return wrong("second: %v", m.Rerror())
				}
				m := s.PreReceive(text)
				if m.Rerror() != nil || *m.Body().(*string) != "3" {
					return wrong("third: %v", m.Rerror())
				}
				return s.PreReply(m, "done", nil)
			})
			if r != nil {
				t.Fatalf("Dial: %v; %q", r, e.srvLines.with("refused"))
			}
			if r := e.call(t, "/echo", nil, nil); r != nil {
				t.Errorf("afterwards a call gives %v", r)
			}
		})
	}
}

// closeConn records that it was closed.
type closeConn struct {
	net.Conn
	closed chan struct{}
	once   sync.Once
}

func (c *closeConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// A connection that a hook puts in place of one that is being closed, or was, is
// closed as well: a hook that reads from it does not wait for ever.
func TestModifySocketOfAConnectionThatIsClosed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	first := &closeConn{closed: make(chan struct{})}
	second := &closeConn{closed: make(chan struct{})}
	dial := func(s tp.PreSession) *tp.Rerror {
		s.ModifySocket(func(c net.Conn) (net.Conn, tp.ProtoFunc) { first.Conn = c; return first, nil })
		cancel()
		for over := false; !over; { // at the same time
			s.ModifySocket(func(c net.Conn) (net.Conn, tp.ProtoFunc) { return c, nil })
			select {
			case <-first.closed:
				over = true
			default:
			}
		}
		s.ModifySocket(func(c net.Conn) (net.Conn, tp.ProtoFunc) { second.Conn = c; return second, nil })
		select {
		case <-second.closed:
		case <-time.After(5 * time.Second):
			t.Error("the second connection is open")
		}
		return nil
	}
	e := &ends{cliPlugin: []tp.Plugin{early{name: "closer", dial: dial}}}
	e.listen(t)
	_, r := e.cli.DialContext(ctx, e.addr)
	wantRerror(t, "Dial", r, tp.CodeDialFailed, "context canceled")
}
