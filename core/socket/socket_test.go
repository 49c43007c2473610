package socket_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/leak"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// sockets makes both ends of a connection, which end with the test.
func sockets(t *testing.T, network string) (a, b socket.Socket) {
	t.Helper()
	leak.LeakCheck(t)
	c, d := dial(t, network)
	a, b = socket.NewSocket(c, testwire.New), socket.GetSocket(d, nil, testwire.New)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestSocket(t *testing.T) {
	for _, network := range []string{"tcp", "pipe"} {
		t.Run(network, func(t *testing.T) {
			a, b := sockets(t, network)
			var wg sync.WaitGroup
			defer wg.Wait()
			const many = 20
			wg.Go(func() { // a server that answers
				m := socket.GetMessage()
				defer socket.PutMessage(m)
				for range many {
					m.Reset(socket.WithNewBody(func(socket.Header) any { return new(string) }))
					if err := b.ReadMessage(m); err != nil {
						t.Error(err)
						return
					}
					m.SetMtype(socket.TypeReply)
					m.SetBody(*m.Body().(*string) + " of " + m.ServiceMethod())
					if err := b.WriteMessage(m); err != nil {
						t.Error(err)
						return
					}
				}
			})
			for i := range int32(many) {
				m := push(i, socket.WithBody(strings.Repeat("x", int(i)*1000)), socket.WithXferPipe(testwire.XOR))
				if err := a.WriteMessage(m); err != nil {
					t.Fatal(err)
				}
				got := socket.NewMessage()
				if err := a.ReadMessage(got); err != nil {
					t.Fatal(err)
				}
				if want := strings.Repeat("x", int(i)*1000) + " of /a"; got.Seq() != i ||
					got.Mtype() != socket.TypeReply || string(got.RawBody()) != want {
					t.Errorf("reply %v, want seq %d and a body of %d bytes", got, i, len(want))
				}
			}
		})
	}
}

func TestSocketIdentity(t *testing.T) {
	a, b := sockets(t, "tcp")
	if a.ID() != b.LocalAddr().String() || a.ID() != a.RemoteAddr().String() || b.RemoteAddr().String() != a.LocalAddr().String() {
		t.Errorf("ID = %q, remote address %v, want %v", a.ID(), a.RemoteAddr(), b.LocalAddr())
	}
	a.SetID("mine")
	if a.ID() != "mine" {
		t.Errorf("ID = %q after SetID", a.ID())
	}
	a.Swap().Store("k", "v")
	if v, _ := a.Swap().Load("k"); v != "v" || a.SwapLen() != 1 {
		t.Errorf("swap has %v, length %d", v, a.SwapLen())
	}
	u, ok := a.(socket.UnsafeSocket)
	if _, tcp := a.Raw().(*net.TCPConn); !ok || !tcp || u.RawLocked() != a.Raw() {
		t.Errorf("Raw = %T", a.Raw())
	}

	// Another connection makes it another socket.
	c, d := dial(t, "pipe")
	a.Reset(c, testwire.NewPlain)
	if a.Raw() != c || a.ID() != "pipe" || a.SwapLen() != 0 {
		t.Errorf("after Reset: %v, ID %q, swap of %d", a.Raw(), a.ID(), a.SwapLen())
	}
	other := socket.NewSocket(d, testwire.New)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if err := a.WriteMessage(push(3)); err != nil {
			t.Error(err)
		}
	})
	m := socket.NewMessage()
	if err := other.ReadMessage(m); err != nil || m.Seq() != 3 {
		t.Errorf("ReadMessage: %v, seq %d", err, m.Seq())
	}
	// Reset opens what was closed.
	wg.Wait()
	a.Close()
	e, f := dial(t, "pipe")
	a.Reset(e, testwire.New)
	wg.Go(func() {
		if err := socket.NewSocket(f, testwire.New).WriteMessage(push(4)); err != nil {
			t.Error(err)
		}
	})
	if err := a.ReadMessage(m); err != nil || m.Seq() != 4 {
		t.Errorf("ReadMessage after Close and Reset: %v, seq %d", err, m.Seq())
	}
}

// watched counts what was written.
type watched struct {
	net.Conn
	n atomic.Int64
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.n.Add(int64(n))
	return n, err
}

func TestWriteMessageFlushes(t *testing.T) {
	for name, pf := range protos {
		t.Run(name, func(t *testing.T) {
			c, d := dial(t, "tcp")
			w := &watched{Conn: c}
			a := socket.NewSocket(w, pf)
			defer a.Close()
			go io.Copy(io.Discard, d)
			total := int64(0)
			for _, n := range []int{0, 100, 100_000} {
				m := push(1, socket.WithBody(make([]byte, n)))
				if err := a.WriteMessage(m); err != nil {
					t.Fatal(err)
				}
				if total += int64(m.Size()); w.n.Load() != total {
					t.Errorf("WriteMessage of %d bytes returned, and %d of %d bytes were written", n, w.n.Load(), total)
				}
			}
		})
	}
}

