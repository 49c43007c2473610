package tp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/xfer"
)

// User code that ends its goroutine, at each place where it can.

// exitDec and exitEnc are an argument and a reply whose codec does so.
type (
	exitDec struct{}
	exitEnc struct{}
)

func (*exitDec) UnmarshalJSON([]byte) error  { runtime.Goexit(); return nil }
func (exitEnc) MarshalJSON() ([]byte, error) { runtime.Goexit(); return nil, nil }

// exiting is a plugin all of whose hooks end their goroutine at the place that is set.
type exiting struct {
	PluginImpl
	place     atomic.Value // string
	exchanges atomic.Int32 // a plugin behind it counts
}

func newExiting() *exiting {
	x := new(exiting)
	x.place.Store("")
	read := func(moment string) func(ReadCtx) *Rerror {
		return func(ReadCtx) *Rerror { x.at(moment); return nil }
	}
	write := func(moment string) func(WriteCtx) *Rerror {
		return func(WriteCtx) *Rerror { x.at(moment); return nil }
	}
	pre := func(moment string) func(PreSession) *Rerror {
		return func(PreSession) *Rerror { x.at(moment); return nil }
	}
	x.PluginImpl = PluginImpl{
		PluginName:       "exiting",
		OnPostListen:     func(net.Addr) error { x.at("PostListen"); return nil },
		OnPreDial:        func(net.Addr, string) *Rerror { x.at("PreDial"); return nil },
		OnPostDial:       pre("PostDial"),
		OnPostAccept:     pre("PostAccept"),
		OnPostDisconnect: func(BaseSession) *Rerror { x.at("PostDisconnect"); return nil },
		OnPreReadHeader:  func(PreCtx) error { x.at("PreReadHeader"); return nil },
		OnPreWriteCall:   write("PreWriteCall"), OnPostWriteCall: write("PostWriteCall"),
		OnPreWritePush: write("PreWritePush"), OnPostWritePush: write("PostWritePush"),
		OnPreWriteReply: write("PreWriteReply"), OnPostWriteReply: write("PostWriteReply"),
		OnPostReadCallHeader: read("PostReadCallHeader"), OnPreReadCallBody: read("PreReadCallBody"), OnPostReadCallBody: read("PostReadCallBody"),
		OnPostReadPushHeader: read("PostReadPushHeader"), OnPreReadPushBody: read("PreReadPushBody"), OnPostReadPushBody: read("PostReadPushBody"),
		OnPostReadReplyHeader: read("PostReadReplyHeader"), OnPreReadReplyBody: read("PreReadReplyBody"), OnPostReadReplyBody: read("PostReadReplyBody"),
	}
	return x
}

func (x *exiting) at(place string) {
	if x.place.Load() == place {
		runtime.Goexit()
	}
}

func (x *exiting) PostExchange(PreCtx, *Rerror) { x.at("PostExchange") }

// counting is the plugin behind it.
type counting struct{ x *exiting }

func (counting) Name() string                   { return "counting" }
func (c counting) PostExchange(PreCtx, *Rerror) { c.x.exchanges.Add(1) }
func (x *exiting) plugins() []Plugin            { return []Plugin{x, counting{x}} }
func (x *exiting) setPlace(mine bool, at string) {
	if !mine {
		at = "" // nowhere
	}
	x.place.Store(at)
}

// gone stands for a code: the call has ended with its caller's goroutine.
const gone = -100

