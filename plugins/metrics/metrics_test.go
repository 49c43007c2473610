package metrics_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/metrics"
)

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("OFF")
	m.Run()
}

func TestConformance(t *testing.T) {
	tptest.RunPlugin(t, func() tp.Plugin { return newMetrics(t, metrics.Config{}) })
}

func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 3 {
			w.sess.Call("/ok?secret=1", 1, nil)
		}
		w.sess.Call("/slow", 1, nil)
		w.sess.Call("/fail", 4001, nil)
		w.sess.Call("/fail", 4001, nil)
		w.sess.Call("/fail", 4002, nil)
		w.sess.Call("/fail", tp.CodeBusy, nil)
		w.sess.Call("/ok", "no number", nil)
		w.sess.Call("/nobody", 1, nil)
		for range 2 {
			w.sess.Push("/note?x", 1)
		}
		w.sess.Push("/nobody", 1)
		synctest.Wait()
		srv, cli := read(t, w.srv), read(t, w.cli)
		check(t, "server", srv, map[string]float64{
			"calls_total{/ok 0 in}":                   3,
			"calls_total{/ok 400 in}":                 1,
			"calls_total{/slow 0 in}":                 1,
			"calls_total{/fail 4001 in}":              2,
			"calls_total{/fail in other}":             1,
			"calls_total{/fail 503 in}":               1,
			"calls_total{404 in unknown}":             1,
			"pushes_total{/note 0 in}":                2,
			"pushes_total{404 in unknown}":            1,
			"call_duration_seconds_sum{/slow in}":     1,
			"call_duration_seconds_count{/ok in}":     4,
			"call_duration_seconds_count{in unknown}": 0,
			"handlers_in_flight{/ok}":                 0,
			"sessions{accepted}":                      1,
			"sessions{dialled}":                       0,
			"sessions_opened_total{accepted}":         1,
			"sessions_closed_total{accepted remote}":  0,
			"queued_messages{}":                       0,
		})
		check(t, "client", cli, map[string]float64{
			"calls_total{/ok 0 out}":                   3,
			"calls_total{/ok 400 out}":                 1,
			"calls_total{/slow 0 out}":                 1,
			"calls_total{/fail 4001 out}":              2,
			"calls_total{/fail other out}":             1,
			"calls_total{/fail 503 out}":               1,
			"calls_total{/nobody 404 out}":             1,
			"pushes_total{/note 0 out}":                2,
			"pushes_total{/nobody 0 out}":              1,
			"call_duration_seconds_sum{/slow out}":     1,
			"call_duration_seconds_count{/nobody out}": 1,
			"calls_total{/ok 0 in}":                    0,
			"sessions{dialled}":                        1,
		})
		for _, route := range []string{"/ok", "/slow", "/fail", "/note"} {
			for _, way := range [][2]string{{"received", "sent"}, {"sent", "received"}} {
				got := srv["teleport_"+way[0]+"_bytes_total{"+route+" in}"]
				want := cli["teleport_"+way[1]+"_bytes_total{"+route+" out}"]
				if got != want || got == 0 && (way[0] == "received" || route != "/note") {
					t.Errorf("%s: the server has %s %v bytes, the client %s %v", route, way[0], got, way[1], want)
				}
			}
		}
	})
}

// What goes the other way: the accepting side calls, the dialling side serves;
// both have the same plugin.
func TestBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		both, net := newMetrics(t, metrics.Config{}), tptest.NewNetwork()
		p := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)}, both)
		c := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)}, both)
		routes(c)
		tptest.Dial(t, c, tptest.Listen(t, p))
		synctest.Wait()
		p.RangeSession(func(s tp.Session) bool {
			s.Call("/ok", 1, nil)
			s.Push("/note", 1)
			return true
		})
		synctest.Wait()
		check(t, "both", read(t, both), map[string]float64{
			"calls_total{/ok 0 in}": 1, "calls_total{/ok 0 out}": 1,
			"pushes_total{/note 0 in}": 1, "pushes_total{/note 0 out}": 1,
			"sessions{accepted}": 1, "sessions{dialled}": 1,
		})
	})
}

func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 2 {
			w.net.Find(w.sess.LocalAddr().String()).Cut()
			synctest.Wait()
			if r := w.sess.Call("/ok", 1, nil).Rerror(); r != nil {
				t.Fatalf("a call after the break: %s", r)
			}
		}
		synctest.Wait()
		check(t, "client", read(t, w.cli), map[string]float64{
			"sessions{dialled}": 1, "sessions_opened_total{dialled}": 1, "redials_total{}": 2, "calls_total{/ok 0 out}": 2,
			"sessions_closed_total{dialled local}": 0, "sessions_closed_total{dialled network}": 0,
		})
		check(t, "server", read(t, w.srv), map[string]float64{
			"sessions{accepted}": 1, "sessions_opened_total{accepted}": 3, "sessions_closed_total{accepted network}": 2,
			"calls_total{/ok 0 in}": 2, "redials_total{}": 0,
		})
		w.sess.Close()
		synctest.Wait()
		check(t, "client", read(t, w.cli), map[string]float64{"sessions{dialled}": 0, "sessions_closed_total{dialled local}": 1})
		check(t, "server", read(t, w.srv), map[string]float64{"sessions{accepted}": 0, "sessions_closed_total{accepted remote}": 1})
	})
}

