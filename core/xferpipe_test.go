package tp_test

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// pipes takes down which pipes messages have that arrive.
type pipes struct {
	mu   sync.Mutex
	seen map[string][]string
}

func (p *pipes) plugin() *tp.PluginImpl {
	note := func(moment string) func(tp.ReadCtx) *tp.Rerror {
		return func(ctx tp.ReadCtx) *tp.Rerror {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.seen[moment] = append(p.seen[moment], strings.Join(ctx.Input().XferPipe().Names(), " "))
			return nil
		}
	}
	return &tp.PluginImpl{PluginName: "pipes", OnPostReadCallHeader: note("CALL"), OnPostReadPushHeader: note("PUSH"), OnPostReadReplyHeader: note("REPLY")}
}

// want compares the pipe of the one message of a kind that has come since the last want.
func (p *pipes) want(t *testing.T, kind, want string) {
	t.Helper()
	var got []string
	eventually(t, "a "+kind, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		got = p.seen[kind]
		return len(got) > 0
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[kind] = nil
	if len(got) != 1 || got[0] != want {
		t.Errorf("%s with the pipes %q; want one, with %q", kind, got, want)
	}
}

// opaque is a body whose size its codec does not know.
type opaque struct{ Text string }

func TestDefaultXferPipe(t *testing.T) {
	for _, proto := range []struct {
		name string
		pf   tp.ProtoFunc
	}{{"frames appended", testwire.New}, {"frames packed", testwire.NewPlain}} {
		t.Run(proto.name, func(t *testing.T) {
			seen := &pipes{seen: make(map[string][]string)}
			e := &ends{
				both: func(c *tp.PeerConfig) {
					c.Protocol, c.DefaultXferPipe, c.XferPipeMin = proto.pf, []string{"testxor", "testsum"}, 100
				},
				srvPlugin: []tp.Plugin{seen.plugin()}, cliPlugin: []tp.Plugin{seen.plugin()},
				routes: func(p tp.Peer) {
					tp.HandleCall(p, "/bytes", func(_ tp.CallCtx, n *int) ([]byte, error) { return make([]byte, *n), nil })
					tp.HandleCall(p, "/text", func(_ tp.CallCtx, n *int) (opaque, error) { return opaque{strings.Repeat("x", *n)}, nil })
					tp.HandleCall(p, "/set", func(ctx tp.CallCtx, n *int) (string, error) {
						ctx.AddXferPipe(testwire.Hex)
						return strings.Repeat("x", *n), nil
					})
					tp.HandleCall(p, "/len", func(_ tp.CallCtx, b *[]byte) (int, error) { return len(*b), nil })
					tp.HandleCall(p, "/fail", func(_ tp.CallCtx, n *int) (string, error) {
						return "", tp.NewRerror(1001, strings.Repeat("x", *n), "").Err()
					})
					tp.HandlePush(p, "/push", func(tp.PushCtx, *opaque) error { return nil })
				},
			}
			e.dial(t)
			const both = "testxor testsum"

			for _, test := range []struct {
				method string
				n      int
				want   string
			}{
				{"/bytes", 99, ""}, {"/bytes", 100, both}, {"/bytes", 100_000, both},
				{"/text", 80, ""}, {"/text", 100, both}, {"/text", 100_000, both},
				{"/set", 10, "testhex"}, {"/set", 1000, "testhex"},
			} {
				var got any
				switch test.method {
				case "/bytes":
					got = new([]byte)
				case "/text":
					got = new(opaque)
				default:
					got = new(string)
				}
				wantRerror(t, test.method, e.call(t, test.method, test.n, got), 0)
				seen.want(t, "CALL", "")
				seen.want(t, "REPLY", test.want)
			}
			wantRerror(t, "an error", e.call(t, "/fail", 1000, nil), 1001)
			seen.want(t, "CALL", "")
			seen.want(t, "REPLY", "")

			for _, size := range []int{99, 100, 1 << 20} {
				want := ""
				if size >= 100 {
					want = both
				}
				var n int
				if r := e.call(t, "/len", make([]byte, size), &n); r != nil || n != size {
					t.Errorf("%d bytes are %d, %v", size, n, r)
				}
				seen.want(t, "CALL", want)
				seen.want(t, "REPLY", want) // a reply has the pipe of its call
			}
			e.call(t, "/len", make([]byte, 1000), nil, tp.WithXferPipe(testwire.Hex))
			seen.want(t, "CALL", "testhex")
			seen.want(t, "REPLY", "testhex")

			e.sess.Push("/push", opaque{"x"})
			seen.want(t, "PUSH", "")
			e.sess.Push("/push", opaque{strings.Repeat("x", 100)})
			seen.want(t, "PUSH", both)
			receive(t, "the end of an AsyncCall", e.sess.AsyncCall("/text", 1, new(opaque), nil).Done())
			seen.want(t, "CALL", "")
			seen.want(t, "REPLY", "")
			wantRerror(t, "a body that cannot be encoded", e.call(t, "/text", stubborn{}, nil), tp.CodeWriteFailed)
			wantRerror(t, "one that panics", e.call(t, "/text", stubborn{true}, nil), tp.CodeWriteFailed)
			wantRerror(t, "afterwards", e.call(t, "/text", 1, nil), 0)
		})
	}
}

// What waits for a redial has been encoded already, and gets the pipe all the same.
func TestDefaultXferPipeAfterRedial(t *testing.T) {
	seen := &pipes{seen: make(map[string][]string)}
	e := &ends{
		both:      func(c *tp.PeerConfig) { c.DefaultXferPipe, c.XferPipeMin = []string{"testxor"}, 10 },
		cliCfg:    tp.PeerConfig{RedialTimes: -1, RedialInterval: 10 * time.Millisecond},
		srvPlugin: []tp.Plugin{seen.plugin()},
		routes:    func(p tp.Peer) { tp.HandleCall(p, "/echo", echo) },
	}
	dials, goOn := make(chan bool, 2), make(chan bool, 2)
	e.cliPlugin = []tp.Plugin{&tp.PluginImpl{PluginName: "waits", OnPreDial: func(net.Addr, string) *tp.Rerror {
		dials <- true
		<-goOn
		return nil
	}}}
	goOn <- true
	e.dial(t)
	receive(t, "the first dial", dials)
	e.sess.(tp.Breaker).Break(nil)
	receive(t, "the redial", dials)
	var got string
	cmd := e.sess.AsyncCall("/echo", strings.Repeat("x", 10), &got, nil)
	eventually(t, "the call waits", func() bool { n, _ := e.sess.Queued(); return n == 1 })
	goOn <- true
	receive(t, "the call's end", cmd.Done())
	wantRerror(t, "the call", cmd.Rerror(), 0)
	seen.want(t, "CALL", "testxor")
}

func TestDefaultXferPipeIsChecked(t *testing.T) {
	p := tp.NewPeer(tp.PeerConfig{Network: "ends", Protocol: testwire.New, DefaultBodyCodec: "testjson", DefaultXferPipe: []string{"testxor", "gzap"}, Logger: newQuiet(nil)})
	defer p.Close()
	_, r := p.Dial("nobody")
	wantRerror(t, "Dial", r, tp.CodeDialFailed, "default_xfer_pipe", "gzap")
}
