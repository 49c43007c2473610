package tp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// goid returns the id of the calling goroutine.
func goid() string {
	buf := make([]byte, 64)
	return strings.Fields(string(buf[:runtime.Stack(buf, false)]))[1]
}

// everyHook records each moment of a message and the goroutine it runs on.
type everyHook struct{ at func(moment string) }

func (*everyHook) Name() string { return "every" }

func (h *everyHook) PreWriteCall(WriteCtx) *Rerror       { h.at("PreWriteCall"); return nil }
func (h *everyHook) PostWriteCall(WriteCtx) *Rerror      { h.at("PostWriteCall"); return nil }
func (h *everyHook) PostReadCallHeader(ReadCtx) *Rerror  { h.at("PostReadCallHeader"); return nil }
func (h *everyHook) PreReadCallBody(ReadCtx) *Rerror     { h.at("PreReadCallBody"); return nil }
func (h *everyHook) PostReadCallBody(ReadCtx) *Rerror    { h.at("PostReadCallBody"); return nil }
func (h *everyHook) PreWriteReply(WriteCtx) *Rerror      { h.at("PreWriteReply"); return nil }
func (h *everyHook) PostWriteReply(WriteCtx) *Rerror     { h.at("PostWriteReply"); return nil }
func (h *everyHook) PostReadReplyHeader(ReadCtx) *Rerror { h.at("PostReadReplyHeader"); return nil }
func (h *everyHook) PreReadReplyBody(ReadCtx) *Rerror    { h.at("PreReadReplyBody"); return nil }
func (h *everyHook) PostReadReplyBody(ReadCtx) *Rerror   { h.at("PostReadReplyBody"); return nil }
func (h *everyHook) PreWritePush(WriteCtx) *Rerror       { h.at("PreWritePush"); return nil }
func (h *everyHook) PostWritePush(WriteCtx) *Rerror      { h.at("PostWritePush"); return nil }
func (h *everyHook) PostReadPushHeader(ReadCtx) *Rerror  { h.at("PostReadPushHeader"); return nil }
func (h *everyHook) PreReadPushBody(ReadCtx) *Rerror     { h.at("PreReadPushBody"); return nil }
func (h *everyHook) PostReadPushBody(ReadCtx) *Rerror    { h.at("PostReadPushBody"); return nil }

func TestRuleHooksAndGoroutines(t *testing.T) {
	for _, test := range []struct {
		name   string
		launch func(s *session)
		want   []string // moments and the goroutines they run on
	}{
		{"call", func(s *session) { wantReply(t, s.Call("/where", "", new(string)), "") }, []string{
			"client PreWriteCall caller", "client PostWriteCall caller",
			"server PostReadCallHeader reader", "server PreReadCallBody reader",
			"server PostReadCallBody handler", "server handler handler",
			"server PreWriteReply handler", "server PostWriteReply handler",
			"client PostReadReplyHeader client reader", "client PreReadReplyBody client reader",
			"client PostReadReplyBody caller"}},
		{"async call", func(s *session) { s.AsyncCall("/where", "", new(string), nil).Reply() }, []string{
			"client PreWriteCall caller", "client PostWriteCall caller",
			"server PostReadCallHeader reader", "server PreReadCallBody reader",
			"server PostReadCallBody handler", "server handler handler",
			"server PreWriteReply handler", "server PostWriteReply handler",
			"client PostReadReplyHeader client reader", "client PreReadReplyBody client reader",
			"client PostReadReplyBody its own"}},
		{"push", func(s *session) { s.Push("/where", "") }, []string{
			"client PreWritePush caller", "client PostWritePush caller",
			"server PostReadPushHeader reader", "server PreReadPushBody reader",
			"server PostReadPushBody handler", "server handler handler"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				var mu sync.Mutex
				ran := map[string]string{} // moment to goroutine
				note := func(side string) func(string) {
					return func(moment string) {
						mu.Lock()
						defer mu.Unlock()
						if _, twice := ran[side+" "+moment]; twice {
							t.Errorf("%s ran twice", moment)
						}
						ran[side+" "+moment] = goid()
					}
				}
				w.server.PluginContainer().AppendLeft(&everyHook{note("server")})
				w.client.PluginContainer().AppendLeft(&everyHook{note("client")})
				HandleCall(w.server, "/where", func(CallCtx, *string) (string, error) { note("server")("handler"); return "", nil })
				HandlePush(w.server, "/where", func(PushCtx, *string) error { note("server")("handler"); return nil })
				c, _ := w.pair()
				test.launch(c)
				synctest.Wait()
				names := map[string]string{"caller": goid(), "reader": ran["server PreReadCallBody"] + ran["server PreReadPushBody"],
					"handler": ran["server handler"], "client reader": ran["client PreReadReplyBody"]}
				all := map[string]bool{}
				for _, id := range names {
					all[id] = true
				}
				if len(ran) != len(test.want) || len(all) != len(names) {
					t.Errorf("ran %v; want each of %q, and %d goroutines", ran, test.want, len(names))
				}
				for _, line := range test.want {
					f := strings.SplitN(line, " ", 3)
					id, ok := ran[f[0]+" "+f[1]]
					if !ok || f[2] != "its own" && id != names[f[2]] || f[2] == "its own" && all[id] {
						t.Errorf("%s %s ran on goroutine %q; want that of the %s of %v", f[0], f[1], id, f[2], names)
					}
				}
			})
		})
	}
}

