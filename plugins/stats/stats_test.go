package stats_test

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
	"github.com/teleport-go/teleport/plugins/stats"
)

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("OFF")
	m.Run()
}

func TestConformance(t *testing.T) {
	tptest.RunPlugin(t, func() tp.Plugin { return stats.New() })
}

// pair makes two peers, each with its counts. The server has /ok, /slow (1 s), /fail
// (code of the argument), and the push /note.
func pair(t *testing.T, plugin ...tp.Plugin) (srv, cli *stats.Stats, sess tp.Session, net *tptest.Network) {
	t.Helper()
	srv, cli, net = stats.New(), stats.New(), tptest.NewNetwork()
	p := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)}, append(plugin, srv)...)
	tp.HandleCall(p, "/ok", func(_ tp.CallCtx, arg *int) (int, error) { return *arg, nil })
	tp.HandleCall(p, "/slow", func(_ tp.CallCtx, arg *int) (int, error) { time.Sleep(time.Second); return *arg, nil })
	tp.HandleCall(p, "/fail", func(_ tp.CallCtx, arg *int32) (int, error) {
		return 0, tp.NewRerror(*arg, "no", "").Err()
	})
	tp.HandlePush(p, "/note", func(tp.PushCtx, *int) error { return nil })
	c := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t), RedialTimes: 5}, cli)
	return srv, cli, tptest.Dial(t, c, tptest.Listen(t, p)), net
}

// find returns the route of that name, zero if there is none.
func find(s *stats.Stats, d stats.Direction, name string) (r stats.Route) {
	for _, r := range s.Snapshot().Routes {
		if r.Direction == d && r.Name == name {
			return r
		}
	}
	return r
}

func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, cli, sess, _ := pair(t)
		for range 3 {
			sess.Call("/ok?secret=1", 1, nil)
		}
		sess.Call("/slow", 1, nil)
		sess.Call("/fail", 4001, nil)
		sess.Call("/fail", 4001, nil)
		sess.Call("/nobody", 1, nil)
		for range 2 {
			sess.Push("/note?x", 1)
		}
		sess.Push("/nobody", 1)
		synctest.Wait()
		for _, test := range []struct {
			s             *stats.Stats
			d             stats.Direction
			name          string
			calls, pushes uint64
			answered      uint64
			errors        string
		}{
			{srv, stats.In, "/ok", 3, 0, 3, "map[]"},
			{srv, stats.In, "/slow", 1, 0, 1, "map[]"},
			{srv, stats.In, "/fail", 2, 0, 2, "map[4001:2]"},
			{srv, stats.In, "/note", 0, 2, 0, "map[]"},
			{srv, stats.In, "unknown", 1, 1, 0, "map[404:2]"},
			{cli, stats.Out, "/ok", 3, 0, 3, "map[]"},
			{cli, stats.Out, "/slow", 1, 0, 1, "map[]"},
			{cli, stats.Out, "/fail", 2, 0, 2, "map[4001:2]"},
			{cli, stats.Out, "/note", 0, 2, 0, "map[]"},
			{cli, stats.Out, "/nobody", 1, 1, 1, "map[404:1]"},
			{cli, stats.Out, "other", 0, 0, 0, "map[]"},
		} {
			r := find(test.s, test.d, test.name)
			if r.Calls != test.calls || r.Pushes != test.pushes || r.Latency.Count != test.answered || fmt.Sprint(r.Errors) != test.errors {
				t.Errorf("%s %s: %d calls, %d pushes, %d answered, errors %v; want %d, %d, %d, %s", test.d, test.name,
					r.Calls, r.Pushes, r.Latency.Count, r.Errors, test.calls, test.pushes, test.answered, test.errors)
			}
		}
		for _, name := range []string{"/ok", "/slow", "/fail", "/note"} {
			in, out := find(srv, stats.In, name), find(cli, stats.Out, name)
			if in.BytesReceived == 0 || in.BytesReceived != out.BytesSent || in.BytesSent != out.BytesReceived {
				t.Errorf("%s: received %d of %d bytes, sent %d, and %d arrived", name, in.BytesReceived, out.BytesSent, in.BytesSent, out.BytesReceived)
			}
		}
		for _, r := range []stats.Route{find(srv, stats.In, "/slow"), find(cli, stats.Out, "/slow")} {
			if q := r.Latency.Quantile(0.5); r.Latency.Sum != time.Second || q < time.Second || q > 2*time.Second {
				t.Errorf("%s /slow: in all %v, median %v; want 1s, at most twice as much", r.Direction, r.Latency.Sum, q)
			}
		}
	})
}

