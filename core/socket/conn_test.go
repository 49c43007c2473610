package socket_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/leak"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

var errStopped = errors.New("stopped by the test")

// dial returns both ends of a connection; they are closed with the test.
func dial(t *testing.T, network string) (a, b net.Conn) {
	t.Helper()
	switch network {
	case "pipe":
		a, b = net.Pipe()
	case "tcp":
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer lis.Close()
		if a, err = net.Dial("tcp", lis.Addr().String()); err != nil {
			t.Fatal(err)
		}
		if b, err = lis.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// conns makes two Conns of it, which end with the test.
func conns(t *testing.T, network string, pf socket.ProtoFunc, o socket.Options) (a, b *socket.Conn) {
	t.Helper()
	leak.LeakCheck(t)
	c, d := dial(t, network)
	a, b = socket.NewConn(c, pf, o), socket.NewConn(d, pf, o)
	t.Cleanup(func() {
		for _, c := range []*socket.Conn{a, b} {
			c.NetConn().Close()
			c.Stop(errStopped)
			c.Join()
			c.Release()
		}
	})
	return a, b
}

// send is what an engine does with a message.
func send(c *socket.Conn, m *socket.Envelope) error {
	if err := c.Enqueue(context.Background(), m); err != nil {
		return err
	}
	c.Flush(socket.Yield)
	return nil
}

func push(seq int32, settings ...socket.MessageSetting) *socket.Envelope {
	m := new(socket.Envelope)
	m.Reset(append([]socket.MessageSetting{socket.WithSeq(seq), socket.WithMtype(socket.TypePush),
		socket.WithServiceMethod("/a"), socket.WithBodyCodec(testwire.Text)}, settings...)...)
	return m
}

// within ends the test when f does not end.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("no end after 20 s")
	}
}

var protos = map[string]socket.ProtoFunc{"appending": testwire.New, "plain": testwire.NewPlain}

// Many goroutines send small and large messages, with pipes and without: all
// arrive whole, each once.
func TestConnManySenders(t *testing.T) {
	const senders, each = 16, 40
	sizes := []int{0, 100, 5_000, 16 << 10, 16<<10 + 1, 32 << 10, 70_000}
	body := func(seq int) []byte { return bytes.Repeat([]byte{byte(seq), byte(seq >> 8)}, sizes[seq%len(sizes)]/2) }
	for name, pf := range protos {
		for _, network := range []string{"tcp", "pipe"} {
			t.Run(name+"/"+network, func(t *testing.T) {
				a, b := conns(t, network, pf, socket.Options{Bound: 100_000})
				var wg sync.WaitGroup
				defer wg.Wait()
				for i := range senders {
					wg.Go(func() {
						for j := range each {
							seq := i*each + j
							m := push(int32(seq), socket.WithBody(body(seq)), socket.WithSetMeta("n", fmt.Sprint(seq)))
							switch seq % 3 {
							case 1:
								m.XferPipe().Append(testwire.XOR, testwire.Sum)
							case 2:
								m.SetBody(string(body(seq)))
							}
							if err := send(a, m); err != nil {
								t.Errorf("message %d: %v", seq, err)
								return
							}
						}
					})
				}
				seen := make([]bool, senders*each)
				last := make([]int, senders)
				m := new(socket.Envelope)
				for range seen {
					m.Clear()
					if err := b.ReadInto(m); err != nil {
						t.Error(err)
						a.NetConn().Close()
						return
					}
					seq := int(m.Seq())
					if seq < 0 || seq >= len(seen) || seen[seq] {
						t.Errorf("message %d arrives twice, or was never sent", seq)
						continue
					}
					seen[seq] = true
					if n, _ := m.Meta().GetUint("n"); n != seq || !bytes.Equal(m.RawBody(), body(seq)) {
						t.Errorf("message %d arrives damaged: metadata %q, body of %d bytes", seq, m.Meta(), len(m.RawBody()))
					}
					if i := seq / each; last[i] > seq {
						t.Errorf("message %d arrives after %d of the same goroutine", seq, last[i])
					} else {
						last[i] = seq
					}
				}
			})
		}
	}
}

// pusher is a value whose encoding sends a message.
type pusher struct {
	c     *socket.Conn
	depth int
}