func TestRuleOrder(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.WriteBound = 4096 }, func(t *testing.T, w *world) {
		c, _ := w.pair()
		atOnce, most := 0, 0
		HandleCall(w.server, "/queue", func(_ CallCtx, arg *string) (string, error) {
			atOnce++ // most, and the race detector, show whether two run at once
			most = max(most, atOnce)
			defer func() { atOnce-- }()
			w.log.add("%s", *arg)
			time.Sleep(time.Millisecond)
			switch (len(w.log.lines)) % 10 {
			case 3:
				panic("on purpose")
			case 7:
				runtime.Goexit()
			}
			return *arg, nil
		}, Ordered())
		var want []string
		done := make(chan CallCmd, 200)
		for i := range 200 {
			arg := fmt.Sprint(i, strings.Repeat("x", i*i%500))
			want = append(want, arg)
			c.AsyncCall("/queue", arg, new(string), done)
		}
		for i := range 200 {
			r := (<-done).Rerror()
			switch (i + 1) % 10 { // the replies come in order too
			case 3, 7:
				wantRerror(t, r, CodeInternalServerError)
			default:
				wantRerror(t, r, 0)
			}
		}
		w.log.want(t, want...)
		if most != 1 {
			t.Errorf("%d ran at once; want one", most)
		}
		want = nil
		for i := range 500 {
			want = append(want, fmt.Sprint("ordered ", i))
			if r := c.Push("/ordered", fmt.Sprint(i)); r != nil {
				t.Fatal(r)
			}
		}
		synctest.Wait()
		w.log.want(t, want...)
	})
}

// lines counts log records by level.
type lines struct {
	slog.Handler
	mu    sync.Mutex
	warns []string
}

func (*lines) Enabled(context.Context, slog.Level) bool { return true }
func (h *lines) Handle(_ context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Level == slog.LevelWarn && strings.Contains(r.Message, "dropped") {
		h.warns = append(h.warns, r.Message)
	}
	return nil
}

func TestRuleCapsMaxHandlers(t *testing.T) {
	log := &lines{Handler: slog.DiscardHandler}
	inWorld(t, func(cfg *PeerConfig) { cfg.MaxHandlers, cfg.Logger = 3, slog.New(log) }, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server)
		for i := range 3 {
			end.send(TypeCall, int32(i+1), "/stuck", "x")
		}
		end.send(TypeCall, 4, "/echo", "x", WithBodyCodec(99)) // its body cannot be decoded, and is not
		m := end.receive()
		if m.Seq() != 4 {
			t.Errorf("received seq %d; want the refusal of 4", m.Seq())
		}
		wantRerror(t, m.Rerror(), CodeBusy, "Busy")
		pending := s.AsyncCall("/unanswered", "x", new(string), make(chan CallCmd, 1))
		end.receive() // while it is pending, the session must read
		for i := range 1000 {
			end.send(TypePush, int32(100+i), "/note", "x")
		}
		log.mu.Lock()
		if n := len(log.warns); n != 1 {
			t.Errorf("%d warnings for 1000 dropped PUSHes; want one: %q", n, log.warns[:min(n, 3)])
		}
		log.warns = nil
		log.mu.Unlock()
		pass(time.Minute)
		end.send(TypePush, 2000, "/note", "x")
		log.mu.Lock()
		if n := len(log.warns); n != 1 || !strings.Contains(strings.Join(log.warns, ""), "999") {
			t.Errorf("warnings %q; want one with the number of those before", log.warns)
		}
		log.mu.Unlock()
		w.log.want(t, "stuck x", "stuck x", "stuck x")
		end.send(TypeReply, pending.(*callCmd).seq, "", "y")
		<-pending.Done()
		log.warns = nil
		var want []string
		for i := range 100 {
			want = append(want, fmt.Sprint("ordered ", i))
			end.send(TypePush, int32(3000+i), "/ordered", fmt.Sprint(i)) // they wait, and none is lost
		}
		synctest.Wait()
		if n := len(log.warns); n > 0 {
			t.Errorf("warnings %q; want none for PUSHes that can wait", log.warns)
		}
		w.release()
		for range 3 {
			wantRerror(t, end.receive().Rerror(), 0)
		}
		synctest.Wait()
		w.log.wantAnyOrder(t, append(want, "done x: <nil>", "done x: <nil>", "done x: <nil>")...)
		end.send(TypeCall, 5, "/echo", "again")
		wantRerror(t, end.receive().Rerror(), 0)
		wantReady(t, s)
	})
}

