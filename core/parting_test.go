package tp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// parting is a protocol that says why it parts, in a PUSH.
type parting struct {
	socket.FrameAppender
	socket.ControlCarrier
}

func newParting(rw io.ReadWriter) Proto {
	p := testwire.New(rw)
	return parting{p.(socket.FrameAppender), p.(socket.ControlCarrier)}
}

func (p parting) AppendFarewell(dst []byte, r socket.Reason) []byte {
	text := r.Kind.String()
	if r.Err != nil {
		text += fmt.Sprintf(" %d %s", r.Err.Code, r.Err.Message)
	}
	m := socket.NewMessage(socket.WithMtype(TypePush), socket.WithServiceMethod("/parted"), socket.WithBodyCodec(testwire.Text), socket.WithBody(text))
	b, err := p.AppendFrame(dst, m)
	if err != nil {
		panic(err)
	}
	return b
}

// mute is a protocol that has nothing to say, or panics when it is asked.
type mute struct {
	parting
	panics bool
}

func (p mute) AppendFarewell(dst []byte, _ socket.Reason) []byte {
	if p.panics {
		panic("speechless")
	}
	return dst
}

// all reads what arrives until the end, and returns the frames in words.
func (e *rawEnd) all() (got []string) {
	e.t.Helper()
	for {
		var m socket.Envelope
		err := e.sock.ReadInto(&m)
		if err == io.EOF {
			return got
		}
		if err != nil {
			return append(got, err.Error())
		}
		switch m.Mtype() {
		case TypePush:
			got = append(got, string(m.RawBody()))
		default:
			got = append(got, strings.ToLower(TypeText(m.Mtype())))
		}
	}
}

// A protocol may say last, on each side and whatever the reason is, why the connection
// is closed.
func TestParting(t *testing.T) {
	refuse := func(code int32) *PluginImpl {
		return &PluginImpl{PluginName: "refuses", OnPostAccept: func(PreSession) *Rerror {
			if code == 0 {
				panic("secret")
			}
			return NewRerror(code, "not you", "secret")
		}}
	}
	for _, test := range []struct {
		name   string
		plugin Plugin
		change func(*PeerConfig)
		do     func(w *world, s Session, e *rawEnd)
		want   string // what the other end reads
	}{
		{"Close", nil, nil, func(_ *world, s Session, _ *rawEnd) { s.Close() }, "control, closed"},
		{"Close with a handler that does not return", nil, nil, func(w *world, s Session, e *rawEnd) {
			e.send(TypeCall, 1, "/stuck", "")
			s.Close()
		}, "control, closed"},
		{"CloseWith", nil, nil, func(_ *world, s Session, _ *rawEnd) { s.CloseWith(NewRerror(403, "go away", "secret")) }, "control, refused 403 go away"},
		{"Close of the peer", nil, nil, func(w *world, _ Session, _ *rawEnd) { w.server.Close() }, "control, shutdown"},
		{"session age", nil, func(c *PeerConfig) { c.DefaultSessionAge = time.Minute }, func(*world, Session, *rawEnd) { time.Sleep(2 * time.Minute) }, "control, closed"},
		{"replies come first", nil, nil, func(_ *world, s Session, e *rawEnd) {
			e.send(TypeCall, 1, "/echo", "x")
			s.Close()
		}, "reply, control, closed"},
		{"a message over the limit", nil, func(c *PeerConfig) { c.MessageSizeLimit = 1000 }, func(_ *world, _ Session, e *rawEnd) {
			e.send(TypePush, 1, "/note", strings.Repeat("x", 2000))
		}, "too large"},
		{"what is no frame", nil, nil, func(_ *world, _ Session, e *rawEnd) {
			e.conn.Write(make([]byte, 100))
		}, "broken"},
		{"the other side closes", nil, nil, func(_ *world, _ Session, e *rawEnd) { e.conn.(*memnet.Conn).CloseWrite() }, "answered"},
		{"a hook refuses", refuse(CodeUnauthorized), nil, nil, "refused 401 not you"},
		{"a hook panics", refuse(0), nil, nil, "broken"},
		{"the connection breaks", nil, nil, func(_ *world, s Session, e *rawEnd) { e.conn.(*memnet.Conn).Freeze(); s.(Breaker).Break(nil) }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.server = w.peer(func(c *PeerConfig) {
					c.Protocol = newParting
					if test.change != nil {
						test.change(c)
					}
				})
				if test.plugin != nil {
					w.server.PluginContainer().AppendLeft(test.plugin)
				}
				a, b := memnet.Pipe()
				e := newRawEnd(t, b)
				served := make(chan Session, 1)
				go func() { served <- w.server.ServeConn(a) }()
				synctest.Wait()
				if test.do != nil {
					go test.do(w, <-served, e)
				}
				time.Sleep(3 * time.Minute)
				w.release()
				if test.want == "" {
					b.Thaw()
				}
				if got := strings.Join(e.all(), ", "); got != test.want {
					t.Errorf("the other end reads %q; want %q", got, test.want)
				}
			})
		})
	}
}

