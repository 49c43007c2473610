package prototest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

func TestConformance(t *testing.T)      { Run(t, testwire.New) }
func TestConformancePlain(t *testing.T) { Run(t, testwire.NewPlain) }

// broken is testwire with a slip in it; nil means that half is as it was.
type broken struct {
	socket.Proto
	pack, unpack func(m *socket.Envelope) error
}

func (b *broken) Pack(m socket.Message) error {
	if b.pack == nil {
		return b.Proto.Pack(m)
	}
	return b.pack(m.(*socket.Envelope))
}

func (b *broken) Unpack(m socket.Message) error {
	if b.unpack == nil {
		return b.Proto.Unpack(m)
	}
	return b.unpack(m.(*socket.Envelope))
}

// after changes what was unpacked.
func after(f func(m *socket.Envelope)) socket.ProtoFunc {
	return func(rw io.ReadWriter) socket.Proto {
		p := testwire.New(rw)
		return &broken{Proto: p, unpack: func(m *socket.Envelope) error {
			err := p.Unpack(m)
			if err == nil {
				f(m)
			}
			return err
		}}
	}
}

// before changes a copy of what is packed.
func before(f func(m *socket.Envelope)) socket.ProtoFunc {
	return func(rw io.ReadWriter) socket.Proto {
		p := testwire.New(rw)
		return &broken{Proto: p, pack: func(m *socket.Envelope) error {
			c := clone(m)
			c.SetLimit(m.Limit())
			f(c)
			if err := p.Pack(c); err != nil {
				return err
			}
			m.SetSize(c.Size())
			return nil
		}}
	}
}

func clone(m *socket.Envelope) *socket.Envelope {
	c := new(socket.Envelope)
	c.SetSeq(m.Seq())
	c.SetMtype(m.Mtype())
	c.SetServiceMethod(m.ServiceMethod())
	m.Meta().CopyTo(c.Meta())
	c.SetRerror(m.Rerror())
	c.SetBodyCodec(m.BodyCodec())
	c.XferPipe().AppendFrom(m.XferPipe())
	if body, err := m.MarshalBody(); err != nil {
		c.SetBody(m.Body())
	} else {
		c.SetBody(body)
	}
	return c
}

// failing changes the errors of Unpack.
func failing(f func(rw io.ReadWriter, err error) error) socket.ProtoFunc {
	return func(rw io.ReadWriter) socket.Proto {
		p := testwire.New(rw)
		return &broken{Proto: p, unpack: func(m *socket.Envelope) error {
			err := p.Unpack(m)
			if err != nil {
				err = f(rw, err)
			}
			return err
		}}
	}
}

// trusting takes memory for a frame before it has arrived; late looks at the
// limit only then, or never.
func trusting(late bool) socket.ProtoFunc {
	return func(rw io.ReadWriter) socket.Proto {
		return &broken{Proto: testwire.New(rw), unpack: func(m *socket.Envelope) error {
			head := make([]byte, 4)
			if _, err := io.ReadFull(rw, head); err != nil {
				return err
			}
			size := binary.BigEndian.Uint32(head)
			if err := m.SetSize(size); err != nil && !late {
				return err
			}
			frame := append(head, make([]byte, size-4)...)
			if _, err := io.ReadFull(rw, frame[4:]); err != nil {
				return io.ErrUnexpectedEOF
			}
			return testwire.New(bytes.NewBuffer(frame)).Unpack(m)
		}}
	}
}

// once believes that one Read reads all.
func once(rw io.ReadWriter) socket.Proto {
	return &broken{Proto: testwire.New(rw), unpack: func(m *socket.Envelope) error {
		head := make([]byte, 4)
		if n, err := rw.Read(head); err != nil || n < 4 {
			return err
		}
		frame := append(head, make([]byte, binary.BigEndian.Uint32(head)-4)...)
		if _, err := rw.Read(frame[4:]); err != nil {
			return io.ErrUnexpectedEOF
		}
		return testwire.New(bytes.NewBuffer(frame)).Unpack(m)
	}}
}

// scribbling calls its one buffer the message's own.
func scribbling(rw io.ReadWriter) socket.Proto {
	p := testwire.New(rw)
	var buf []byte
	return &broken{Proto: p, unpack: func(m *socket.Envelope) error {
		if err := p.Unpack(m); err != nil {
			return err
		}
		buf = append(buf[:0], m.RawBody()...)
		err := m.UnmarshalBody(buf)
		m.OwnBody()
		return err
	}}
}

