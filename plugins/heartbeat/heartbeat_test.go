package heartbeat_test

import (
	"errors"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/heartbeat"
)

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("WARN")
	if with := os.Getenv(idlePong); with != "" {
		servePongs(with)
		return
	}
	os.Exit(m.Run())
}

func newPing(useCall bool) func() tp.Plugin {
	return func() tp.Plugin { return heartbeat.NewPing(1, useCall) }
}

func newPong() tp.Plugin { return heartbeat.NewPong() }

func TestConformance(t *testing.T) {
	t.Run("pong", func(t *testing.T) { tptest.RunPlugin(t, newPong) })
	t.Run("ping, call", func(t *testing.T) { tptest.RunPlugin(t, newPing(true)) })
	t.Run("ping, push", func(t *testing.T) { tptest.RunPlugin(t, newPing(false)) })
	t.Run("ping to pong", func(t *testing.T) { tptest.RunPlugin(t, newPong, tptest.DialSide(newPing(true))) })
	t.Run("pong to ping", func(t *testing.T) { tptest.RunPlugin(t, newPing(false), tptest.DialSide(newPong)) })
}

func TestNames(t *testing.T) {
	if got := heartbeat.NewPing(3, true).Name(); got != "heart-ping" {
		t.Errorf("Ping's Name() = %q", got)
	}
	if got := heartbeat.NewPong().Name(); got != "heart-pong" {
		t.Errorf("Pong's Name() = %q", got)
	}
}

// beat is a heartbeat as it arrived.
type beat struct {
	mtype  byte
	rate   string
	metas  int
	body   int
	method string
}

// recorder records the beats that a peer receives, and when.
type recorder struct {
	mu    sync.Mutex
	begin time.Time
	beats []beat
	times []time.Duration
}

func newRecorder() *recorder { return &recorder{begin: time.Now()} }

func (*recorder) Name() string { return "recorder" }

func (r *recorder) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror { return r.note(ctx) }
func (r *recorder) PreReadPushBody(ctx tp.ReadCtx) *tp.Rerror { return r.note(ctx) }

func (r *recorder) note(ctx tp.ReadCtx) *tp.Rerror {
	if !strings.Contains(ctx.ServiceMethod(), "heartbeat") {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := ctx.Input()
	r.beats = append(r.beats, beat{m.Mtype(), string(ctx.PeekMeta("hb_")), m.Meta().Len(), len(m.RawBody()), ctx.ServiceMethod()})
	r.times = append(r.times, time.Since(r.begin))
	return nil
}

func (r *recorder) recorded() ([]beat, []time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]beat(nil), r.beats...), append([]time.Duration(nil), r.times...)
}

// ends are two peers and the session between them.
type ends struct {
	net      *tptest.Network
	srv, cli tp.Peer
	srvSess  tp.Session
	cliSess  tp.Session
	log      tptest.Lines
	release  chan struct{} // closed: handlers of /hang return
}

func newEnds(t *testing.T, server, client []tp.Plugin, change ...func(*tp.PeerConfig)) *ends {
	e := &ends{net: tptest.NewNetwork(), release: make(chan struct{})}
	cfg := tp.PeerConfig{Network: e.net.Register(t), Logger: e.log.Logger()}
	e.srv = tptest.NewPeer(t, cfg, server...)
	for _, f := range change {
		f(&cfg)
	}
	e.cli = tptest.NewPeer(t, cfg, client...)
	for _, p := range []tp.Peer{e.srv, e.cli} {
		tp.HandleCall(p, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
		tp.HandleCall(p, "/hang", func(ctx tp.CallCtx, s *string) (string, error) {
			select {
			case <-ctx.Context().Done():
			case <-e.release:
			}
			return "", nil
		})
		tp.HandlePush(p, "/note", func(tp.PushCtx, *string) error { return nil })
	}
	e.cliSess = tptest.Dial(t, e.cli, tptest.Listen(t, e.srv))
	synctest.Wait()
	e.srv.RangeSession(func(s tp.Session) bool { e.srvSess = s; return false })
	return e
}

func (e *ends) conn() *tptest.Conn { return e.net.Find(e.cliSess.LocalAddr().String()) }

func plugins(p ...tp.Plugin) []tp.Plugin { return p }

// bubble runs f in one; nothing may be left behind.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tptest.LeakCheck(t)
			f(t)
		})
	})
}