func TestWriteMessageContext(t *testing.T) {
	a, _ := sockets(t, "pipe") // nobody reads
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	within(t, func() {
		if err := a.WriteMessage(push(1, socket.WithContext(ctx))); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("WriteMessage = %v, want the context's error", err)
		}
	})
}

// What waits for the connection that Reset has put away waits no longer.
func TestSocketResetEndsWriters(t *testing.T) {
	a, _ := sockets(t, "pipe") // nobody reads
	entered := make(chan struct{})
	wrote := make(chan error)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		m := push(1, socket.WithContext(ctx), socket.WithBodyCodec(testwire.JSON), socket.WithBody(signal{entered}))
		wrote <- a.WriteMessage(m)
	}()
	<-entered
	old := a.Raw()
	defer old.Close()
	c, _ := dial(t, "pipe")
	a.Reset(c, testwire.New)
	within(t, func() {
		if err := <-wrote; err != socket.ErrProactivelyCloseSocket {
			t.Errorf("WriteMessage = %v, want ErrProactivelyCloseSocket", err)
		}
	})
}

// signal tells that it is being encoded.
type signal struct{ c chan struct{} }

func (s signal) MarshalJSON() ([]byte, error) {
	close(s.c)
	return []byte("{}"), nil
}

func TestSocketClose(t *testing.T) {
	for _, network := range []string{"tcp", "pipe"} {
		t.Run(network, func(t *testing.T) {
			a, b := sockets(t, network)
			read := make(chan error)
			go func() { read <- a.ReadMessage(socket.NewMessage()) }()
			wrote := make(chan error)
			go func() {
				for { // until it does not fit any more, and then until Close
					if err := a.WriteMessage(push(1, socket.WithBody(make([]byte, 1<<20)))); err != nil {
						wrote <- err
						return
					}
				}
			}()
			if err := b.ReadMessage(socket.NewMessage()); err != nil {
				t.Fatal(err)
			}
			within(t, func() {
				if err := a.Close(); err != nil {
					t.Errorf("Close = %v", err)
				}
				if err := a.Close(); err != nil {
					t.Errorf("Close again = %v", err)
				}
				for what, c := range map[string]chan error{"ReadMessage": read, "WriteMessage": wrote} {
					if err := <-c; err != socket.ErrProactivelyCloseSocket {
						t.Errorf("%s under way = %v, want ErrProactivelyCloseSocket", what, err)
					}
				}
			})
			if err := a.ReadMessage(socket.NewMessage()); err != socket.ErrProactivelyCloseSocket {
				t.Errorf("ReadMessage = %v, want ErrProactivelyCloseSocket", err)
			}
			if err := a.WriteMessage(push(1)); err != socket.ErrProactivelyCloseSocket {
				t.Errorf("WriteMessage = %v, want ErrProactivelyCloseSocket", err)
			}
			if _, err := a.Read(make([]byte, 1)); err != socket.ErrProactivelyCloseSocket {
				t.Errorf("Read = %v, want ErrProactivelyCloseSocket", err)
			}
			// The other end has done nothing of the kind.
			for {
				if err := b.ReadMessage(socket.NewMessage()); err == socket.ErrProactivelyCloseSocket {
					t.Errorf("the other end: ReadMessage = %v", err)
				} else if err != nil {
					break
				}
			}
		})
	}
}

func TestSocketEnd(t *testing.T) {
	a, b := sockets(t, "tcp")
	if err := a.WriteMessage(push(1)); err != nil {
		t.Fatal(err)
	}
	a.Close()
	m := socket.NewMessage()
	if err := b.ReadMessage(m); err != nil || m.Seq() != 1 {
		t.Errorf("ReadMessage: %v, seq %d", err, m.Seq())
	}
	if err := b.ReadMessage(m); err != io.EOF {
		t.Errorf("ReadMessage at the end = %v, want io.EOF", err)
	}
}

// Read and Write see the connection's own bytes.
func TestSocketBytes(t *testing.T) {
	a, b := sockets(t, "tcp")
	if err := a.WriteMessage(push(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte("bytes")); err != nil {
		t.Fatal(err)
	}
	if err := b.ReadMessage(socket.NewMessage()); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(b, got); err != nil || string(got) != "bytes" {
		t.Errorf("Read: %q, %v", got, err)
	}
	if err := b.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	var ne net.Error
	if err := b.ReadMessage(socket.NewMessage()); !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("ReadMessage behind the deadline = %v", err)
	}
	b.SetDeadline(time.Time{})
	b.SetWriteDeadline(time.Time{})
	a.WriteMessage(push(2))
	m := socket.NewMessage()
	if err := b.ReadMessage(m); err != nil || m.Seq() != 2 {
		t.Errorf("ReadMessage after the deadline was taken away: %v, seq %d", err, m.Seq())
	}
}

func TestSocketBadMessage(t *testing.T) {
	a, b := sockets(t, "tcp")
	if err := a.WriteMessage(push(1, socket.WithXferPipe(testwire.Fail))); err != nil {
		t.Fatal(err)
	}
	if err := a.WriteMessage(push(2)); err != nil {
		t.Fatal(err)
	}
	m := socket.NewMessage()
	if err := b.ReadMessage(m); !errors.Is(err, socket.ErrBadMessage) {
		t.Errorf("ReadMessage = %v, want ErrBadMessage", err)
	}
	m.Reset()
	if err := b.ReadMessage(m); err != nil || m.Seq() != 2 {
		t.Errorf("the next one: %v, seq %d", err, m.Seq())
	}
}