// What is said last is written whole, also to a side that reads it a while later.
func TestPartingIsWritten(t *testing.T) {
	for _, test := range []struct {
		name  string
		do    func(s Session, e *rawEnd)
		after time.Duration // until it is said
		want  string
	}{
		{"what is no frame", func(_ Session, e *rawEnd) { e.conn.Write(make([]byte, 100)) }, 0, "broken"},
		{"Close with a handler that does not return", func(s Session, e *rawEnd) {
			e.send(TypeCall, 1, "/stuck", "")
			s.Close()
		}, time.Minute, "control, closed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.server = w.peer(func(c *PeerConfig) { c.Protocol, c.CloseTimeout = newParting, time.Minute })
				a, b := memnet.Pipe(memnet.Buffer(1)) // a write ends when all but a byte is read
				e := newRawEnd(t, b)
				served := make(chan Session, 1)
				go func() { served <- w.server.ServeConn(a) }()
				go test.do(<-served, e)
				time.Sleep(test.after + lingerTime/2)
				if got := strings.Join(e.all(), ", "); got != test.want {
					t.Errorf("the other end reads %q; want %q", got, test.want)
				}
				w.release()
			})
		})
	}
}

// The connection is not closed, not even by half, before the other side has answered, or
// lingerTime has passed.
func TestPartingIsAnswered(t *testing.T) {
	for _, answers := range []bool{true, false} {
		t.Run(fmt.Sprintf("the other side answers: %v", answers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				s, e := w.serveRaw(w.peer(func(c *PeerConfig) { c.Protocol = newParting }))
				start := time.Now()
				go s.Close()
				for _, want := range []byte{TypeControl, TypePush} {
					var m socket.Envelope
					if err := e.sock.ReadInto(&m); err != nil || m.Mtype() != want {
						t.Fatalf("the other side reads %s, %v; want %s", TypeText(m.Mtype()), err, TypeText(want))
					}
				}
				e.conn.SetReadDeadline(time.Now().Add(lingerTime / 2))
				if n, err := e.conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the other side reads %d bytes, %v, before it has answered; want nothing", n, err)
				}
				want := lingerTime
				if answers {
					e.conn.(*memnet.Conn).CloseWrite()
					want = lingerTime / 2
				}
				e.conn.SetReadDeadline(time.Time{})
				if n, err := e.conn.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the other side reads %d bytes, %v; want the end", n, err)
				}
				<-s.done.Done()
				if took := time.Since(start); took < want || took > want+100*time.Millisecond {
					t.Errorf("Close took %v; want %v", took, want)
				}
			})
		})
	}
}

// It says that only once, and nothing follows.
func TestPartingOnce(t *testing.T) {
	a, b := memnet.Pipe()
	defer b.Close()
	c := socket.NewConn(a, newParting, socket.Options{})
	for i := range 3 {
		if said, err := c.Part(socket.Reason{}); said != (i == 0) || err != nil {
			t.Errorf("Part number %d = %v, %v", i, said, err)
		}
	}
	c.Flush(0)
	c.WaitFlushed(context.Background())
	a.Close()
	c.Stop(nil)
	c.Join()
	if got := newRawEnd(t, b).all(); len(got) != 1 {
		t.Errorf("the other end reads %q; want one farewell", got)
	}
}