func TestExits(t *testing.T) {
	const tries, maxHandlers = 8, 3
	for _, test := range []struct {
		side, place, method string
		arg                 any
		sync, async         []int32 // codes that a call may end with; none: it is a push
	}{
		{"server", "handler", "/exit", "x", []int32{500}, []int32{500}},
		{"server", "MarshalJSON", "/enc", "x", []int32{500}, []int32{500}},
		{"server", "UnmarshalJSON", "/dec", "x", []int32{500}, []int32{500}},
		{"server", "UnmarshalJSON of a large argument", "/dec", string(make([]byte, 100_000)), []int32{500}, []int32{500}},
		{"server", "PreReadHeader", "/echo", "x", []int32{0, 500}, []int32{0, 500}},
		{"server", "PostReadCallHeader", "/echo", "x", []int32{500}, []int32{500}},
		{"server", "PreReadCallBody", "/echo", "x", []int32{500}, []int32{500}},
		{"server", "PostReadCallBody", "/echo", "x", []int32{500}, []int32{500}},
		{"server", "PreWriteReply", "/echo", "x", []int32{500}, []int32{500}},
		{"server", "PreWriteReply of a refusal", "/nowhere", "x", []int32{500}, []int32{500}},
		{"server", "PostWriteReply", "/echo", "x", []int32{0}, []int32{0}},
		{"server", "PostExchange", "/echo", "x", []int32{0}, []int32{0}},
		{"server", "PostExchange of a refusal", "/nowhere", "x", []int32{404}, []int32{404}},
		{"client", "MarshalJSON", "/echo", exitEnc{}, []int32{gone}, []int32{500}},
		{"client", "UnmarshalJSON", "/echo", "x", []int32{500}, []int32{500}},
		{"client", "UnmarshalJSON of a large result", "/large", "x", []int32{gone}, []int32{500}},
		{"client", "PreReadHeader", "/echo", "x", []int32{0, 500}, []int32{0, 500}},
		{"client", "PreWriteCall", "/echo", "x", []int32{gone}, []int32{500}},
		{"client", "PostWriteCall", "/echo", "x", []int32{gone}, []int32{0, 500}},
		{"client", "PostReadReplyHeader", "/echo", "x", []int32{500}, []int32{500}},
		{"client", "PreReadReplyBody", "/echo", "x", []int32{500}, []int32{500}},
		{"client", "PostReadReplyBody", "/echo", "x", []int32{gone}, []int32{500}},
		{"client", "PostExchange", "/echo", "x", []int32{gone}, []int32{0}},
		{"server", "handler", "/exitnote", "x", nil, nil},
		{"server", "UnmarshalJSON", "/decnote", "x", nil, nil},
		{"server", "PreReadHeader", "/note", "x", nil, nil},
		{"server", "PostReadPushHeader", "/note", "x", nil, nil},
		{"server", "PreReadPushBody", "/note", "x", nil, nil},
		{"server", "PostReadPushBody", "/note", "x", nil, nil},
		{"server", "PostExchange", "/note", "x", nil, nil},
		{"client", "MarshalJSON", "/note", exitEnc{}, nil, nil},
		{"client", "PreWritePush", "/note", "x", nil, nil},
		{"client", "PostWritePush", "/note", "x", nil, nil},
		{"client", "PostExchange", "/note", "x", nil, nil},
	} {
		for _, mode := range []string{"sync", "async", "inline"} {
			want := test.sync
			if mode == "async" {
				want = test.async
			}
			t.Run(fmt.Sprint(test.side, "/", test.place, test.method, "/", mode), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					json := func(cfg *PeerConfig) { cfg.DefaultBodyCodec, cfg.MaxHandlers = "testjson", maxHandlers }
					sx, cx := newExiting(), newExiting()
					if test.place == "PostExchange of a refusal" {
						sx.OnPreWriteReply, sx.OnPostWriteReply = nil, nil
					}
					w.server, w.client = w.peer(json, sx.plugins()...), w.peer(json, cx.plugins()...)
					w.addr = w.listen(w.server)
					exitRoutes(w.server)
					c, s := w.pair()
					if mode == "inline" {
						allow(w.server, "/exit", "/enc", "/dec", "/echo", "/exitnote", "/decnote", "/note")
					}
					at, _, _ := strings.Cut(test.place, " ")
					sx.setPlace(test.side == "server", at)
					cx.setPlace(test.side == "client", at)
					for range tries {
						if want == nil {
							begin(func() *Rerror { return c.Push(test.method, test.arg) })
							continue
						}
						var result any = new(string)
						if test.side == "client" && at == "UnmarshalJSON" {
							result = new(exitDec)
						}
						if got := tryCall(c, mode == "async", test.method, test.arg, result); !slices.Contains(want, got) {
							t.Fatalf("a call ends with %d; want one of %d (%d: with its goroutine, -1: not at all)", got, want, gone)
						}
					}
					synctest.Wait()
					sx.setPlace(false, "")
					cx.setPlace(false, "")
					if n, m := s.work.running(), c.pending.Len(); n != 0 || m != 0 {
						t.Errorf("%d handlers run, %d calls are pending; want none", n, m)
					}
					if n := cx.exchanges.Load(); n != tries {
						t.Errorf("PostExchange ran %d times at the client; want %d", n, tries)
					}
					if n := sx.exchanges.Load(); test.side == "server" && n != tries {
						t.Errorf("PostExchange ran %d times at the server; want %d", n, tries)
					}
					wantReply(t, c.Call("/echo", "well", new(string)), "well")
					for _, p := range []*peer{w.client, w.server} {
						begun := time.Now()
						if err := p.Close(); err != nil || time.Since(begun) > lingerTime {
							t.Errorf("Close = %v after %v; want nil soon", err, time.Since(begun))
						}
					}
				})
			})
		}
	}
}

