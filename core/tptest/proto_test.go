package tptest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/poison"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
)

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("ERROR") // the peers' own loggers keep their lines
	os.Exit(m.Run())
}

type parcel struct{ Text string }

func TestRunProto(t *testing.T) {
	RunProto(t, testwire.New, Bodies("testjson",
		func(text string) *parcel { return &parcel{text} },
		func(p *parcel) string { return p.Text }))
}

func TestRunProtoPlain(t *testing.T) { RunProto(t, testwire.NewPlain) }
func TestRunProtoText(t *testing.T)  { RunProto(t, testwire.New, Codec("testtext")) }

// slip is testwire with a fault in packing or unpacking; nil means no fault there.
type slip struct {
	socket.Proto
	pack, unpack func(m *socket.Envelope) error
}

func (p *slip) Pack(m socket.Message) error {
	if p.pack == nil {
		return p.Proto.Pack(m)
	}
	return p.pack(m.(*socket.Envelope))
}

func (p *slip) Unpack(m socket.Message) error {
	if p.unpack == nil {
		return p.Proto.Unpack(m)
	}
	return p.unpack(m.(*socket.Envelope))
}

// before changes messages before they are packed.
func before(f func(m *socket.Envelope)) tp.ProtoFunc {
	return func(rw io.ReadWriter) socket.Proto {
		p := testwire.New(rw)
		return &slip{Proto: p, pack: func(m *socket.Envelope) error { f(m); return p.Pack(m) }}
	}
}

// after changes messages after they were unpacked.
func after(f func(m *socket.Envelope) error) tp.ProtoFunc {
	return func(rw io.ReadWriter) socket.Proto {
		p := testwire.New(rw)
		return &slip{Proto: p, unpack: func(m *socket.Envelope) error {
			if err := p.Unpack(m); err != nil {
				return err
			}
			return f(m)
		}}
	}
}

// recode changes the error of replies that have this code.
func recode(code int32, f func(*tp.Rerror)) tp.ProtoFunc {
	return after(func(m *socket.Envelope) error {
		if m.Rerror().HasError() && m.Rerror().Code == code {
			r := m.Rerror().Copy()
			f(r)
			m.SetRerror(r)
		}
		return nil
	})
}

// shouting changes the bodies of CALLs to capital letters.
func shouting(when func() bool) tp.ProtoFunc {
	return after(func(m *socket.Envelope) error {
		if m.Mtype() == tp.TypeCall && when() {
			return m.UnmarshalBody(bytes.ToUpper(m.RawBody()))
		}
		return nil
	})
}

func always() bool { return true }

// sulking reports an hour late that reading has failed.
func sulking(rw io.ReadWriter) socket.Proto {
	p := testwire.New(rw)
	return &slip{Proto: p, unpack: func(m *socket.Envelope) error {
		err := p.Unpack(m)
		if err != nil {
			<-time.After(time.Hour)
		}
		return err
	}}
}

// once assumes that one Read reads a whole frame.
func once(rw io.ReadWriter) socket.Proto {
	return &slip{Proto: testwire.New(rw), unpack: func(m *socket.Envelope) error {
		head := make([]byte, 4)
		if n, err := rw.Read(head); err != nil || n < 4 {
			return io.ErrUnexpectedEOF
		}
		frame := append(head, make([]byte, binary.BigEndian.Uint32(head)-4)...)
		if _, err := rw.Read(frame[4:]); err != nil {
			return io.ErrUnexpectedEOF
		}
		return testwire.New(bytes.NewBuffer(frame)).Unpack(m)
	}}
}

// scribbling uses one buffer again, but says that each message owns it.
func scribbling(rw io.ReadWriter) socket.Proto {
	p := testwire.New(rw)
	buf := make([]byte, 0, 1<<20)
	return &slip{Proto: p, unpack: func(m *socket.Envelope) error {
		if err := p.Unpack(m); err != nil {
			return err
		}
		buf = append(buf[:0], m.RawBody()...)
		err := m.UnmarshalBody(buf)
		m.OwnBody()
		return err
	}}
}