// A protocol that has nothing to say, or panics, ends as one without a farewell.
func TestPartingSilent(t *testing.T) {
	for _, test := range []struct {
		name string
		pf   ProtoFunc
		log  string
	}{
		{"nothing to say", func(rw io.ReadWriter) Proto { return mute{newParting(rw).(parting), false} }, ""},
		{"panic", func(rw io.ReadWriter) Proto { return mute{newParting(rw).(parting), true} }, "panicked at its farewell: speechless"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var lines bytes.Buffer
				p := w.peer(func(c *PeerConfig) { c.Protocol, c.Logger = test.pf, quiet(&lines) })
				s, e := w.serveRaw(p)
				start := time.Now()
				go s.Close()
				if got := strings.Join(e.all(), ", "); got != "control" {
					t.Errorf("the other end reads %q; want control", got)
				}
				e.conn.Close()
				<-s.done.Done()
				if took := time.Since(start); took > 100*time.Millisecond {
					t.Errorf("Close took %v", took)
				}
				if got := lines.String(); !strings.Contains(got, test.log) || test.log == "" && got != "" {
					t.Errorf("logged is %q; want %q", got, test.log)
				}
			})
		})
	}
}

var registerParting = sync.OnceFunc(func() {
	socket.RegisterProto(socket.Protocol{Name: "parting", New: newParting, Recognise: func([]byte) (bool, int) { return true, 0 }})
})

// Of several protocols on a port, that of the peer parts.
func TestPartingOfAnyProto(t *testing.T) {
	const name = "parting" // of a protocol that takes whatever comes
	registerParting()
	for _, heard := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			p := w.peer(func(c *PeerConfig) { c.Protocol, c.Protocols = nil, []string{name} })
			s, e := w.serveRaw(p)
			want := ""
			if heard {
				e.send(TypeCall, 1, "/echo", "x")
				want = "reply, control, closed"
			}
			go s.Close()
			if got := strings.Join(e.all(), ", "); got != want {
				t.Errorf("a peer that has spoken=%v reads %q; want %q", heard, got, want)
			}
			e.conn.Close()
		})
	}
}

// quiet is a logger of warnings and errors.
func quiet(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// parted is a protocol whose Unpack reads, of a PUSH, why the other side parts.
type parted struct{ parting }

func (p parted) Unpack(m Message) error {
	if err := p.parting.Unpack(m); err != nil || m.Mtype() != TypePush {
		return err
	}
	code, _ := strconv.Atoi(m.ServiceMethod()[1:])
	return &socket.Parted{Rerror: NewRerror(int32(code), "go away", "")}
}

// TestParted: what the other side has said is in the reason of the end, and decides whether
// to dial again.
func TestParted(t *testing.T) {
	for _, test := range []struct {
		code   int32
		comes  bool // back
		reason string
	}{
		{CodeForbidden, false, "403"},
		{CodeBusy, true, ""},
	} {
		t.Run(CodeText(test.code), func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				addr, accept := rawServer(t, w)
				c := w.peer(func(c *PeerConfig) {
					c.RedialTimes = -1
					c.Protocol = func(rw io.ReadWriter) Proto { return parted{newParting(rw).(parting)} }
				})
				ch := begin(func() Session { s, r := c.Dial(addr); wantRerror(t, r, 0, ""); return s })
				end := accept()
				s := ended(t, ch).v
				end.send(TypePush, 0, fmt.Sprintf("/%d", test.code), "")
				synctest.Wait()
				if test.comes {
					accept().conn.Close()
					return
				}
				<-s.CloseNotify()
				if got := s.CloseReason(); got.Side != SideRemote || !strings.Contains(got.Error(), test.reason) {
					t.Errorf("closed because of %v, want %s of the other side", got, test.reason)
				}
			})
		})
	}
}