func exitRoutes(p *peer) {
	HandleCall(p, "/exit", func(CallCtx, *string) (string, error) { runtime.Goexit(); return "", nil })
	HandleCall(p, "/enc", func(CallCtx, *string) (exitEnc, error) { return exitEnc{}, nil })
	HandleCall(p, "/dec", func(CallCtx, *exitDec) (string, error) { return "", nil })
	HandleCall(p, "/large", func(CallCtx, *string) (string, error) { return string(make([]byte, 100_000)), nil })
	HandlePush(p, "/exitnote", func(PushCtx, *string) error { runtime.Goexit(); return nil })
	HandlePush(p, "/decnote", func(PushCtx, *exitDec) error { return nil })
}

// tryCall returns the code that a call ends with at once, gone if its goroutine ends with
// it, -1 if it does not end.
func tryCall(c *session, async bool, method string, arg, result any) int32 {
	cmds, over := make(chan CallCmd, 1), make(chan struct{})
	go func() {
		defer close(over)
		if async {
			c.AsyncCall(method, arg, result, cmds)
		} else {
			cmds <- c.Call(method, arg, result)
		}
	}()
	synctest.Wait()
	select {
	case cmd := <-cmds:
		if r := cmd.Rerror(); r != nil {
			return r.Code
		}
		return 0
	default:
	}
	if !async && isClosed(over) {
		return gone
	}
	return -1
}

// A hook that always ends the goroutine that reads is not asked for ever: twice a message.
func TestExitInPreReadHeaderIsNoLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		asked := 0
		w.open(nil, &PluginImpl{PluginName: "ends", OnPreReadHeader: func(PreCtx) error { asked++; runtime.Goexit(); return nil }})
		c, s := w.pair()
		pass(time.Minute)
		for range 10 {
			wantRerror(t, c.Call("/echo", "x", new(string)).Rerror(), CodeInternalServerError, "runtime.Goexit")
		}
		synctest.Wait()
		if asked < 10 || asked > 22 {
			t.Errorf("the hook was asked %d times for 10 messages; want at most twice each", asked)
		}
		wantReady(t, s)
	})
}

// A hook of a connection does not take the peer's goroutine with it.
func TestExitInAConnectionHook(t *testing.T) {
	for _, test := range []struct {
		side, place string
		code        int32 // of Dial
	}{
		{"client", "PreDial", CodeInternalServerError},
		{"client", "PostDial", CodeDialFailed},
		{"server", "PostAccept", 0}, // the client sees the connection's end
		{"client", "PostDisconnect", 0},
		{"server", "PostDisconnect", 0},
	} {
		t.Run(test.side+"/"+test.place, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				sx, cx := newExiting(), newExiting()
				w.server, w.client = w.peer(nil, sx.plugins()...), w.peer(nil, cx.plugins()...)
				w.addr = w.listen(w.server)
				sx.setPlace(test.side == "server", test.place)
				cx.setPlace(test.side == "client", test.place)
				var r *Rerror
				var s Session
				dialled := begin(func() bool { s, r = w.client.Dial(w.addr); return true })
				ended(t, dialled)
				wantRerror(t, r, test.code)
				if s != nil {
					s.Close()
					pass(2 * lingerTime)
					if !isClosed(s.(*session).done.Done()) {
						t.Error("the session has not ended")
					}
				}
				for _, p := range []*peer{w.client, w.server} {
					begun := time.Now()
					if err := p.Close(); err != nil || time.Since(begun) > lingerTime {
						t.Errorf("Close = %v after %v; want nil soon", err, time.Since(begun))
					}
				}
			})
		})
	}
}

func TestExitInPostListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		x := newExiting()
		x.setPlace(true, "PostListen")
		p := w.peer(nil, x.plugins()...)
		begin(func() error { return p.Listen() })
		begun := time.Now()
		if err := p.Close(); err != nil || time.Since(begun) > 0 {
			t.Errorf("Close = %v after %v; want nil at once", err, time.Since(begun))
		}
	})
}

// A session whose hook ends the goroutine that redials goes on with that.
func TestExitWhileRedialing(t *testing.T) {
	for _, place := range []string{"PreDial", "PostDial"} {
		t.Run(place, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				x := newExiting()
				w.server, w.client = w.peer(nil), w.peer(redials(-1), x.plugins()...)
				w.addr = w.listen(w.server)
				c := w.dial()
				x.setPlace(true, place)
				mem(c).Cut()
				pass(time.Second)
				x.setPlace(false, "")
				pass(time.Minute)
				wantReady(t, c)
				wantReply(t, c.Call("/echo", "x", new(string)), "x")
			})
		})
	}
}