// twice writes a frame in two parts.
func twice(rw io.ReadWriter) socket.Proto {
	return &broken{Proto: testwire.New(rw), pack: func(m *socket.Envelope) error {
		var b bytes.Buffer
		if err := testwire.New(&b).Pack(m); err != nil {
			return err
		}
		rw.Write(b.Next(4))
		_, err := rw.Write(b.Bytes())
		return err
	}}
}

// leaving writes something of a frame that fails.
func leaving(rw io.ReadWriter) socket.Proto {
	p := testwire.New(rw)
	return &broken{Proto: p, pack: func(m *socket.Envelope) error {
		err := p.Pack(m)
		if err != nil {
			rw.Write([]byte("remains"))
		}
		return err
	}}
}

// halves fails on a connection that is used in both directions: the direction that
// comes second is damaged, whichever it is.
func halves(rw io.ReadWriter) socket.Proto {
	p := testwire.New(rw)
	var packed, unpacked atomic.Bool
	return &broken{Proto: p,
		pack: func(m *socket.Envelope) error {
			packed.Store(true)
			if unpacked.Load() {
				return errNotBad
			}
			return p.Pack(m)
		},
		unpack: func(m *socket.Envelope) error {
			unpacked.Store(true)
			err := p.Unpack(m)
			if packed.Load() {
				m.SetSeq(-99)
			}
			return err
		},
	}
}

func linger() {
	for range 20 {
		runtime.Gosched()
	}
}

// appender is a broken socket.FrameAppender.
type appender struct {
	socket.FrameAppender
	frame func(dst []byte, m socket.Message) ([]byte, error)
}

func (a *appender) AppendFrame(dst []byte, m socket.Message) ([]byte, error) { return a.frame(dst, m) }

// alone must not run twice at once.
func alone(rw io.ReadWriter) socket.Proto {
	a := testwire.New(rw).(socket.FrameAppender)
	var inside atomic.Int32
	return &appender{a, func(dst []byte, m socket.Message) ([]byte, error) {
		inside.Add(1)
		defer inside.Add(-1)
		linger()
		b, err := a.AppendFrame(dst, m)
		if inside.Load() > 1 && err == nil {
			b[len(b)-1] ^= 1
		}
		return b, err
	}}
}

// growing returns more than it was given when it fails.
func growing(rw io.ReadWriter) socket.Proto {
	a := testwire.New(rw).(socket.FrameAppender)
	return &appender{a, func(dst []byte, m socket.Message) ([]byte, error) {
		b, err := a.AppendFrame(dst, m)
		if err != nil {
			b = append(b, "remains"...)
		}
		return b, err
	}}
}

type nameless struct{ socket.Proto }

func (nameless) Version() (byte, string) { return 1, "" }

var errNotBad = errors.New("not bad")