func TestControlFD(t *testing.T) {
	a, _ := sockets(t, "tcp")
	called := false
	if err := a.ControlFD(func(fd uintptr) { called = fd > 2 }); err != nil || !called {
		t.Errorf("tcp: %v, called %v", err, called)
	}
	a.Close()
	if err := a.ControlFD(func(uintptr) { t.Error("called after Close") }); err == nil {
		t.Error("tcp, closed: no error")
	}
	p, _ := sockets(t, "pipe")
	if err := p.ControlFD(func(uintptr) { t.Error("called") }); err != syscall.EINVAL {
		t.Errorf("pipe: %v, want EINVAL", err)
	}
	c, _ := dial(t, "tcp")
	if err := socket.ControlFD(tls.Client(c, &tls.Config{}), func(uintptr) { t.Error("called") }); err != syscall.EINVAL {
		t.Errorf("tls: %v, want EINVAL", err)
	}
}

func TestDefaultProto(t *testing.T) {
	defer socket.SetDefaultProtoFunc(nil)
	c, _ := dial(t, "pipe")
	if pf, err := socket.DefaultProtoFunc(); pf != nil || err == nil || !errors.Is(err, socket.ErrUnsupportedProto) ||
		!strings.Contains(err.Error(), "teleport/protos/rawproto") {
		t.Errorf("DefaultProtoFunc: %v, want one that names the import", err)
	}
	func() {
		defer func() {
			if p := recover(); !strings.Contains(fmt.Sprint(p), "teleport/protos/rawproto") {
				t.Errorf("NewSocket panics with %v, want the import", p)
			}
		}()
		socket.NewSocket(c)
		t.Error("NewSocket without a protocol does not panic")
	}()
	asked := 0
	socket.SetDefaultProtoFunc(func(rw io.ReadWriter) socket.Proto {
		asked++
		return testwire.New(rw)
	})
	socket.NewSocket(c)
	socket.NewSocket(c, nil)
	socket.NewSocket(c, testwire.New)
	if asked != 2 {
		t.Errorf("the default was asked %d times, want 2", asked)
	}
	if p, err := socket.LookupProto(testwire.Name); err != nil || p.Name != testwire.Name || p.New == nil {
		t.Errorf("LookupProto = %v, %v", p.Name, err)
	}
}

func TestSocketHub(t *testing.T) {
	hub := socket.NewSocketHub()
	if _, ok := hub.Random(); ok || hub.Len() != 0 {
		t.Error("a new hub is not empty")
	}
	named := func(id string) socket.Socket {
		s, _ := sockets(t, "pipe")
		s.SetID(id)
		return s
	}
	closed := func(s socket.Socket) bool {
		s.SetReadDeadline(time.Now().Add(-time.Second)) // so that it does not wait
		return s.ReadMessage(socket.NewMessage()) == socket.ErrProactivelyCloseSocket
	}
	a, b := named("a"), named("b")
	hub.Set(a)
	hub.Set(b)
	hub.Set(a) // is there already
	if got, ok := hub.Get("a"); !ok || got != a || hub.Len() != 2 || closed(a) {
		t.Errorf("Get(a) = %v, %v; Len = %d", got, ok, hub.Len())
	}
	if _, ok := hub.Get("c"); ok {
		t.Error("Get(c) finds something")
	}
	if s, ok := hub.Random(); !ok || s != a && s != b {
		t.Errorf("Random = %v, %v", s, ok)
	}
	n := 0
	hub.Range(func(s socket.Socket) bool {
		hub.Len() // the hub may be used meanwhile
		n++
		return true
	})
	if n != 2 {
		t.Errorf("Range visits %d, want 2", n)
	}
	n = 0
	hub.Range(func(socket.Socket) bool { n++; return false })
	if n != 1 {
		t.Errorf("Range visits %d after false, want 1", n)
	}

	other := named("a")
	hub.Set(other)
	if got, _ := hub.Get("a"); got != other || !closed(a) || hub.Len() != 2 {
		t.Errorf("a newcomer: Get(a) = %v, the old one closed: %v, Len = %d", got, closed(a), hub.Len())
	}
	hub.ChangeID("c", other)
	if _, ok := hub.Get("a"); ok || other.ID() != "c" || hub.Len() != 2 {
		t.Errorf("ChangeID: a is there: %v, ID = %q, Len = %d", ok, other.ID(), hub.Len())
	}
	hub.ChangeID("b", other)
	if got, _ := hub.Get("b"); got != other || !closed(b) || hub.Len() != 1 || closed(other) {
		t.Errorf("ChangeID to one that is taken: %v, the old one closed: %v, Len = %d", got, closed(b), hub.Len())
	}
	hub.Delete("b")
	if hub.Len() != 0 || closed(other) {
		t.Errorf("Delete: Len = %d, closed: %v", hub.Len(), closed(other))
	}
}
