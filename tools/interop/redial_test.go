package interop

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/andeya/erpc/v7"

	tp "github.com/teleport-go/teleport/core"
)

// front is an address that stays while the servers behind it come and go.
type front struct {
	lis net.Listener

	mu    sync.Mutex // guards what follows
	serve func(net.Conn)
	conns []net.Conn
}

func newFront(t *testing.T) *front {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{lis: lis}
	t.Cleanup(func() { lis.Close() })
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			if f.serve == nil {
				conn.Close()
			} else {
				f.conns = append(f.conns, conn)
				go f.serve(conn)
			}
			f.mu.Unlock()
		}
	}()
	return f
}

func (f *front) addr() string { return f.lis.Addr().String() }

// to sends those who connect from now on to a server; nil: nobody is there.
func (f *front) to(serve func(net.Conn)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.serve = serve
}

// cut breaks all connections.
func (f *front) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		c.Close()
	}
	f.conns = nil
}

func TestRedial(t *testing.T) {
	ends := map[string]func(f *front, stop func()){
		"closed": func(f *front, stop func()) { stop() },
		"broken": func(f *front, stop func()) { f.cut(); stop() },
	}
	for name, end := range ends {
		t.Run("ours to theirs, "+name, func(t *testing.T) {
			f := newFront(t)
			sessions := make(chan erpc.Session, 16)
			start := func() *theirs {
				th := newTheirs(t, erpc.PeerConfig{}, theirChecker())
				f.to(func(c net.Conn) {
					if s, stat := th.peer.ServeConn(c); stat.OK() {
						sessions <- s
					}
				})
				return th
			}
			var ret string
			bearer := ourBearer(token, &ret)
			attempts := make(chan struct{}, 1)
			o := newOurs(t, tp.PeerConfig{RedialTimes: -1, RedialInterval: time.Millisecond}, hook{postDial: func(s tp.PreSession) *tp.Rerror {
				select {
				case attempts <- struct{}{}:
				default:
				}
				return bearer.postDial(s)
			}})
			th := start()
			o.dial(t, f.addr())
			o.sess.Swap().Store("mine", "kept")
			id := o.sess.ID()
			receive(t, "dial", attempts)
			x := exchange{method: "/hello/there"}
			if a := o.call(t, x); a.code != 0 {
				t.Fatal(a.fault)
			}
			receive(t, "their session", sessions) // from here on their Close knows it
			for round := range 3 {
				f.to(nil)
				end(f, func() { th.stop(t) })
				receive(t, "redialling", attempts)
				got := make(chan answer, 1)
				go func() { got <- o.call(t, x) }() // waits for the new connection
				th = start()
				if a := receive(t, "call", got); a.code != 0 {
					t.Fatalf("call after restart %d: %v", round, a.fault)
				}
				th.sess = receive(t, "their session", sessions)
				if stat := th.sess.Push("/note/say", "back"); !stat.OK() {
					t.Error(stat)
				}
				if n := receive(t, "push", o.heard); n.text != "back" {
					t.Errorf("pushed %q", n.text)
				}
				select { // of attempts that failed
				case <-attempts:
				default:
				}
			}
			if v, _ := o.sess.Swap().Load("mine"); v != "kept" || o.sess.ID() != id {
				t.Errorf("swap %v, id %s; want kept, %s", v, o.sess.ID(), id)
			}
		})
		t.Run("theirs to ours, "+name, func(t *testing.T) {
			f := newFront(t)
			sessions := make(chan tp.Session, 16)
			start := func() *ours {
				o := newOurs(t, tp.PeerConfig{}, ourChecker())
				f.to(func(c net.Conn) { sessions <- o.peer.ServeConn(c, detects) })
				return o
			}
			var ret string
			th := newTheirs(t, erpc.PeerConfig{RedialTimes: -1, RedialInterval: time.Millisecond}, theirBearer(token, &ret))
			defer th.stop(t) // while there is a server: their Close waits for their redial
			o := start()
			th.dial(t, f.addr())
			o.sess = receive(t, "our session", sessions)
			x := exchange{method: "/hello/there"}
			if a := th.call(t, x); a.code != 0 {
				t.Fatal(a.fault)
			}
			for round := range 3 {
				f.to(nil)
				end(f, func() { o.peer.Close() })
				o = start()
				// eRPC's calls neither wait for the new connection nor bear that it
				// is being made; ours is answered when it is ready.
				o.sess = receive(t, "our session", sessions)
				if a := o.call(t, x); a.code != 0 {
					t.Fatalf("our call after restart %d: %v", round, a.fault)
				}
				if a := th.call(t, x); a.code != 0 {
					t.Fatalf("call after restart %d: %v", round, a.fault)
				}
				if r := o.sess.Push("/note/say", "back"); r != nil {
					t.Error(r)
				}
				if n := receive(t, "push", th.heard); n.text != "back" {
					t.Errorf("pushed %q", n.text)
				}
			}
		})
	}
}