// TestBroken makes sure that each check finds what it is there for.
func TestBroken(t *testing.T) {
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	found := map[string]bool{}
	for _, test := range []struct {
		name  string
		check string
		way   string // "": all
		pf    socket.ProtoFunc
		opts  []Option
		slow  bool // it is the time that ends it
	}{
		{name: "no name", check: "version", pf: func(rw io.ReadWriter) socket.Proto { return nameless{testwire.New(rw)} }},
		{name: "no sign", check: "header", pf: after(func(m *socket.Envelope) { m.SetSeq(max(m.Seq(), 0)) })},
		{name: "every type is CALL", check: "header", pf: after(func(m *socket.Envelope) { m.SetMtype(socket.TypeCall) })},
		{name: "method cut short", check: "header", pf: before(func(m *socket.Envelope) {
			m.SetServiceMethod(m.ServiceMethod()[:min(255, len(m.ServiceMethod()))])
		})},
		{name: "one value a key", check: "header", pf: after(func(m *socket.Envelope) {
			all := new(socket.Meta)
			m.Meta().CopyTo(all)
			m.Meta().Reset()
			all.VisitAll(func(k, v []byte) { m.Meta().SetBytesKV(k, v) })
		})},
		{name: "metadata over 64 KiB lost", check: "header", pf: before(func(m *socket.Envelope) {
			if m.Meta().EncodedLen() > 1<<16-1 {
				m.Meta().Reset()
			}
		})},
		{name: "one codec", check: "header", pf: after(func(m *socket.Envelope) { m.SetBodyCodec(testwire.Text) })},
		{name: "PUSH is carried", check: "header", pf: testwire.New, opts: []Option{Without(Push)}},
		{name: "body trimmed", check: "body", pf: after(func(m *socket.Envelope) {
			m.UnmarshalBody(bytes.TrimSpace(m.RawBody()))
		})},
		{name: "body is text", check: "body", pf: after(func(m *socket.Envelope) {
			m.UnmarshalBody(bytes.ToValidUTF8(m.RawBody(), []byte("?")))
		})},
		{name: "errors vanish", check: "rerror", pf: after(func(m *socket.Envelope) { m.SetRerror(nil) })},
		{name: "no reason", check: "rerror", pf: after(func(m *socket.Envelope) { m.Rerror().SetReason("") })},
		{name: "a CALL with an error", check: "rerror", pf: after(func(m *socket.Envelope) {
			m.SetRerror(socket.NewRerror(1, "", ""))
		})},
		{name: "size without itself", check: "size", pf: after(func(m *socket.Envelope) { m.SetSize(m.Size() - 4) })},
		{name: "pipe left out", check: "pipe", pf: before(func(m *socket.Envelope) { m.XferPipe().Reset() })},
		{name: "pipe named backwards", check: "pipe", pf: after(func(m *socket.Envelope) {
			ids := m.XferPipe().IDs()
			slices.Reverse(ids)
			m.XferPipe().Reset()
			m.XferPipe().Append(ids...)
		})},
		{name: "nine filters", check: "pipe", pf: before(func(m *socket.Envelope) {
			if m.XferPipe().Len() == 9 {
				m.XferPipe().Reset()
			}
		})},
		{name: "pipe is carried", check: "pipe", pf: testwire.New, opts: []Option{Without(Pipe)}},
		{name: "one Read", check: "dribble", pf: once},
		{name: "end not clean", check: "row", pf: failing(func(rw io.ReadWriter, err error) error {
			if err == io.EOF {
				return io.ErrUnexpectedEOF
			}
			return err
		})},
		{name: "cut taken for the end", check: "cut", pf: failing(func(rw io.ReadWriter, err error) error {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return io.EOF
			}
			return err
		})},
		{name: "panics when cut", check: "cut", pf: failing(func(rw io.ReadWriter, err error) error {
			if err != io.EOF {
				panic("index out of range")
			}
			return err
		})},
		{name: "hangs when cut", check: "cut", slow: true, pf: failing(func(rw io.ReadWriter, err error) error {
			if err != io.EOF {
				<-hold
			}
			return err
		})},
		{name: "trusts the size", check: "memory", pf: trusting(false)},
		{name: "no limit on packing", check: "limit", pf: before(func(m *socket.Envelope) { m.SetLimit(0) })},
		{name: "no limit on unpacking", check: "limit", pf: func(rw io.ReadWriter) socket.Proto {
			p := testwire.New(rw)
			return &broken{Proto: p, unpack: func(m *socket.Envelope) error {
				m.SetLimit(0)
				return p.Unpack(m)
			}}
		}},
		{name: "limit looked at late", check: "limit", pf: trusting(true)},
		{name: "bad is lost", check: "keep", pf: failing(func(rw io.ReadWriter, err error) error {
			if errors.Is(err, socket.ErrBadMessage) {
				return errNotBad
			}
			return err
		})},
		{name: "bad eats the next", check: "keep", pf: failing(func(rw io.ReadWriter, err error) error {
			if errors.Is(err, socket.ErrBadMessage) {
				rw.Read(make([]byte, 1))
			}
			return err
		})},
		{name: "lost is bad", check: "keep", opts: []Option{LostFrame("zero", make([]byte, 4))},
			pf: failing(func(rw io.ReadWriter, err error) error {
				if err != io.EOF {
					return socket.ErrBadMessage
				}
				return err
			})},
		{name: "writes and fails", check: "fail", way: "plain", pf: leaving},
		{name: "grows and fails", check: "fail", way: "engine", pf: growing},
		{name: "two Writes", check: "write", pf: twice},
		{name: "scribbles on what is kept", check: "borrowed", pf: scribbling},
		{name: "one direction only", check: "beside", pf: halves},
		{name: "one goroutine at a time", check: "together", way: "engine", pf: alone},
		{name: "counts what Unpack reads", check: "ahead", way: "engine", pf: counting},
		{name: "forgets in the new process", check: "carry", way: "engine", pf: forgetful},
		{name: "one goroutine at a time, alone", check: "together", way: "plain", pf: alone},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSuite(test.pf, test.opts)
			if test.slow {
				s.patient = 50 * time.Millisecond
			}
			c := checks[slices.IndexFunc(checks, func(c check) bool { return c.name == test.check })]
			for _, w := range s.ways() {
				if test.way != "" && test.way != w.name {
					continue
				}
				if err := s.try(c, w); err == nil {
					t.Errorf("%s/%s finds nothing", w.name, c.name)
				} else {
					found[c.name] = true
				}
			}
		})
	}
	for _, c := range checks {
		if !found[c.name] {
			t.Errorf("check %s: nothing shows that it finds something", c.name)
		}
	}
}