// What goes the other way: the accepting side calls, the dialling side serves.
func TestBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		both, net := stats.New(), tptest.NewNetwork()
		p := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)}, both)
		c := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)}, both)
		tp.HandleCall(c, "/here", func(_ tp.CallCtx, arg *int) (int, error) { return *arg, nil })
		tptest.Dial(t, c, tptest.Listen(t, p))
		synctest.Wait()
		p.RangeSession(func(s tp.Session) bool { s.Call("/here", 1, nil); return true })
		synctest.Wait()
		if in, out := find(both, stats.In, "/here"), find(both, stats.Out, "/here"); in.Calls != 1 || out.Calls != 1 {
			t.Errorf("counted %d calls served, %d made; want 1, 1", in.Calls, out.Calls)
		}
		if s := both.Snapshot(); s.Accepted != 1 || s.Dialled != 1 {
			t.Errorf("counted %d sessions accepted, %d dialled; want 1, 1", s.Accepted, s.Dialled)
		}
	})
}

func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, cli, sess, net := pair(t)
		for range 2 {
			net.Find(sess.LocalAddr().String()).Cut()
			synctest.Wait()
			if r := sess.Call("/ok", 1, nil).Rerror(); r != nil {
				t.Fatalf("a call after the break: %s", r)
			}
		}
		synctest.Wait()
		if s := cli.Snapshot(); s.Dialled != 1 || s.DialledTotal != 1 || s.Redials != 2 {
			t.Errorf("dialling side: %d sessions of %d, %d redials; want 1, 1, 2", s.Dialled, s.DialledTotal, s.Redials)
		}
		if s := srv.Snapshot(); s.Accepted != 1 || s.AcceptedTotal != 3 || s.Redials != 0 {
			t.Errorf("accepting side: %d sessions of %d, %d redials; want 1, 3, 0", s.Accepted, s.AcceptedTotal, s.Redials)
		}
		if r := find(cli, stats.Out, "/ok"); r.Calls != 2 || r.Latency.Count != 2 {
			t.Errorf("counted %d calls, %d answered; want 2, 2", r.Calls, r.Latency.Count)
		}
		sess.Close()
		synctest.Wait()
		if a, d := srv.Snapshot().Accepted, cli.Snapshot().Dialled; a != 0 || d != 0 {
			t.Errorf("after Close %d accepted and %d dialled sessions; want none", a, d)
		}
	})
}

func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cli, sess, net := pair(t)
		if s := cli.Snapshot(); s.QueuedMessages != 0 || s.QueuedBytes != 0 {
			t.Errorf("nothing was sent, and %d messages of %d bytes wait", s.QueuedMessages, s.QueuedBytes)
		}
		conn := net.Find(sess.LocalAddr().String())
		conn.Freeze()
		for range 200 {
			go sess.Push("/note", strings.Repeat("x", 1000))
		}
		synctest.Wait()
		time.Sleep(3 * time.Second)
		s := cli.Snapshot()
		if text := string(s.AppendOpenMetrics(nil)); !strings.Contains(text, "\nteleport_oldest_queued_seconds 3\n") {
			t.Errorf("the oldest message has waited for 3 s, and the text is\n%s", text)
		}
		if s.QueuedMessages == 0 || s.QueuedBytes == 0 || s.OldestQueued != 3*time.Second {
			t.Errorf("the connection is frozen, and %d messages of %d bytes wait, for %v", s.QueuedMessages, s.QueuedBytes, s.OldestQueued)
		}
		conn.Cut()
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
		srv, _, sess, _ := pair(t, rename{})
		sess.Call("/OK", 1, nil)
		sess.Push("/NOTE", 1)
		synctest.Wait()
		if c, p := find(srv, stats.In, "/ok").Calls, find(srv, stats.In, "/note").Pushes; c != 1 || p != 1 {
			t.Errorf("counted %d calls of /ok, %d pushes of /note; want 1, 1", c, p)
		}
	})
}

// What the unknown handlers serve is counted once, as unknown.
func TestUnknownHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _, sess, _ := pair(t, unknowns{})
		sess.Call("/x", 1, nil)
		sess.Push("/x", 1)
		synctest.Wait()
		if r := find(srv, stats.In, "unknown"); r.Calls != 1 || r.Pushes != 1 || r.Latency.Count != 1 || r.Errors != nil {
			t.Errorf("unknown: %d calls, %d pushes, %d answered, errors %v; want 1, 1, 1, none", r.Calls, r.Pushes, r.Latency.Count, r.Errors)
		}
		for _, r := range srv.Snapshot().Routes {
			if !slices.Contains([]string{"/ok", "/slow", "/fail", "/note", stats.Unknown, stats.Other}, r.Name) {
				t.Errorf("there is a route %q", r.Name)
			}
		}
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