func (p pusher) MarshalJSON() ([]byte, error) {
	if p.depth > 0 {
		if err := send(p.c, push(int32(p.depth), socket.WithBodyCodec(testwire.JSON),
			socket.WithBody(pusher{p.c, p.depth - 1}))); err != nil {
			return nil, err
		}
	}
	return []byte(fmt.Sprint(p.depth)), nil
}

func TestConnMarshalSends(t *testing.T) {
	for name, pf := range protos {
		for _, filters := range [][]byte{nil, {testwire.XOR}} {
			t.Run(fmt.Sprintf("%s/%d filters", name, len(filters)), func(t *testing.T) {
				a, b := conns(t, "tcp", pf, socket.Options{})
				within(t, func() {
					if err := send(a, push(4, socket.WithBodyCodec(testwire.JSON), socket.WithBody(pusher{a, 3}),
						socket.WithXferPipe(filters...))); err != nil {
						t.Error(err)
					}
				})
				for want := range int32(4) { // the innermost is ready first
					m := new(socket.Envelope)
					if err := b.ReadInto(m); err != nil || m.Seq() != want+1 || string(m.RawBody()) != fmt.Sprint(want) {
						t.Errorf("message %d: %v, seq %d, body %q", want, err, m.Seq(), m.RawBody())
					}
				}
			})
		}
	}
}

// slippery panics where its fields say so.
type slippery struct {
	socket.Proto
	when string
}

func (p slippery) slip(when string) {
	if p.when == when {
		panic("slipped while " + when)
	}
}

func (p slippery) Pack(m socket.Message) error {
	defer p.slip("packing")
	return p.Proto.Pack(m)
}

func (p slippery) Unpack(m socket.Message) error {
	p.slip("reading")
	return p.Proto.Unpack(m)
}

// slipperyAppender panics behind a part of the frame.
type slipperyAppender struct{ socket.FrameAppender }

func (p slipperyAppender) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	if m.Seq() != 13 {
		return p.FrameAppender.AppendFrame(dst, m)
	}
	_ = append(dst, "rubbish"...)
	panic("slipped while packing")
}

func TestConnProtoPanics(t *testing.T) {
	t.Run("Pack", func(t *testing.T) {
		a, _ := conns(t, "tcp", func(rw io.ReadWriter) socket.Proto {
			return slippery{testwire.NewPlain(rw), "packing"}
		}, socket.Options{})
		err := send(a, push(1))
		var pe *socket.PackError
		if !errors.As(err, &pe) || !strings.Contains(err.Error(), "slipped while packing") {
			t.Errorf("Enqueue = %v, want a *PackError", err)
		}
		if n, bytes := a.Queued(); n != 0 || bytes != 0 {
			t.Errorf("%d messages of %d bytes are queued", n, bytes)
		}
	})
	for name, body := range map[string][]byte{"small": []byte("x"), "large": make([]byte, 20_000)} {
		t.Run("AppendFrame, "+name, func(t *testing.T) {
			a, b := conns(t, "tcp", func(rw io.ReadWriter) socket.Proto {
				return slipperyAppender{testwire.New(rw).(socket.FrameAppender)}
			}, socket.Options{})
			for _, seq := range []int32{1, 13, 2} {
				err := send(a, push(seq, socket.WithBody(body)))
				var pe *socket.PackError
				if (seq == 13) != errors.As(err, &pe) {
					t.Errorf("message %d: Enqueue = %v", seq, err)
				}
			}
			for _, want := range []int32{1, 2} {
				m := new(socket.Envelope)
				if err := b.ReadInto(m); err != nil || m.Seq() != want {
					t.Errorf("ReadInto: %v, seq %d, want %d", err, m.Seq(), want)
				}
			}
		})
	}
	t.Run("Unpack", func(t *testing.T) {
		_, b := conns(t, "tcp", func(rw io.ReadWriter) socket.Proto {
			return slippery{testwire.New(rw), "reading"}
		}, socket.Options{})
		if err := b.ReadInto(new(socket.Envelope)); err == nil || !strings.Contains(err.Error(), "slipped while reading") {
			t.Errorf("ReadInto = %v, want the panic", err)
		}
	})
}