// refuser refuses connections.
type refuser struct{}

func (refuser) Name() string { return "refuser" }
func (refuser) PostAccept(tp.PreSession) *tp.Rerror {
	return tp.NewRerror(tp.CodeUnauthorized, "", "not you")
}

// PostDisconnect takes back only what this plugin's own hook has counted.
func TestOnlyItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := tptest.NewNetwork()
		for _, test := range []struct {
			name   string
			before bool // the refuser
			opened float64
		}{{"refused before", true, 0}, {"refused behind", false, 1}} {
			m := newMetrics(t, metrics.Config{})
			plugins := []tp.Plugin{m, refuser{}}
			if test.before {
				slices.Reverse(plugins)
			}
			p := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)}, plugins...)
			c := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)})
			c.Dial(tptest.Listen(t, p))
			synctest.Wait()
			m.PostDisconnect(tptest.Dial(t, c, tptest.Listen(t, tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)}))))
			check(t, test.name, read(t, m), map[string]float64{
				"sessions{accepted}": 0, "sessions_opened_total{accepted}": test.opened, "sessions_closed_total{accepted local}": test.opened,
			})
		}
	})
}

func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		conn := w.net.Find(w.sess.LocalAddr().String())
		conn.Freeze()
		for range 200 {
			go w.sess.Push("/note", strings.Repeat("x", 1000))
		}
		synctest.Wait()
		messages, bytes := w.sess.Queued()
		if messages == 0 {
			t.Fatal("the connection is frozen, and no message waits")
		}
		time.Sleep(3 * time.Second)
		check(t, "client", read(t, w.cli), map[string]float64{
			"queued_messages{}": float64(messages), "queued_bytes{}": float64(bytes), "oldest_queued_seconds{}": 3, "refused_total{unsent push}": 0,
		})
		for range 5 {
			w.sess.Push("/note", strings.Repeat("x", 5<<20), tp.WithPushPolicy(tp.PushDropNewest)) // larger than what may wait
		}
		check(t, "client", read(t, w.cli), map[string]float64{"refused_total{unsent push}": 5})
		conn.Cut()
	})
}

func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 3 {
			w.sess.AsyncCall("/slow", 1, nil, nil)
		}
		w.sess.AsyncCall("/ok", 1, nil, nil)
		synctest.Wait()
		check(t, "while they run", read(t, w.srv), map[string]float64{"handlers_in_flight{/slow}": 3, "handlers_in_flight{/ok}": 0})
		time.Sleep(2 * time.Second)
		check(t, "afterwards", read(t, w.srv), map[string]float64{"handlers_in_flight{/slow}": 0, "calls_total{/slow 0 in}": 3})
	})
}

// A call that waits for the redial is not lost by it.
func TestCallWaitsForRedial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		synctest.Wait()
		w.net.Find(w.sess.LocalAddr().String()).Cut()
		synctest.Wait()
		go w.sess.Call("/slow", 1, nil)
		time.Sleep(time.Second / 2)
		check(t, "client, before the reply", read(t, w.cli), map[string]float64{"redials_total{}": 1, "calls_total{/slow 102 out}": 0})
		time.Sleep(2 * time.Second)
		check(t, "client", read(t, w.cli), map[string]float64{"calls_total{/slow 0 out}": 1, "calls_total{/slow 102 out}": 0})
	})
}

// rename reroutes all that comes under another name.
type rename struct{}

func (rename) Name() string { return "rename" }
func (rename) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror {
	ctx.ResetServiceMethod(strings.ToLower(ctx.ServiceMethod()))
	return nil
}
func (r rename) PostReadPushHeader(ctx tp.ReadCtx) *tp.Rerror { return r.PostReadCallHeader(ctx) }

func TestReroutedGoesByItsHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, rename{})
		w.sess.Call("/OK", 1, nil)
		w.sess.Push("/NOTE", 1)
		synctest.Wait()
		check(t, "server", read(t, w.srv), map[string]float64{"calls_total{/ok 0 in}": 1, "pushes_total{/note 0 in}": 1, "pushes_total{404 in unknown}": 0})
	})
}

// unknowns serves all.
type unknowns struct{}

func (unknowns) Name() string { return "unknowns" }
func (unknowns) PostNewPeer(p tp.EarlyPeer) error {
	p.SetUnknownCall(func(tp.UnknownCallCtx) (any, *tp.Rerror) { return 1, nil })
	p.SetUnknownPush(func(tp.UnknownPushCtx) *tp.Rerror { return nil })
	return nil
}

