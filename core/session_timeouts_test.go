package tp

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/poison"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/xfer"
)

func TestRuleTimeoutsOnTheWire(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server)
		for _, test := range []struct {
			name string
			left time.Duration // 0: no deadline
			want string
		}{
			{"none", 0, ""}, {"whole", 1500 * time.Millisecond, "1500"}, {"rounded up", time.Millisecond + 1, "2"},
			{"at least 1", 1, "1"}, {"long", 1000 * time.Hour, "2147483647"},
		} {
			ctx, cancel := context.WithCancel(t.Context())
			if test.left > 0 {
				ctx, cancel = context.WithTimeout(ctx, test.left)
			}
			begin(func() CallCmd { return s.Call("/x", "y", new(string), WithContext(ctx)) })
			m := end.receive()
			if got := string(m.Meta().Peek(MetaTimeout)); got != test.want {
				t.Errorf("%s: X-Timeout is %q; want %q", test.name, got, test.want)
			}
			cancel()
			synctest.Wait()
		}

		var left []time.Duration // what a handler has; -1: no deadline
		HandleCall(w.server, "/left", func(c CallCtx, _ *string) (string, error) {
			at, ok := c.Context().Deadline()
			left = append(left, -1)
			if ok {
				left[len(left)-1] = time.Until(at).Round(time.Millisecond)
			}
			// The handler's own calls do not inherit the key.
			go c.Session().Call("/onward", "", nil)
			return "", nil
		})
		for _, test := range []struct {
			values []string
			age    time.Duration
			want   time.Duration
		}{
			{nil, 0, -1}, {[]string{"1500"}, 0, 1500 * time.Millisecond}, {[]string{"2147483647"}, 0, 2147483647 * time.Millisecond},
			{[]string{"20", "1500"}, 0, 20 * time.Millisecond},
			{[]string{""}, 0, -1}, {[]string{"0"}, 0, -1}, {[]string{"-1"}, 0, -1}, {[]string{"2147483648"}, 0, -1},
			{[]string{"99999999999999999999"}, 0, -1}, {[]string{"1.5"}, 0, -1}, {[]string{"abc"}, 0, -1}, {[]string{" 5"}, 0, -1},
			{[]string{"abc", "1500"}, 0, -1},
			{nil, time.Second, time.Second}, {[]string{"1500"}, time.Second, time.Second}, {[]string{"15"}, time.Second, 15 * time.Millisecond},
		} {
			s.SetContextAge(test.age)
			left = nil
			end.send(TypeCall, 1, "/left", "", func(m Message) {
				for _, v := range test.values {
					m.Meta().Add(MetaTimeout, v)
				}
			})
			for range 2 {
				if m := end.receive(); m.Mtype() == TypeCall && m.Meta().Len() != 0 {
					t.Errorf("X-Timeout %q was forwarded: %s", test.values, m.Meta())
				}
			}
			if len(left) != 1 || left[0] != test.want {
				t.Errorf("X-Timeout %q, age %v: the handler has %v; want %v", test.values, test.age, left, test.want)
			}
		}
	})
}

func TestRuleTimeoutsNothingLeftBeforeDispatch(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		HandleCall(w.server, "/queue", func(_ CallCtx, arg *string) (string, error) {
			w.log.add("%s", *arg)
			time.Sleep(time.Second)
			return "", nil
		}, Ordered())
		_, end := w.serveRaw(w.server)
		end.send(TypeCall, 1, "/queue", "first", WithSetMeta(MetaTimeout, "500"))
		end.send(TypeCall, 2, "/queue", "second", WithSetMeta(MetaTimeout, "999"))
		pass(999 * time.Millisecond)
		end.silent() // with X-Timeout alone no reply is sent: the caller does not wait any more
		wantRerror(t, end.receive().Rerror(), 0)
		m := end.receive()
		wantRerror(t, m.Rerror(), CodeHandleTimeout)
		if m.Seq() != 2 {
			t.Errorf("408 for seq %d; want 2", m.Seq())
		}
		w.log.want(t, "first")
	})
}

func TestRuleDefaultCallTimeout(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.DefaultCallTimeout = time.Second }, func(t *testing.T, w *world) {
		c, _ := w.pair()
		long, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		plain, given := call(c, "/stuck", "x"), call(c, "/stuck", "y", WithContext(long))
		pass(time.Second + 10*time.Millisecond)
		o := ended(t, plain)
		wantRerror(t, o.v.Rerror(), CodeHandleTimeout)
		if o.v.Output().Meta().Len() != 0 {
			t.Errorf("metadata %s; want none: the caller gave no deadline", o.v.Output().Meta())
		}
		wantWaiting(t, given)
		w.release()
		wantReply(t, ended(t, given).v, "y")

		mem(c).Freeze() // and the network does not hold up the caller either
		stuck := call(c, "/echo", strings.Repeat("x", 100_000))
		pass(time.Second + 10*time.Millisecond)
		wantRerror(t, ended(t, stuck).v.Rerror(), CodeHandleTimeout)
	})
}