// counting makes a protocol by its number, from 1.
func counting(f func(n int32, p socket.Proto) socket.Proto) tp.ProtoFunc {
	var made atomic.Int32
	return func(rw io.ReadWriter) socket.Proto { return f(made.Add(1), testwire.New(rw)) }
}

// losing fails to read the messages for which lost returns true.
func losing(lost func(m *socket.Envelope) bool) tp.ProtoFunc {
	return after(func(m *socket.Envelope) error {
		if lost(m) {
			return fmt.Errorf("lost: %w", socket.ErrBadMessage)
		}
		return nil
	})
}

// skipping reads the next message if one cannot be read.
func skipping(rw io.ReadWriter) socket.Proto {
	p := testwire.New(rw)
	return &slip{Proto: p, unpack: func(m *socket.Envelope) error {
		for {
			if err := p.Unpack(m); !errors.Is(err, socket.ErrBadMessage) {
				return err
			}
		}
	}}
}

func TestRunProtoFinds(t *testing.T) {
	var seen atomic.Int32
	found := make(map[string]bool)
	for _, test := range []struct {
		check, slip string
		pf          tp.ProtoFunc
	}{
		{"call", "changes bodies", shouting(always)},
		{"call", "loses calls", losing(func(m *socket.Envelope) bool { return m.ServiceMethod() == echoMethod })},
		{"push", "loses pushes", losing(func(m *socket.Envelope) bool { return m.Mtype() == tp.TypePush })},
		{"rerror", "loses the reason", recode(teapot().Code, func(r *tp.Rerror) { r.Reason = "" })},
		{"rerror", "loses the message", recode(teapot().Code, func(r *tp.Rerror) { r.Message = "" })},
		{"rerror", "changes the code", recode(teapot().Code, func(r *tp.Rerror) { r.Code = 500 })},
		{"unknown", "changes the code", recode(404, func(r *tp.Rerror) { r.Code = 500 })},
		{"panic", "loses the reason", recode(500, func(r *tp.Rerror) { r.Reason = "" })},
		{"panic", "discloses the reason", recode(500, func(r *tp.Rerror) { r.Reason = "the sky is falling" })},
		{"concurrent", "loses the 100th message", losing(func(*socket.Envelope) bool { return seen.Add(1) == 100 })},
		{"large", "cuts bodies", after(func(m *socket.Envelope) error {
			return m.UnmarshalBody(m.RawBody()[:min(len(m.RawBody()), 512<<10)])
		})},
		{"kept", "uses an owned buffer again", scribbling},
		{"poison", "fails with poison", shouting(poison.On)},
		{"meta", "loses one", before(func(m *socket.Envelope) { m.Meta().Del("X-Two") })},
		{"meta", "changes one", before(func(m *socket.Envelope) {
			if m.Meta().Has("odd = key") {
				m.Meta().Set("odd = key", "even")
			}
		})},
		{"pipe", "does not filter", before(func(m *socket.Envelope) { m.XferPipe().Reset() })},
		{"answer", "changes bodies", shouting(always)},
		{"streams", "loses DATA", losing(func(m *socket.Envelope) bool { return m.Mtype() == tp.TypeData && m.Seq() < 0 })},
		{"streams", "loses the sign", before(func(m *socket.Envelope) { m.SetSeq(max(m.Seq(), -m.Seq())) })},
		{"streams", "loses credit", before(func(m *socket.Envelope) {
			if m.ServiceMethod() == "credit" {
				m.Meta().Reset()
			}
		})},
		{"streams", "loses the end", before(func(m *socket.Envelope) {
			if m.ServiceMethod() == "end" {
				m.SetServiceMethod("")
			}
		})},
		{"unreadable", "reads the next message instead", skipping},
		{"auth", "does not know AUTH_REPLY", before(func(m *socket.Envelope) {
			if m.Mtype() == tp.TypeAuthReply {
				m.SetMtype(tp.TypeReply)
			}
		})},
		{"auth", "loses the refusal of a ready session", recode(tp.CodeMtypeNotAllowed, func(r *tp.Rerror) { r.Code = 1 })},
		{"auth", "loses the refusal", recode(tp.CodeUnauthorized, func(r *tp.Rerror) { r.Code = 1 })},
		{"deadline", "loses the deadline", before(func(m *socket.Envelope) { m.Meta().Del(tp.MetaTimeout) })},
		{"context age", "changes the code", recode(408, func(r *tp.Rerror) { r.Code = 500 })},
		{"close", "loses replies", losing(func(m *socket.Envelope) bool {
			return m.Mtype() == tp.TypeReply && strings.Contains(string(m.RawBody()), "wait")
		})},
		{"redial", "works once", counting(func(n int32, p socket.Proto) socket.Proto {
			return &slip{Proto: p, unpack: func(m *socket.Envelope) error {
				err := p.Unpack(m)
				if err == nil && n > 2 {
					err = socket.ErrBadMessage
				}
				return err
			}}
		})},
		{"cut", "hides the end", sulking},
		{"garbage", "hides the end", sulking},
		{"dribble", "reads once", once},
		{"tcp", "changes bodies", shouting(always)},
	} {
		found[test.check] = true
		t.Run(test.check+"/"+test.slip, func(t *testing.T) {
			s := newSuite(nil)
			s.pf = test.pf
			wantFault(t, s, protoChecks, test.check)
		})
	}
	found["session age"] = true // no protocol can fail here; a wrongly configured peer can
	t.Run("session age/too early", func(t *testing.T) {
		s := newSuite([]Option{Config(tp.PeerConfig{DefaultSessionAge: 3 * time.Second})})
		s.pf = testwire.New
		wantFault(t, s, protoChecks, "session age")
	})
	wantAll(t, protoChecks, found)
}