// after lets the bubble's time pass.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestBeats(t *testing.T) {
	for _, test := range []struct {
		name string
		ping heartbeat.Ping
		want beat
		rate time.Duration
	}{
		{"call", heartbeat.NewPing(3, true), beat{tp.TypeCall, "3", 1, 0, "/heartbeat"}, 3 * time.Second},
		{"push", heartbeat.NewPing(30, false), beat{tp.TypePush, "30", 1, 0, "/heartbeat"}, 30 * time.Second},
		{"at least a second", heartbeat.NewPing(-5, true), beat{tp.TypeCall, "1", 1, 0, "/heartbeat"}, time.Second},
		{"part of a second", heartbeat.NewPingEvery(100*time.Millisecond, true), beat{tp.TypeCall, "1", 1, 0, "/heartbeat"}, 100 * time.Millisecond},
		{"2.5 seconds", heartbeat.NewPingEvery(2500*time.Millisecond, true), beat{tp.TypeCall, "3", 1, 0, "/heartbeat"}, 2500 * time.Millisecond},
	} {
		for _, dialled := range []bool{true, false} {
			bubble(t, test.name+map[bool]string{true: ", dialled", false: ", accepted"}[dialled], func(t *testing.T) {
				rec := newRecorder()
				// The plugin belongs to the bubble, so it is made anew.
				ping := heartbeat.NewPingEvery(test.rate, test.want.mtype == tp.TypeCall)
				server, client := plugins(heartbeat.NewPong(), rec), plugins(ping)
				if !dialled {
					server, client = client, server
				}
				newEnds(t, server, client)
				after(10*test.rate + test.rate/4)
				beats, times := rec.recorded()
				if len(beats) != 10 {
					t.Errorf("%d beats in 10 rates, at %v", len(beats), times)
				}
				for i, got := range beats {
					if got != test.want {
						t.Errorf("beat %+v; want %+v", got, test.want)
					}
					if i > 0 {
						if d := times[i] - times[i-1]; d > test.rate || d < test.rate*31/32 {
							t.Errorf("%v between two beats; want %v, or a little less", d, test.rate)
						}
					}
				}
			})
		}
	}
}

// A rate that NewPing is given is one in seconds.
func TestNewPing(t *testing.T) {
	for _, test := range []struct {
		rate int
		want string
	}{{math.MinInt, "1"}, {0, "1"}, {1, "1"}, {30, "30"}, {math.MaxInt, "2147483647"}} {
		bubble(t, test.want, func(t *testing.T) {
			rec := newRecorder()
			ping := heartbeat.NewPing(test.rate, true)
			newEnds(t, plugins(heartbeat.NewPong(), rec), plugins(ping))
			after(time.Hour)
			ping.SetRate(test.rate)
			beats, _ := rec.recorded()
			if n := len(beats); (n == 0) != (test.rate > 3600) || n > 0 && beats[0].rate != test.want {
				t.Errorf("%d beats in an hour, the first %+v; want rate %s", n, append(beats, beat{})[0], test.want)
			}
		})
	}
}

// A session over which messages go sends no beats.
func TestTraffic(t *testing.T) {
	for _, test := range []struct {
		name string
		call bool
		talk func(*ends) *tp.Rerror
		want bool // beats
	}{
		{"the ping calls", true, func(e *ends) *tp.Rerror { return e.cliSess.Call("/echo", "x", nil).Rerror() }, false},
		{"the ping pushes, and beats by push", false, func(e *ends) *tp.Rerror { return e.cliSess.Push("/note", "x") }, false},
		{"the ping pushes, but wants to receive something", true, func(e *ends) *tp.Rerror { return e.cliSess.Push("/note", "x") }, true},
		{"the pong pushes, and wants to receive something", true, func(e *ends) *tp.Rerror { return e.srvSess.Push("/note", "x") }, true},
	} {
		bubble(t, test.name, func(t *testing.T) {
			rec := newRecorder()
			e := newEnds(t, plugins(heartbeat.NewPong(), rec), plugins(heartbeat.NewPing(2, test.call)))
			for range 50 {
				if r := test.talk(e); r != nil {
					t.Fatal(r)
				}
				after(time.Second)
			}
			if beats, _ := rec.recorded(); len(beats) > 0 != test.want {
				t.Errorf("%d beats; want some: %v", len(beats), test.want)
			}
			if e.cli.CountSession() != 1 || e.srv.CountSession() != 1 {
				t.Errorf("the session has ended: %v, %v", e.cliSess.CloseReason(), e.srvSess.CloseReason())
			}
		})
	}
}

func wantSilent(t *testing.T, what string, sess tp.Session) {
	t.Helper()
	if r := sess.CloseReason(); r == nil || r.Side != tp.SideNetwork || !errors.Is(r, heartbeat.ErrSilent) {
		t.Errorf("%s: the session ended with %v; want the network's side, ErrSilent", what, r)
	}
}