func TestRuleRealIP(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.TrustedProxies = []string{"10.0.0.0/8", "fd00::1"} }, func(t *testing.T, w *world) {
		HandleCall(w.server, "/ip", func(c CallCtx, _ *string) (string, error) { return c.IP() + " " + c.RealIP(), nil })
		for _, test := range []struct{ from, claims, want string }{
			{"10.1.2.3:5", "1.1.1.1", "1.1.1.1"}, {"10.1.2.3:5", "", "10.1.2.3:5"}, {"11.1.2.3:5", "1.1.1.1", "11.1.2.3:5"},
			{"[::ffff:10.1.2.3]:5", "1.1.1.1", "1.1.1.1"}, {"[fd00::1]:5", "1.1.1.1", "1.1.1.1"}, {"[fd00::2]:5", "1.1.1.1", "[fd00::2]:5"},
			{"@", "1.1.1.1", "@"},
		} {
			_, end := w.serveFrom(test.from)
			var set []MessageSetting
			if test.claims != "" {
				set = append(set, WithRealIP(test.claims))
			}
			end.send(TypeCall, 1, "/ip", "", set...)
			if got, want := string(end.receive().RawBody()), test.from+" "+test.want; got != want {
				t.Errorf("from %s with X-Real-IP %q: %q; want %q", test.from, test.claims, got, want)
			}
		}
	})
}

func TestRuleLifetimeUsedUpContextPanics(t *testing.T) {
	defer poison.Switch()()
	inWorld(t, nil, func(t *testing.T, w *world) {
		var kept CallCtx
		var session CtxSession
		var ctx context.Context
		var arg *string
		HandleCall(w.server, "/keep", func(c CallCtx, a *string) (string, error) {
			kept, session, ctx, arg = c, c.Session(), c.Context(), a
			return *a, nil
		})
		c, s := w.pair()
		wantReply(t, c.Call("/keep", "value", new(string)), "value")
		synctest.Wait()
		for name, use := range map[string]func(){
			"Session": func() { kept.Session() }, "PeekMeta": func() { kept.PeekMeta("x") }, "Context": func() { kept.Context() },
			"Swap": func() { kept.Swap() }, "SetMeta": func() { kept.SetMeta("a", "b") }, "Input": func() { kept.Input() },
		} {
			func() {
				defer func() {
					if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), "after its handler had returned") {
						t.Errorf("%s of a used-up context: %v; want a panic with words", name, v)
					}
				}()
				use()
			}()
		}
		if *arg != "value" || session != CtxSession(s) || ctx.Err() == nil {
			t.Errorf("argument %q, session %v, context %v; want them kept, and the context over", *arg, session, ctx.Err())
		}
		wantReply(t, c.Call("/echo", "x", new(string)), "x")
	})
}

func TestRuleLifetimeGoexitIs500(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		HandleCall(w.server, "/exit", func(CallCtx, *string) (string, error) { runtime.Goexit(); return "", nil })
		HandlePush(w.server, "/exit", func(PushCtx, *string) error { runtime.Goexit(); return nil })
		c, s := w.pair()
		wantRerror(t, c.Call("/exit", "", new(string)).Rerror(), CodeInternalServerError)
		c.Push("/exit", "")
		synctest.Wait()
		if n := s.work.running(); n != 0 {
			t.Errorf("%d handlers run; want none", n)
		}
		wantReply(t, c.Call("/echo", "x", new(string)), "x")
	})
}

// moodyFilter fails to pack while badMood is true.
type moodyFilter struct{}

var badMood atomic.Bool

func (moodyFilter) ID() byte     { return 201 }
func (moodyFilter) Name() string { return "testmoody" }

func (moodyFilter) OnPack(b []byte) ([]byte, error) {
	if badMood.Load() {
		return nil, errors.New("testmoody: not now")
	}
	return slices.Clone(b), nil
}

func (moodyFilter) OnUnpack(b []byte) ([]byte, error) { return b, nil }

var registerMoody = sync.OnceFunc(func() { xfer.Register(moodyFilter{}) })

// If a filter fails to pack a reply, an error reply without filters is sent, and the
// session goes on.
func TestRuleFilterFailsOnTheWayBack(t *testing.T) {
	registerMoody()
	for _, test := range []struct {
		method string
		code   int32
	}{{"/echo", CodeInternalServerError}, {"/nowhere", CodeInternalServerError}, {"/stuck", CodeHandleTimeout}} {
		t.Run(test.method, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				defer badMood.Store(false)
				badMood.Store(false)
				s, end := w.serveRaw(w.server)
				s.SetContextAge(time.Second)
				frame := callFrame(1, test.method, WithBodyCodec(testwire.Text), WithXferPipe(201))
				badMood.Store(true)
				end.conn.Write(frame)
				got := end.receive()
				wantRerror(t, got.Rerror(), test.code)
				if got.XferPipe().Len() != 0 {
					t.Errorf("%d filters; want none", got.XferPipe().Len())
				}
				wantReady(t, s)
				w.release()
			})
		})
	}
}