func TestConnLimit(t *testing.T) {
	for name, pf := range protos {
		t.Run(name, func(t *testing.T) {
			a, b := conns(t, "tcp", pf, socket.Options{Limit: 1000})
			err := send(a, push(1, socket.WithBody(make([]byte, 1000))))
			var pe *socket.PackError
			if !errors.Is(err, socket.ErrSizeLimit) || !errors.As(err, &pe) {
				t.Errorf("Enqueue = %v, want a *PackError of ErrSizeLimit", err)
			}
			if err := send(a, push(2)); err != nil {
				t.Fatal(err)
			}
			m := new(socket.Envelope)
			if err := b.ReadInto(m); err != nil || m.Seq() != 2 {
				t.Errorf("ReadInto: %v, seq %d, want the message behind", err, m.Seq())
			}
			a.SetLimit(0) // the process-wide one
			if err := send(a, push(3, socket.WithBody(make([]byte, 1000)))); err != nil {
				t.Fatal(err)
			}
			if err := b.ReadInto(m); !errors.Is(err, socket.ErrSizeLimit) {
				t.Errorf("ReadInto = %v, want ErrSizeLimit", err)
			}
		})
	}
}

func TestConnStop(t *testing.T) {
	for name, pf := range protos {
		t.Run(name, func(t *testing.T) {
			a, _ := conns(t, "pipe", pf, socket.Options{Bound: 100})
			if err := a.Enqueue(t.Context(), push(1, socket.WithBody(make([]byte, 200)))); err != nil {
				t.Fatal(err)
			}
			if n, bytes := a.Queued(); n != 1 || bytes < 200 {
				t.Errorf("Queued = %d, %d", n, bytes)
			}
			// No room: the wait for it ends with its context.
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if err := a.Enqueue(ctx, push(2, socket.WithBody(make([]byte, 200)))); !errors.Is(err, context.Canceled) {
				t.Errorf("Enqueue without room = %v, want the context's error", err)
			}
			if err := a.EnqueueNow(push(3, socket.WithBody(make([]byte, 200)))); err == nil {
				t.Error("EnqueueNow beyond twice the bound succeeds")
			}
			waiting := make(chan error)
			go func() { waiting <- a.WaitFlushed(context.Background()) }()
			if lost := a.Stop(errStopped); lost != 1 {
				t.Errorf("Stop = %d lost, want 1", lost)
			}
			if err := <-waiting; !errors.Is(err, errStopped) {
				t.Errorf("WaitFlushed = %v, want what Stop was given", err)
			}
			if err := a.Enqueue(t.Context(), push(4)); !errors.Is(err, errStopped) {
				t.Errorf("Enqueue after Stop = %v, want what Stop was given", err)
			}
		})
	}
}

// hinting has a guess.
type hinting struct{ socket.Proto }

func (hinting) Hint() string { return "a guess" }

func TestConnHint(t *testing.T) {
	a, b := conns(t, "tcp", func(rw io.ReadWriter) socket.Proto { return hinting{testwire.New(rw)} }, socket.Options{})
	if h := a.Hint(); h != "" || a.Heard() {
		t.Errorf("nothing was said, and Hint = %q", h)
	}
	if err := send(a, push(1)); err != nil {
		t.Fatal(err)
	}
	if h := a.Hint(); h != "a guess" {
		t.Errorf("nothing has arrived, and Hint = %q", h)
	}
	if err := b.ReadInto(new(socket.Envelope)); err != nil {
		t.Fatal(err)
	}
	if err := send(b, push(1)); err != nil {
		t.Fatal(err)
	}
	if err := a.ReadInto(new(socket.Envelope)); err != nil {
		t.Fatal(err)
	}
	if h := a.Hint(); h != "" || !a.Heard() {
		t.Errorf("something has arrived, and Hint = %q", h)
	}
	c, _ := conns(t, "tcp", testwire.New, socket.Options{})
	if err := send(c, push(1)); err != nil || c.Hint() != "" {
		t.Errorf("%v, Hint = %q of a protocol that has none", err, c.Hint())
	}
}

