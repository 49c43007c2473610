package prototest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/teleport-go/teleport/core/socket"
)

// way is how the protocol is run.
type way struct {
	name   string
	engine bool
	pack   bool // hide that the protocol is a socket.FrameAppender
	back   bool // from the accepted end to the dialled one
}

var ways = []way{{"engine", true, false, false}, {"pack", true, true, false}, {"plain", false, true, false}}

// ways returns the ways that differ for the protocol.
func (s *suite) ways() []way {
	list := slices.Clone(ways)
	if _, ok := s.alone().(socket.FrameAppender); !ok {
		list = slices.DeleteFunc(list, func(w way) bool { return w.name == "pack" })
	}
	if s.sided {
		for _, w := range list {
			list = append(list, w.turned())
		}
	}
	return list
}

// turned is the way in the other direction.
func (w way) turned() way {
	if w.back = !w.back; w.back {
		w.name += ", back"
	} else {
		w.name = strings.TrimSuffix(w.name, ", back")
	}
	return w
}

// alone makes the protocol of a dialled end whose connection nobody uses.
func (s *suite) alone() socket.Proto { return s.pf(s.plain(new(stream), new(stream), true)) }

// link is a connection in one direction, with both its ends.
type link struct {
	wire *stream
	send func(m *socket.Envelope) error
	recv func(m *socket.Envelope) error
	// close releases the ends.
	close func()

	sendLimit, recvLimit func(limit uint32)

	// readAhead and ahead are those of the receiving socket.Conn; of an engine.
	readAhead func(most int64)
	ahead     func() int
}

// open connects two ends. Bytes that are put into wire are read as well.
func (s *suite) open(w way) *link {
	g := &guard{pack: w.pack}
	if w.engine {
		return s.openEngine(g, w)
	}
	return s.openPlain(g, w)
}

func (s *suite) openEngine(g *guard, w way) *link {
	wire := new(stream)
	from := socket.NewConn(&conn{r: new(stream), w: wire}, g.wrap(s.pf), socket.Options{Dialed: !w.back})
	to := socket.NewConn(&conn{r: wire, w: new(stream)}, g.wrap(s.pf), socket.Options{Dialed: w.back})
	return &link{
		wire: wire,
		send: func(m *socket.Envelope) error {
			if err := from.Enqueue(context.Background(), m); err != nil {
				return g.panicked(err)
			}
			from.Flush(0)
			return g.panicked(from.WaitFlushed(context.Background()))
		},
		recv:      func(m *socket.Envelope) error { return g.panicked(to.ReadInto(m)) },
		sendLimit: from.SetLimit,
		recvLimit: to.SetLimit,
		readAhead: to.ReadAhead,
		ahead:     to.Ahead,
		close: func() {
			from.Stop(nil)
			to.Stop(nil)
			from.Join()
			to.Join()
			from.Release()
			to.Release()
		},
	}
}

func (s *suite) openPlain(g *guard, w way) *link {
	wire := new(stream)
	from := g.wrap(s.pf)(s.plain(new(stream), wire, !w.back))
	to := g.wrap(s.pf)(s.plain(wire, new(stream), w.back))
	var sendLimit, recvLimit uint32
	return &link{
		wire: wire,
		send: func(m *socket.Envelope) error {
			m.SetLimit(sendLimit)
			return g.panicked(from.Pack(m))
		},
		recv: func(m *socket.Envelope) error {
			m.SetLimit(recvLimit)
			return g.panicked(to.Unpack(m))
		},
		sendLimit: func(n uint32) { sendLimit = n },
		recvLimit: func(n uint32) { recvLimit = n },
		close:     func() {},
	}
}

// plain returns one end of a plain connection. It is a socket.Sider only if the suite is
// Sided: other protocols must do without.
func (s *suite) plain(r, w *stream, dialed bool) io.ReadWriter {
	if s.sided {
		return sidedReadWriter{readWriter{r, w}, dialed}
	}
	return readWriter{r, w}
}

type sidedReadWriter struct {
	readWriter
	dialed bool
}

func (s sidedReadWriter) Dialed() bool { return s.dialed }

// readWriter hides what else its halves can do.
type readWriter struct {
	io.Reader
	io.Writer
}

// stream is bytes on their way. Read returns io.EOF when there are none, so that no
// read blocks.
type stream struct {
	mu      sync.Mutex // guards what follows
	buf     bytes.Buffer
	dribble bool // each Read returns few bytes; see few
	reads   int  // since the last Write
	writes  int
}

// few returns the most bytes of Read number n after a Write: one for longer than any
// header of samples, then some, since single bytes of a large body take long.
func few(n int) int {
	if n <= 1000 {
		return 1
	}
	return 101
}

func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reads++; s.dribble {
		p = p[:min(len(p), few(s.reads))]
	}
	return s.buf.Read(p)
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	s.reads = 0
	return s.buf.Write(p)
}

func (s *stream) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Len()
}

// take returns what is on its way, and removes it.
func (s *stream) take() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := bytes.Clone(s.buf.Bytes())
	s.buf.Reset()
	return b
}

// conn is a net.Conn over two streams.
type conn struct{ r, w *stream }

func (c *conn) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c *conn) Write(p []byte) (int, error)      { return c.w.Write(p) }
func (c *conn) Close() error                     { return nil }
func (c *conn) LocalAddr() net.Addr              { return addr{} }
func (c *conn) RemoteAddr() net.Addr             { return addr{} }
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

type addr struct{}

func (addr) Network() string { return "mem" }
func (addr) String() string  { return "prototest" }

// guard remembers the panics of protocols: the engine turns them into errors, and an
// error would pass where one is expected.
type guard struct {
	pack bool // hide that the protocol is a socket.FrameAppender

	mu  sync.Mutex
	err error // guarded by mu
}

func (g *guard) panicked(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return g.err
	}
	return err
}

// panicError is a protocol that panicked.
type panicError struct{ text string }

func (e *panicError) Error() string { return "the protocol panicked: " + e.text }

func isPanic(err error) bool {
	var p *panicError
	return errors.As(err, &p)
}

func (g *guard) catch() {
	if p := recover(); p != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.err = &panicError{fmt.Sprint(p)}
	}
}

func (g *guard) wrap(pf socket.ProtoFunc) socket.ProtoFunc {
	return func(rw io.ReadWriter) socket.Proto {
		p := pf(rw)
		if a, ok := p.(socket.FrameAppender); ok && !g.pack {
			return &guardedAppender{guarded{p, g}, a}
		}
		return &guarded{p, g}
	}
}

type guarded struct {
	socket.Proto
	g *guard
}

func (p *guarded) Pack(m socket.Message) error {
	defer p.g.catch()
	return p.Proto.Pack(m)
}

func (p *guarded) Unpack(m socket.Message) error {
	defer p.g.catch()
	return p.Proto.Unpack(m)
}

func (p *guarded) Repeatable() bool {
	r, ok := p.Proto.(socket.Repeatable)
	return ok && r.Repeatable()
}

type guardedAppender struct {
	guarded
	a socket.FrameAppender
}

func (p *guardedAppender) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	defer p.g.catch()
	return p.a.AppendFrame(dst, m)
}
