package tp_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// numbered compares the number of a message before it is written with the one after.
type numbered struct {
	lines  *journal
	refuse func() *tp.Rerror
	last   int32
}

func (*numbered) Name() string { return "numbered" }

func (n *numbered) before(c tp.WriteCtx) *tp.Rerror {
	n.last = c.Output().Seq()
	c.Output().SetSeq(77) // changes nothing
	if n.refuse != nil {
		return n.refuse()
	}
	return nil
}

func (n *numbered) after(c tp.WriteCtx) *tp.Rerror {
	if got := c.Output().Seq(); got != n.last || got <= 0 {
		n.lines.add("number %d before, %d after", n.last, got)
	}
	return nil
}

func (n *numbered) PreWriteCall(c tp.WriteCtx) *tp.Rerror  { return n.before(c) }
func (n *numbered) PreWritePush(c tp.WriteCtx) *tp.Rerror  { return n.before(c) }
func (n *numbered) PostWriteCall(c tp.WriteCtx) *tp.Rerror { return n.after(c) }
func (n *numbered) PostWritePush(c tp.WriteCtx) *tp.Rerror { return n.after(c) }

func TestNumberBeforeAMessageIsWritten(t *testing.T) {
	n := &numbered{lines: new(journal)}
	seqs := make(chan int32, 10)
	e := &ends{cliPlugin: []tp.Plugin{n}, routes: func(p tp.Peer) {
		tp.HandleCall(p, "/call", func(c tp.CallCtx, _ *string) (string, error) { seqs <- c.Seq(); return "", nil })
		tp.HandlePush(p, "/push", func(c tp.PushCtx, _ *string) error { seqs <- c.Seq(); return nil })
	}}
	e.dial(t)
	send := map[string]func(string) *tp.Rerror{
		"Call": func(m string) *tp.Rerror { return e.sess.Call(m, "x", nil).Rerror() },
		"AsyncCall": func(m string) *tp.Rerror {
			_, r := e.sess.AsyncCall(m, "x", nil, nil).Reply()
			return r
		},
		"Invoke": func(m string) *tp.Rerror {
			_, err := tp.Invoke[string](context.Background(), e.sess, m, "x")
			return tp.ToRerror(err)
		},
		"Push": func(m string) *tp.Rerror { return e.sess.Push("/push", "x") },
	}
	want := int32(0) // a number that was not used is not kept: then later ones would be skipped
	for name, send := range send {
		for range 5 {
			want++
			if r := send("/call"); r != nil {
				t.Fatalf("%s: %v", name, r)
			}
			if got := receive(t, name, seqs); got != n.last || got != want {
				t.Errorf("%s: the hook saw number %d, the peer %d; want %d", name, n.last, got, want)
			}
		}
		n.refuse = func() *tp.Rerror { return tp.NewRerror(1000, "no", "") }
		wantRerror(t, name+", refused", send("/call"), 1000)
		n.refuse = func() *tp.Rerror { panic("ouch") }
		wantRerror(t, name+", panic", send("/call"), tp.CodeInternalServerError)
		n.refuse = func() *tp.Rerror { runtime.Goexit(); return nil }
		var gone sync.WaitGroup
		gone.Go(func() { send("/call") })
		gone.Wait()
		n.refuse = nil
		want += 3
	}
	wantLines(t, "numbers", n.lines.take())
}

// replying records the service methods of replies.
type replying struct{ lines *journal }

func (replying) Name() string { return "replying" }
func (p replying) PostReadCallHeader(c tp.ReadCtx) *tp.Rerror {
	c.(tp.WriteCtx).Output() // before the route is known
	c.ResetServiceMethod(strings.ToLower(c.ServiceMethod()))
	return nil
}
func (p replying) PreWriteReply(c tp.WriteCtx) *tp.Rerror {
	p.lines.add("before %s", c.Output().ServiceMethod())
	return nil
}
func (p replying) PostWriteReply(c tp.WriteCtx) *tp.Rerror {
	p.lines.add("after %s", c.Output().ServiceMethod())
	return nil
}

// methods records the service methods on the wire.
type methods struct {
	tp.Proto
	lines *journal
}

func (m methods) Pack(msg tp.Message) error {
	if msg.Mtype() == tp.TypeReply {
		m.lines.add("wire %q", msg.ServiceMethod())
	}
	return m.Proto.Pack(msg)
}

func TestServiceMethodOfAReply(t *testing.T) {
	lines, wire := new(journal), new(journal)
	e := &ends{srvPlugin: []tp.Plugin{replying{lines}}, routes: func(p tp.Peer) {
		tp.HandleCall(p, "/call", func(c tp.CallCtx, arg *string) (any, error) {
			lines.add("handler %s", c.Output().ServiceMethod())
			if *arg == "bad" {
				return func() {}, nil
			}
			return arg, nil
		})
	}}
	e.both = func(cfg *tp.PeerConfig) {
		if cfg == &e.srvCfg {
			cfg.Protocol = func(rw tp.IOWithReadBuffer) tp.Proto { return methods{testwire.New(rw), wire} }
		}
	}
	e.dial(t)
	for _, test := range []struct {
		method, arg string
		code        int32
		want, wire  []string
	}{
		{"/call", "x", 0, []string{"handler /call", "before /call", "after /call"}, []string{`wire ""`}},
		{"/CALL?a=b", "x", 0, []string{"handler /call?a=b", "before /call?a=b", "after /call?a=b"}, []string{`wire ""`}},
		{"/nobody", "x", 404, []string{"before /nobody", "after /nobody"}, []string{`wire ""`}},
		{"/call", "bad", 500, []string{"handler /call", "before /call", "after /call"}, []string{`wire ""`}},
	} {
		wantRerror(t, test.method, e.call(t, test.method, test.arg, nil), test.code)
		wantLines(t, test.method, linesUntil(t, lines, test.want[len(test.want)-1]), test.want...)
		wantLines(t, test.method+" on the wire", wire.take(), test.wire...)
	}
}
