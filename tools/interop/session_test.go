package interop

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/andeya/erpc/v7"

	tp "github.com/teleport-go/teleport/core"
)

// connection closed, whatever the reason.
func closed(t *testing.T, what string, f fault) {
	t.Helper()
	if f.code != 102 || f.message != "Connection Closed" {
		t.Errorf("%s: got %v, want 102 Connection Closed", what, f)
	}
}

func TestClose(t *testing.T) {
	sides := []struct {
		name string
		pick func(o *ours, th *theirs) (closer, other end)
	}{
		{"ours closes", func(o *ours, th *theirs) (end, end) { return o, th }},
		{"theirs closes", func(o *ours, th *theirs) (end, end) { return th, o }},
	}
	for _, side := range sides {
		t.Run(side.name, func(t *testing.T) {
			eachWiring(t, func(t *testing.T, o *ours, th *theirs) {
				closer, other := side.pick(o, th)
				within(t, "close", closer.close)
				receive(t, "close notification of the closing end", closer.over())
				receive(t, "close notification of the other end", other.over())
				x := exchange{method: "/math/add", arg: []int{1}}
				closed(t, "call of the closing end", closer.call(t, x).fault)
				closed(t, "call of the other end", other.call(t, x).fault)
				x = exchange{method: "/note/say", arg: "x"}
				closed(t, "push of the closing end", closer.push(x))
				closed(t, "push of the other end", other.push(x))
				if r := o.sess.CloseReason(); r == nil || (r.Side == tp.SideRemote) != (other == end(o)) {
					t.Errorf("our reason is %v", r)
				}
			})
		})
	}
}

// The reply of a handler that runs arrives although the handler's side closes.
func TestReplyOfClosing(t *testing.T) {
	finish := func(t *testing.T, from, to end, begun <-chan struct{}, letGo func()) {
		got := make(chan answer, 1)
		var text string
		go func() { got <- from.call(t, exchange{method: "/hang", result: &text}) }()
		receive(t, "the handler", begun)
		done := make(chan struct{})
		go func() { defer close(done); to.close() }()
		receive(t, "closing", to.over())
		letGo()
		if a := receive(t, "reply", got); a.code != 0 || text != "let go" {
			t.Errorf("got %v %q", a.fault, text)
		}
		receive(t, "close", done)
		receive(t, "end", from.over())
	}
	t.Run("theirs to ours", func(t *testing.T) {
		eachWiring(t, func(t *testing.T, o *ours, th *theirs) { finish(t, th, o, o.hangs, o.letGo) })
	})
	t.Run("ours to theirs", func(t *testing.T) {
		eachWiring(t, func(t *testing.T, o *ours, th *theirs) { finish(t, o, th, th.hangs, th.letGo) })
	})
}

// A call that waits gets 102 when the other side is gone.
func TestCutOff(t *testing.T) {
	for _, w := range wirings {
		t.Run(w.name, func(t *testing.T) {
			for _, way := range []string{"theirs waits for ours", "ours waits for theirs"} {
				t.Run(way, func(t *testing.T) {
					ourConns, theirConns := make(chan net.Conn, 1), make(chan net.Conn, 1)
					o := newOurs(t, tp.PeerConfig{}, cutter(ourConns))
					th := newTheirs(t, erpc.PeerConfig{}, theirCutter(theirConns))
					w.join(t, o, th)
					from, begun, conns := end(th), o.hangs, ourConns
					if way == "ours waits for theirs" {
						from, begun, conns = o, th.hangs, theirConns
					}
					got := make(chan answer, 1)
					go func() { got <- from.call(t, exchange{method: "/hang"}) }()
					receive(t, "the handler", begun)
					receive(t, "connection", conns).Close()
					closed(t, "call that waits", receive(t, "end of the call", got).fault)
					receive(t, "close notification", from.over())
				})
			}
		})
	}
	t.Run("ours closes on a handler that hangs", func(t *testing.T) {
		o, th := newOurs(t, tp.PeerConfig{CloseTimeout: 50 * time.Millisecond}), newTheirs(t, erpc.PeerConfig{})
		wirings[0].join(t, o, th)
		got := make(chan answer, 1)
		go func() { got <- th.call(t, exchange{method: "/hang"}) }()
		receive(t, "the handler", o.hangs)
		within(t, "close", o.close)
		closed(t, "call that waits", receive(t, "end of the call", got).fault)
	})
}

// A program that dials v5 or v7 by the project's own dialect finds in the log what to do. (On a
// frame below 120 bytes eRPC may wait for more, as 'r' means 114 filters to it.)
func TestHint(t *testing.T) {
	o, th := newOurs(t, tp.PeerConfig{}), newTheirs(t, erpc.PeerConfig{})
	addr := th.listen(t)
	for _, size := range []int{200, 2 << 10, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s, r := o.peer.Dial(addr, detects)
			if r != nil {
				t.Fatal(r)
			}
			r = s.Call("/echo/bytes", make([]byte, size), nil).Rerror()
			closed(t, "call", ourFault(r))
			if r != nil && !strings.Contains(r.Reason, "rawproto.V7") {
				t.Errorf("the reason does not name the dialect: %s", r.Reason)
			}
		})
	}
}

// The first frame of a connection may come from the listening side.
func TestPushFirst(t *testing.T) {
	const say = "/note/say"
	t.Run("ours", func(t *testing.T) {
		o := newOurs(t, tp.PeerConfig{}, hook{postAccept: func(s tp.PreSession) *tp.Rerror {
			return s.RawPush(say, "first", tp.WithAddMeta("k", "v 1/é"), tp.WithXferPipe(md5ID))
		}})
		th := newTheirs(t, erpc.PeerConfig{})
		wirings[1].join(t, o, th)
		if n := receive(t, "push", th.heard); n.text != "first" || len(n.meta) != 1 || n.meta[0] != odd[0] {
			t.Errorf("got %q", n)
		}
	})
	t.Run("ours, from its session", func(t *testing.T) {
		o, th := newOurs(t, tp.PeerConfig{}), newTheirs(t, erpc.PeerConfig{})
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer lis.Close()
		pushed := make(chan *tp.Rerror, 1)
		go func() {
			conn, err := lis.Accept()
			if err != nil {
				pushed <- tp.ToRerror(err)
				return
			}
			pushed <- o.peer.ServeConn(conn, v7).Push(say, "first")
		}()
		th.dial(t, lis.Addr().String())
		if r := receive(t, "pushing", pushed); r != nil {
			t.Fatal(r)
		}
		if n := receive(t, "push", th.heard); n.text != "first" {
			t.Errorf("got %q", n)
		}
		if a := th.call(t, exchange{method: "/math/add", arg: []int{1}}); a.code != 0 {
			t.Error("call afterwards:", a.fault)
		}
	})
	t.Run("theirs", func(t *testing.T) {
		o := newOurs(t, tp.PeerConfig{})
		th := newTheirs(t, erpc.PeerConfig{}, theirHook{postAccept: func(s erpc.PreSession) *erpc.Status {
			return s.RawPush(say, "first", erpc.WithAddMeta("k", "v 1/é"), erpc.WithXferPipe(md5ID))
		}})
		o.dial(t, th.listen(t))
		if n := receive(t, "push", o.heard); n.text != "first" || len(n.meta) != 1 || n.meta[0] != odd[0] {
			t.Errorf("got %q", n)
		}
	})
}