// LeakCheck finds a goroutine that outlives its connection, in a bubble and outside.
func TestRunProtoFindsLeak(t *testing.T) {
	for _, name := range []string{"call", "tcp"} {
		t.Run(name, func(t *testing.T) {
			outside := make(chan struct{})
			defer close(outside)
			s := newSuite(nil)
			s.pf = func(rw io.ReadWriter) socket.Proto {
				stop := outside
				if name != "tcp" {
					stop = make(chan struct{}) // of the bubble, which ends before the test
				}
				go func() { <-stop }()
				return testwire.New(rw)
			}
			wantFault(t, s, protoChecks, name)
		})
	}
}

// The suite does not check features that a protocol lacks.
func TestWithout(t *testing.T) {
	for _, test := range []struct {
		check   string
		feature Feature
		pf      tp.ProtoFunc
	}{
		{"push", prototest.Push, losing(func(m *socket.Envelope) bool { return m.Mtype() == tp.TypePush })},
		{"concurrent", prototest.Push, losing(func(m *socket.Envelope) bool { return m.Mtype() == tp.TypePush })},
		{"pipe", prototest.Pipe, before(func(m *socket.Envelope) { m.XferPipe().Reset() })},
		{"auth", prototest.Auth, before(func(m *socket.Envelope) { m.SetMtype(min(m.Mtype(), tp.TypePush)) })},
		{"streams", prototest.Streams, losing(func(m *socket.Envelope) bool { return m.Mtype() == tp.TypeData })},
		{"meta", prototest.AnyMeta, before(func(m *socket.Envelope) { m.Meta().Del("odd = key") })},
	} {
		t.Run(test.check, func(t *testing.T) {
			s := newSuite([]Option{Without(test.feature)})
			s.pf = test.pf
			for _, c := range protoChecks {
				if c.name != test.check {
					continue
				}
				for _, fault := range s.try(t, c) {
					t.Error(fault)
				}
			}
		})
	}
}

// wantFault runs the check of that name, which must find a fault.
func wantFault(t *testing.T, s *suite, checks []check, name string) {
	t.Helper()
	for _, c := range checks {
		if c.name != name {
			continue
		}
		faults := s.try(t, c)
		if len(faults) == 0 {
			t.Errorf("the check %q has found nothing", name)
		}
		for _, f := range faults {
			t.Log(brief(f))
		}
		return
	}
	t.Errorf("there is no check %q", name)
}

// wantAll fails for checks that no test has seen finding a fault.
func wantAll(t *testing.T, checks []check, found map[string]bool) {
	t.Helper()
	for _, c := range checks {
		if !found[c.name] {
			t.Errorf("no test shows that the check %q finds a fault", c.name)
		}
	}
}