// counting says that Unpack may be called again for a frame, and counts the calls.
func counting(rw io.ReadWriter) socket.Proto {
	p, calls := testwire.New(rw), 0
	return repeatable{&broken{Proto: p, unpack: func(m *socket.Envelope) error {
		calls++
		n := calls
		err := p.Unpack(m)
		if err == nil && n%2 == 0 {
			m.SetServiceMethod("/even")
		}
		return err
	}}}
}

// forgetful says that it can be handed over, and loses what it knows.
func forgetful(rw io.ReadWriter) socket.Proto { return &forgets{Proto: testwire.New(rw)} }

type forgets struct {
	socket.Proto
	messages byte
}

func (f *forgets) Unpack(m socket.Message) error {
	f.messages++
	return f.Proto.Unpack(m)
}

func (f *forgets) AppendState(dst []byte) ([]byte, error) { return append(dst, f.messages), nil }
func (f *forgets) Restore([]byte) error                   { return nil }

type repeatable struct{ socket.Proto }

func (repeatable) Repeatable() bool { return true }

// sided is a protocol whose dialled end writes every byte inverted, unless it is the
// accepted end that does.
func sided(inverts bool) socket.ProtoFunc {
	return func(rw io.ReadWriter) socket.Proto {
		d, ok := rw.(socket.Sider)
		return struct{ socket.Proto }{testwire.New(inverted{rw, ok && d.Dialed() != inverts, ok && d.Dialed() == inverts})} // no FrameAppender
	}
}

// inverted inverts what it reads or writes.
type inverted struct {
	io.ReadWriter
	read, write bool
}

func (v inverted) Read(p []byte) (int, error) {
	n, err := v.ReadWriter.Read(p)
	if v.read {
		invert(p[:n])
	}
	return n, err
}

func (v inverted) Write(p []byte) (int, error) {
	if v.write {
		p = bytes.Clone(p)
		invert(p)
	}
	return v.ReadWriter.Write(p)
}

func invert(p []byte) {
	for i := range p {
		p[i] ^= 0xff
	}
}

func TestSided(t *testing.T) {
	zero := bytes.Repeat([]byte{0xff}, 4) // a length of zero, as the dialled end writes it
	Run(t, sided(true), Sided(), LostFrame("zero", zero))
	t.Run("the accepted end inverts", func(t *testing.T) { Run(t, sided(false), Sided()) })
}

// A fault of one direction is found with Sided, and only there.
func TestSidedFinds(t *testing.T) {
	pf := func(rw io.ReadWriter) socket.Proto {
		if d, ok := rw.(socket.Sider); ok && !d.Dialed() {
			return before(func(m *socket.Envelope) { m.SetSeq(0) })(rw)
		}
		return testwire.New(rw)
	}
	c := checks[slices.IndexFunc(checks, func(c check) bool { return c.name == "header" })]
	for _, opts := range [][]Option{nil, {Sided()}} {
		s := newSuite(pf, opts)
		for _, w := range s.ways() {
			if err := s.try(c, w); (err != nil) != w.back {
				t.Errorf("%s: %v; want an error in the way back alone", w.name, err)
			}
		}
	}
}