// Many at once make no more labels than one after the other.
func TestBoundedAtOnce(t *testing.T) {
	_, cli, sess, _ := pair(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				sess.Push("/"+strconv.Itoa(i)+"/"+strconv.Itoa(j), 1)
			}
		})
	}
	wg.Wait()
	pushes, routes := uint64(0), 0
	for _, r := range cli.Snapshot().Routes {
		if r.Direction == stats.Out {
			pushes, routes = pushes+r.Pushes, routes+1
		}
	}
	if pushes != 800 || routes != 501 {
		t.Errorf("%d pushes in %d routes; want 800 in 501", pushes, routes)
	}
}

// Strangers must not make labels, nor memory.
func TestHostile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, cli, sess, _ := pair(t)
		keys := func(m tp.Message) {
			for i := range 1000 {
				m.Meta().Add("k"+strconv.Itoa(i), "v")
				m.Meta().Add("k", "v")
			}
		}
		sess.Call("/ok", 1, nil, keys, tp.WithAddMeta("X", strings.Repeat("x", 64<<10)))
		for i := range 700 {
			sess.Call("/p"+strconv.Itoa(i), 1, nil)
			sess.Push("/p"+strconv.Itoa(i), 1)
			sess.Call("/fail?i="+strconv.Itoa(i), 5000+i, nil)
		}
		sess.Call("/"+strings.Repeat("long", 60), 1, nil)
		sess.Call("/bad\xff", 1, nil)
		sess.Call("unknown", 1, nil)
		synctest.Wait()
		if got := len(srv.Snapshot().Routes); got != 4+1+1 {
			t.Errorf("accepting side: %d routes; want 4 registered ones, unknown, and other", got)
		}
		if r := find(srv, stats.In, "unknown"); r.Calls != 703 || r.Pushes != 700 {
			t.Errorf("unknown: %d calls, %d pushes; want 703, 700", r.Calls, r.Pushes)
		}
		in, out := 0, 0
		for _, r := range cli.Snapshot().Routes {
			if r.Direction == stats.In {
				in++
			} else {
				out++
			}
		}
		if in != 1 || out != 500+1 {
			t.Errorf("dialling side: %d routes in, %d out; want 1, 501", in, out)
		}
		// Of the 500 two are /ok and /fail.
		if r := find(cli, stats.Out, "other"); r.Calls != 700-498+3 || r.Pushes != 700-498 {
			t.Errorf("other: %d calls, %d pushes; want 205, 202", r.Calls, r.Pushes)
		}
		for _, r := range []stats.Route{find(srv, stats.In, "/fail"), find(cli, stats.Out, "/fail")} {
			if len(r.Errors) != 32 || r.OtherErrors != 700-32 {
				t.Errorf("%s /fail: %d codes, %d errors of others; want 32, 668", r.Direction, len(r.Errors), r.OtherErrors)
			}
		}
	})
}

func TestConcurrent(t *testing.T) {
	srv, cli, sess, _ := pair(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				sess.Call("/ok", j, nil)
				sess.Push("/note", j)
				sess.Call(fmt.Sprintf("/%d/%d", i, j), j, nil)
				if j%10 == 0 {
					_, _ = srv.String(), cli.String()
				}
			}
		})
	}
	wg.Wait()
	if r := find(cli, stats.Out, "/ok"); r.Calls != 400 || r.Latency.Count != 400 {
		t.Errorf("%d calls, %d answered; want 400", r.Calls, r.Latency.Count)
	}
}

func TestQuantile(t *testing.T) {
	counts := make([]uint64, len(stats.Bounds())+1)
	counts[3], counts[10], counts[len(counts)-1] = 90, 9, 1
	l := stats.Latency{Count: 100, Counts: counts}
	for _, test := range []struct {
		q    float64
		want time.Duration
	}{
		{0, 8 * time.Microsecond}, {0.5, 8 * time.Microsecond}, {0.9, 8 * time.Microsecond},
		{0.91, 1024 * time.Microsecond}, {0.99, 1024 * time.Microsecond}, {1, time.Microsecond << 26},
	} {
		if got := l.Quantile(test.q); got != test.want {
			t.Errorf("Quantile(%v) = %v; want %v", test.q, got, test.want)
		}
	}
	if got := (stats.Latency{}).Quantile(0.5); got != 0 {
		t.Errorf("Quantile of nothing = %v; want 0", got)
	}
}