func TestRuleCapsFramesBeforeAccept(t *testing.T) {
	for _, test := range []struct {
		size int
		ok   bool
	}{{60_000, true}, {70_000, false}} {
		t.Run(fmt.Sprint(test.size), func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				w.server.PluginContainer().AppendLeft(&connHook{"s", &w.log, func(_ string, s PreSession) *Rerror {
					_, r := s.Receive(func(Header) any { return new(string) })
					if (r == nil) != test.ok {
						t.Errorf("Receive of %d bytes = %s", test.size, r)
					}
					return r
				}})
				a, b := memnet.Pipe(memnet.Buffer(1 << 20))
				end := newRawEnd(t, b)
				end.send(TypePush, 1, "/hello", strings.Repeat("x", test.size))
				s := w.server.ServeConn(a)
				if (s != nil) != test.ok {
					t.Errorf("ServeConn = %v", s)
				}
				if s != nil { // from now on the usual limit holds
					end.send(TypePush, 2, "/ordered", strings.Repeat("x", 100_000))
					if n := w.log.len(); n != 2 {
						t.Errorf("%d lines; want the hook's and the handler's", n)
					}
				}
			})
		})
	}
}

func TestRuleCapsMaxPipe(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server)
		for n, seq := range map[int]int32{8: 1, 9: 2} {
			ids := make([]byte, n)
			for i := range ids {
				ids[i] = testwire.XOR
			}
			end.send(TypePush, seq, "/note", fmt.Sprint(n), WithXferPipe(ids...))
		}
		w.log.want(t, "note 8")
		wantReady(t, s)
	})
}

func TestRuleCapsReadMemory(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.ReadMemory, cfg.MessageSizeLimit = 8<<20, 100<<20 }, func(t *testing.T, w *world) {
		good, _ := w.pair()
		var ends []*session
		for range 1000 {
			s, end := w.serveRaw(w.server, memnet.Buffer(1<<20))
			ends = append(ends, s)
			end.conn.Write(append([]byte{4, 0, 0, 0}, make([]byte, 300<<10)...)) // of 64 MiB
			synctest.Wait()
			if used := w.server.env.memory.Used(); used > 8<<20 {
				t.Fatalf("%d bytes are used; want at most 8 MiB", used)
			}
		}
		live := 0
		for _, s := range ends {
			if s.Health() {
				live++
				continue
			}
			wantState(t, s, closed)
			wantReason(t, s, SideLocal, "too much memory")
		}
		if live < 5 || live > 30 {
			t.Errorf("%d of 1000 sessions live; want about as many as fit", live)
		}
		wantReply(t, good.Call("/echo", "fine", new(string)), "fine")
		for _, s := range ends {
			s.Drain(canceled())
		}
		synctest.Wait()
		if used := w.server.env.memory.Used(); used != 0 {
			t.Errorf("%d bytes are still counted; want none", used)
		}
	})
}

func TestRuleSizeLimit(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.MessageSizeLimit = 1000 }, func(t *testing.T, w *world) {
		c, s := w.pair()
		big := strings.Repeat("x", 1000)
		wantRerror(t, c.Call("/echo", big, new(string)).Rerror(), CodeWriteFailed, "1000")
		_, r := c.AsyncCall("/echo", big, new(string), nil).Reply()
		wantRerror(t, r, CodeWriteFailed, "1000")
		wantRerror(t, c.Push("/note", big), CodeWriteFailed, "1000")
		wantReply(t, c.Call("/echo", "small", new(string)), "small")
		wantReady(t, c)
		wantReady(t, s)
		HandleCall(w.server, "/big", func(CallCtx, *string) (string, error) { return big, nil })
		wantRerror(t, c.Call("/big", "", new(string)).Rerror(), CodeInternalServerError, "1000")
		wantReady(t, c)

		x, end := w.serveRaw(w.server)
		end.send(TypeCall, 1, "/echo", big)
		wantState(t, x, closed)
		wantReason(t, x, SideLocal, "1000")
		if _, err := end.read(); err != io.EOF {
			t.Errorf("the peer reads %v; want EOF", err)
		}
	})
}