// What the unknown handlers serve is counted once, as unknown.
func TestUnknownHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, unknowns{})
		w.sess.Call("/x", 1, nil)
		w.sess.Push("/x", 1)
		synctest.Wait()
		check(t, "server", read(t, w.srv), map[string]float64{"calls_total{0 in unknown}": 1, "pushes_total{0 in unknown}": 1, "call_duration_seconds_count{in unknown}": 1})
	})
}

// Given to a group it counts what comes for the group.
func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, m := tptest.NewNetwork(), newMetrics(t, metrics.Config{})
		p := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)})
		g := p.SubRoute("/g", m)
		tp.HandleCall(g, "/ok", func(_ tp.CallCtx, arg *int) (int, error) { return *arg, nil })
		tp.HandlePush(g, "/note", func(tp.PushCtx, *int) error { return nil })
		routes(p)
		sess := tptest.Dial(t, tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)}), tptest.Listen(t, p))
		for _, prefix := range []string{"", "/g"} {
			sess.Call(prefix+"/ok", 1, nil)
			sess.Push(prefix+"/note", 1)
		}
		sess.Push("/nobody", 1)
		synctest.Wait()
		values := read(t, m)
		check(t, "group", values, map[string]float64{"calls_total{/g/ok 0 in}": 1, "pushes_total{/g/note 0 in}": 1, "sessions{accepted}": 0})
		if c, p := count(values, "teleport_calls_total"), count(values, "teleport_pushes_total"); c != 1 || p != 1 {
			t.Errorf("%d series of calls, %d of pushes; want 1, 1", c, p)
		}
	})
}

// Strangers must not make labels, nor memory.
func TestHostile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		keys := func(m tp.Message) {
			for i := range 1000 {
				m.Meta().Add("k"+strconv.Itoa(i), "v")
				m.Meta().Add("k", "v")
			}
		}
		w.sess.Call("/ok", 1, nil, keys, tp.WithAddMeta("X", strings.Repeat("x", 64<<10)))
		w.sess.Call("/p", 1, nil)
		w.sess.Push("/p", 1)
		w.sess.Call("/fail", 5000, nil)
		w.sess.Call("/"+strings.Repeat("long", 60), 1, nil)
		w.sess.Call("/bad\xff", 1, nil)
		w.sess.Call("other", 1, nil)
		w.sess.Call("unknown", 1, nil)
		synctest.Wait()
		before := read(t, w.srv)
		if n := count(read(t, w.cli), "teleport_sent_bytes_total"); n != 5 {
			t.Errorf("client: %d routes out; want /ok, /p, /fail, unknown and other", n)
		}
		for i := range 10_000 {
			w.sess.Call("/p"+strconv.Itoa(i), 1, nil)
		}
		for i := range 1000 {
			w.sess.Push("/p"+strconv.Itoa(i), 1)
			w.sess.Call("/fail?i="+strconv.Itoa(i), 5000+i, nil)
		}
		synctest.Wait()
		srv, cli := read(t, w.srv), read(t, w.cli)
		if len(srv) != len(before) {
			t.Errorf("server: %d samples; want %d as before", len(srv), len(before))
		}
		check(t, "server", srv, map[string]float64{
			"calls_total{404 in unknown}": 10_000 + 5, "pushes_total{404 in unknown}": 1001, "calls_total{/fail in other}": 1001,
		})
		// Of the 500 four are /ok, /fail, /p and unknown.
		check(t, "client", cli, map[string]float64{
			"calls_total{404 other out}": 10_000 - 496 + 3, "pushes_total{0 other out}": 1000 - 496, "calls_total{/fail other out}": 1001,
		})
		if n := count(cli, "teleport_sent_bytes_total"); n != 500+1 {
			t.Errorf("client: %d routes out; want 501", n)
		}
	})
}

func TestConcurrent(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				w.sess.Call("/ok", j, nil)
				w.sess.Push("/note", j)
				tp.Invoke[int](t.Context(), w.sess, fmt.Sprintf("/%d/%d", i, j), j)
				if j%10 == 0 {
					read(t, w.srv)
					read(t, w.cli)
				}
			}
		})
	}
	wg.Wait()
	check(t, "client", read(t, w.cli), map[string]float64{"calls_total{/ok 0 out}": 800, "pushes_total{/note 0 out}": 800})
	if n := count(read(t, w.cli), "teleport_call_duration_seconds_count"); n != 500+3 { // three incoming ones
		t.Errorf("%d routes; want 503", n)
	}
	if n := count(read(t, w.srv), "teleport_handlers_in_flight"); n != 3 {
		t.Errorf("%d routes with a gauge of handlers; want 3", n)
	}
}