func TestConnRest(t *testing.T) {
	a, b := conns(t, "tcp", testwire.New, socket.Options{})
	if err := send(a, push(1)); err != nil {
		t.Fatal(err)
	}
	if err := b.ReadInto(new(socket.Envelope)); err != nil {
		t.Fatal(err)
	}
	a.NetConn().Write([]byte("not a frame"))
	if err := b.Wait(); err != nil {
		t.Fatal(err)
	}
	rest := ""
	for len(rest) < len("not a frame") {
		if err := b.Wait(); err != nil {
			t.Fatal(err)
		}
		rest += string(b.TakeBuffered())
	}
	if rest != "not a frame" || b.Buffered() != 0 {
		t.Errorf("Rest = %q, %d bytes left", rest, b.Buffered())
	}
}

// copying makes the body anew in memory of its own, as text protocols do.
type copying struct {
	socket.Proto
	b []byte
}

func (p *copying) Unpack(m socket.Message) error {
	if err := p.Proto.Unpack(m); err != nil {
		return err
	}
	p.b = append(p.b[:0], m.RawBody()...)
	return m.UnmarshalBody(p.b)
}

// A body is the message's own only where it lies in memory that nobody else has.
func TestConnOwnedBody(t *testing.T) {
	big := strings.Repeat("x", 200_000)
	read := func(t *testing.T, pf socket.ProtoFunc, settings ...socket.MessageSetting) (first *socket.Envelope) {
		a, b := conns(t, "tcp", pf, socket.Options{})
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			for _, body := range []string{big, strings.Repeat("#", len(big))} {
				if err := send(a, push(1, append(settings, socket.WithBody([]byte(body)))...)); err != nil {
					t.Error(err)
				}
			}
		})
		first = new(socket.Envelope)
		if err := b.ReadInto(first); err != nil {
			t.Fatal(err)
		}
		kept := first.KeepBody()
		if err := b.ReadInto(new(socket.Envelope)); err != nil {
			t.Fatal(err)
		}
		if string(kept) != big {
			t.Errorf("the body that was kept has changed to %.20q…", kept)
		}
		return first
	}
	t.Run("in place", func(t *testing.T) { read(t, testwire.New) })
	t.Run("piped", func(t *testing.T) { read(t, testwire.New, socket.WithXferPipe(testwire.Hex)) })
	t.Run("plain", func(t *testing.T) { read(t, testwire.NewPlain) })
	t.Run("copied by the protocol", func(t *testing.T) {
		read(t, func(rw io.ReadWriter) socket.Proto { return &copying{Proto: testwire.New(rw)} })
	})
	t.Run("passed on, not copied", func(t *testing.T) {
		a, b := conns(t, "tcp", testwire.New, socket.Options{})
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			if err := send(a, push(1, socket.WithBody([]byte(big)))); err != nil {
				t.Error(err)
			}
		})
		m := new(socket.Envelope)
		if err := b.ReadInto(m); err != nil {
			t.Fatal(err)
		}
		raw := m.RawBody()
		if kept := m.KeepBody(); !m.BodyOwned() || &kept[0] != &raw[0] {
			t.Error("a large body is copied")
		}
	})
}

// An encoded body stays that of its message, however often it is sent.
func TestConnEncodedTwice(t *testing.T) {
	for name, pf := range protos {
		t.Run(name, func(t *testing.T) {
			a, b := conns(t, "tcp", pf, socket.Options{})
			arg := "once"
			m := push(1, socket.WithBody(&arg))
			if _, err := m.Encode(nil); err != nil {
				t.Fatal(err)
			}
			arg = "changed"
			for range 2 {
				m.Recall()
				if err := send(a, m); err != nil {
					t.Fatal(err)
				}
				got := new(socket.Envelope)
				if err := b.ReadInto(got); err != nil || string(got.RawBody()) != "once" {
					t.Errorf("received %q, error %v; want once", got.RawBody(), err)
				}
			}
		})
	}
}

// A ProtoFunc that panics fails its connection, not the process.
func TestProtoFuncPanics(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	c := socket.NewConn(near, func(io.ReadWriter) socket.Proto { panic("no such dialect") }, socket.Options{})
	defer c.Join()
	defer c.Stop(nil)
	const want = "socket: the ProtoFunc panicked: no such dialect"
	if err := c.ReadInto(new(socket.Envelope)); err == nil || err.Error() != want {
		t.Errorf("ReadInto: %v; want %s", err, want)
	}
	if err := c.Enqueue(t.Context(), new(socket.Envelope)); err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("Enqueue: %v; want %s", err, want)
	}
}