// If the network itself does so, the session ends with that.
func TestExitOfANetworkThatRedials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var exits atomic.Bool
		name := w.name + "-exit"
		RegisterNetwork(Network{Name: name, Dial: func(ctx context.Context, d DialConfig) (net.Conn, error) {
			if exits.Load() {
				runtime.Goexit()
			}
			return w.net.Dial(ctx, d.Addr)
		}})
		w.server = w.peer(nil)
		w.client = w.peer(func(cfg *PeerConfig) { cfg.Network, cfg.RedialTimes = name, -1 })
		w.addr = w.listen(w.server)
		c := w.dial()
		exits.Store(true)
		mem(c).Cut()
		synctest.Wait()
		waits := call(c, "/echo", "x")
		pass(time.Second)
		wantRerror(t, ended(t, waits).v.Rerror(), CodeConnClosed, "runtime.Goexit")
		wantReason(t, c, SideLocal, "runtime.Goexit")
		if !isClosed(c.done.Done()) {
			t.Error("the session has not ended")
		}
		begin(func() *Rerror { _, r := w.client.Dial(w.addr); return r })
		begun := time.Now()
		if err := w.client.Close(); err != nil || time.Since(begun) > 0 {
			t.Errorf("Close = %v after %v; want nil at once", err, time.Since(begun))
		}
	})
}

// exitFilter ends its goroutine when it packs or unpacks, whichever is set.
type exitFilter struct{}

var exitPacking, exitUnpacking atomic.Bool

func (exitFilter) ID() byte     { return 202 }
func (exitFilter) Name() string { return "testexit" }

func (exitFilter) OnPack(b []byte) ([]byte, error) {
	if exitPacking.Load() {
		runtime.Goexit()
	}
	return slices.Clone(b), nil
}

func (exitFilter) OnUnpack(b []byte) ([]byte, error) {
	if exitUnpacking.Load() {
		runtime.Goexit()
	}
	return b, nil
}

var registerExit = sync.OnceFunc(func() { xfer.Register(exitFilter{}) })

// Where a filter ends the reader's goroutine, nobody knows what was read.
func TestExitInAFilter(t *testing.T) {
	registerExit()
	defer exitUnpacking.Store(false)
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, s := w.pair()
		exitUnpacking.Store(true)
		ch := call(c, "/echo", "x", WithXferPipe(202))
		wantRerror(t, ended(t, ch).v.Rerror(), CodeConnClosed)
		pass(2 * lingerTime)
		wantState(t, s, closed)
		wantReason(t, s, SideLocal, "runtime.Goexit")
		exitUnpacking.Store(false)
		c, _ = w.pair()
		wantReply(t, c.Call("/echo", "x", new(string), WithXferPipe(202)), "x")
	})
}

func TestExitInAFilterOfAReply(t *testing.T) {
	registerExit()
	defer exitPacking.Store(false)
	inWorld(t, nil, func(t *testing.T, w *world) {
		HandleCall(w.server, "/filtered", func(c CallCtx, arg *string) (string, error) {
			exitPacking.Store(true)
			c.AddXferPipe(202)
			return *arg, nil
		})
		c, s := w.pair()
		ch := call(c, "/filtered", "x")
		wantRerror(t, ended(t, ch).v.Rerror(), CodeInternalServerError, "runtime.Goexit")
		wantReady(t, s)
	})
}

// An asynchronous call that its deadline ends runs no hook on the sweep's goroutine: it
// would take all deadlines of the peer with it.
func TestExitInPostExchangeOfAnExpiredCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		x := newExiting()
		w.server = w.peer(nil)
		w.client = w.peer(func(cfg *PeerConfig) { cfg.DefaultCallTimeout = time.Second }, x.plugins()...)
		w.addr = w.listen(w.server)
		c := w.dial()
		x.setPlace(true, "PostExchange")
		for range 3 {
			cmds := make(chan CallCmd, 2)
			c.AsyncCall("/stuck", "a", new(string), cmds)
			c.AsyncCall("/stuck", "b", new(string), cmds)
			pass(time.Second + 20*time.Millisecond)
			for range 2 {
				select {
				case cmd := <-cmds:
					wantRerror(t, cmd.Rerror(), CodeHandleTimeout)
				default:
					t.Fatal("a call waits for ever")
				}
			}
		}
		// Nor on that of the session's end, which has all calls to end.
		cmds := make(chan CallCmd, 3)
		for range 3 {
			c.AsyncCall("/stuck", "c", new(string), cmds)
		}
		mem(c).Cut()
		synctest.Wait()
		if len(cmds) != 3 {
			t.Errorf("%d of 3 calls have ended with the connection", len(cmds))
		}
		w.release()
		if err := errors.Join(w.client.Close(), w.server.Close()); err != nil {
			t.Error(err)
		}
	})
}