// A connection on which nothing moves any more is given up within two rates.
func TestDead(t *testing.T) {
	const rate = 2 * time.Second
	for _, test := range []struct {
		name           string
		server, client func() tp.Plugin
		busy           time.Duration // before it dies
		ends           [2]bool       // that notice: server, client
	}{
		{"ping by call, never received", newPong, newPingOf(2, true), 0, [2]bool{false, true}},
		{"ping by call", newPong, newPingOf(2, true), 9 * time.Second, [2]bool{true, true}},
		{"ping by push", newPong, newPingOf(2, false), 9 * time.Second, [2]bool{true, false}},
		{"the server pings", newPingOf(2, true), newPong, 9 * time.Second, [2]bool{true, true}},
		{"the client has nothing", newPingOf(2, true), nil, 9 * time.Second, [2]bool{true, false}},
	} {
		bubble(t, test.name, func(t *testing.T) {
			var client []tp.Plugin
			if test.client != nil {
				client = plugins(test.client())
			}
			e := newEnds(t, plugins(test.server()), client)
			after(test.busy)
			if r := e.cliSess.Call("/echo", "x", nil).Rerror(); r != nil {
				t.Fatal(r)
			}
			hangs := e.cliSess.AsyncCall("/hang", "x", nil, nil)
			synctest.Wait()
			died := time.Now()
			conn := e.conn()
			conn.Freeze()
			var ended [2]atomic.Int64 // after how long
			sessions := [2]tp.Session{e.srvSess, e.cliSess}
			for i, sess := range sessions {
				go func() {
					<-sess.CloseNotify()
					ended[i].Store(int64(time.Since(died)))
				}()
			}
			after(3 * rate)
			for i, what := range []string{"server", "client"} {
				d := time.Duration(ended[i].Load())
				if !test.ends[i] {
					if d != 0 {
						t.Errorf("%s: the session has ended: %v", what, sessions[i].CloseReason())
					}
					continue
				}
				if d > 2*rate || d < rate {
					t.Errorf("%s: found out after %v (0: not at all); want at most two rates of %v", what, d, rate)
				}
				wantSilent(t, what, sessions[i])
			}
			if test.ends[1] {
				if _, r := hangs.Reply(); r == nil || r.Code != tp.CodeConnClosed || !errors.Is(r.Err(), heartbeat.ErrSilent) {
					t.Errorf("the pending call: %s; want 102, ErrSilent", r)
				}
			}
			found, given := 0, 0
			for _, does := range test.ends {
				if does {
					found++
				}
			}
			for _, line := range e.log.All() {
				if strings.Contains(line, "is given up") {
					given++
				}
			}
			if lines := e.log.Errors(); len(lines) > 0 || given != found {
				t.Errorf("logged: %q; want a WARN line of each side that noticed, no ERROR", e.log.All())
			}
			close(e.release)
			conn.Thaw()
		})
	}
}

func newPingOf(rate int, useCall bool) func() tp.Plugin {
	return func() tp.Plugin { return heartbeat.NewPing(rate, useCall) }
}

// A session that redials does so when its connection is dead, and beats go on.
func TestRedial(t *testing.T) {
	for _, useCall := range []bool{true, false} {
		bubble(t, map[bool]string{true: "call", false: "push"}[useCall], func(t *testing.T) {
			rec := newRecorder()
			e := newEnds(t, plugins(heartbeat.NewPong(), rec), plugins(heartbeat.NewPing(2, useCall)),
				func(c *tp.PeerConfig) { c.RedialTimes = 5 })
			for i := range 3 {
				after(20 * time.Second)
				before, _ := rec.recorded()
				if useCall {
					e.conn().Freeze()
				} else {
					e.conn().Cut()
				}
				after(20 * time.Second)
				if beats, _ := rec.recorded(); len(beats) < len(before)+4 {
					t.Errorf("after break %d: %d beats in 20 s", i+1, len(beats)-len(before))
				}
				if r := e.cliSess.Call("/echo", "x", nil).Rerror(); r != nil {
					t.Errorf("after break %d: call: %s", i+1, r)
				}
				if n := e.srv.CountSession(); n != 1 {
					t.Errorf("after break %d: the server has %d sessions", i+1, n)
				}
			}
			if r := e.cliSess.CloseReason(); r != nil {
				t.Errorf("the session has ended: %v", r)
			}
			if lines := e.log.Errors(); len(lines) > 0 {
				t.Errorf("logged: %q", lines)
			}
		})
	}
	// The server is away for long: that is no reason to end the session.
	bubble(t, "a long way", func(t *testing.T) {
		e := newEnds(t, plugins(heartbeat.NewPong()), plugins(heartbeat.NewPing(1, true)), func(c *tp.PeerConfig) {
			c.RedialTimes, c.RedialInterval = -1, 2*time.Second
		})
		e.net.Refuse(e.srv.Addrs()[0].String(), 1_000_000)
		e.conn().Cut()
		after(3 * time.Minute)
		if e.cliSess.CloseReason() != nil || e.cli.CountSession() != 1 {
			t.Fatalf("the session has ended: %v", e.cliSess.CloseReason())
		}
		e.net.Refuse(e.srv.Addrs()[0].String(), 0)
		after(2 * time.Minute)
		if r := e.cliSess.Call("/echo", "x", nil).Rerror(); r != nil || e.srv.CountSession() != 1 {
			t.Errorf("call: %s; %d sessions", r, e.srv.CountSession())
		}
	})
}
