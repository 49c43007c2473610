package stats_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/stats"
)

// gate is a plugin that refuses what is about to be sent.
type gate struct{}

func (gate) Name() string { return "gate" }
func (gate) PreWriteCall(ctx tp.WriteCtx) *tp.Rerror {
	if ctx.Output().Meta().Has("stop") {
		return tp.NewRerror(4003, "stop", "")
	}
	return nil
}
func (g gate) PreWritePush(ctx tp.WriteCtx) *tp.Rerror { return g.PreWriteCall(ctx) }

// ring is a peer that calls one that serves, each with its counts.
type ring struct {
	srv, cli *stats.Stats
	peer     tp.Peer // that serves
	from     tp.Peer
	sess     tp.Session
	net      *tptest.Network
	block    chan struct{} // handlers of /block wait for it
	unblock  func()        // ends their waits
}

// newRing has the plugin gate behind the caller's counts, or in front.
func newRing(t *testing.T, srvCfg, cliCfg tp.PeerConfig, gateFirst bool) *ring {
	t.Helper()
	x := &ring{srv: stats.New(), cli: stats.New(), net: tptest.NewNetwork(), block: make(chan struct{})}
	x.unblock = sync.OnceFunc(func() { close(x.block) })
	srvCfg.Network, cliCfg.Network = x.net.Register(t), x.net.Register(t)
	x.peer = tptest.NewPeer(t, srvCfg, x.srv)
	tp.HandleCall(x.peer, "/ok", func(_ tp.CallCtx, arg *int) (int, error) { return *arg, nil })
	tp.HandleCall(x.peer, "/panic", func(tp.CallCtx, *int) (int, error) { panic("ouch") })
	tp.HandleCall(x.peer, "/block", func(tp.CallCtx, *int) (int, error) { <-x.block; return 0, nil })
	tp.HandleCall(x.peer, "/back", func(ctx tp.CallCtx, arg *int) (int, error) {
		over, stop := context.WithCancel(ctx.Context())
		stop()
		ctx.Session().(tp.Session).Call("/never", arg, nil, tp.WithContext(over))
		ctx.Session().(tp.Session).Push("/never", arg, tp.WithContext(ctx.Context()))
		return 0, nil
	})
	tp.HandlePush(x.peer, "/note", func(_ tp.PushCtx, arg *int) error {
		if *arg > 1 {
			return tp.NewRerror(int32(*arg), "", "").Err()
		}
		return nil
	})
	plugins := []tp.Plugin{x.cli, gate{}}
	if gateFirst {
		slices.Reverse(plugins)
	}
	x.from = tptest.NewPeer(t, cliCfg, plugins...)
	x.sess = tptest.Dial(t, x.from, tptest.Listen(t, x.peer))
	synctest.Wait() // the other side has its session, too
	return x
}

// lines shows what was counted: calls, those of them in the histogram and those
// under way, pushes, errors.
func lines(s *stats.Stats) (text []string) {
	for _, r := range s.Snapshot().Routes {
		if r.Calls+r.Pushes > 0 || len(r.Errors) > 0 {
			text = append(text, fmt.Sprintf("%s %s: %d calls, %d timed, %d now, %d pushes, %v", r.Direction, r.Name, r.Calls, r.Latency.Count, r.InFlight, r.Pushes, r.Errors))
		}
	}
	return text
}

// However a call or push ends, it is counted once, by its code.
func TestEnds(t *testing.T) {
	over := func(t *testing.T) tp.MessageSetting {
		ctx, stop := context.WithCancel(t.Context())
		stop()
		return tp.WithContext(ctx)
	}
	stop := tp.WithAddMeta("stop", "1")
	for _, test := range []struct {
		name      string
		srvCfg    tp.PeerConfig
		cliCfg    tp.PeerConfig
		gateFirst bool
		do        func(t *testing.T, x *ring)
		cli, srv  []string
	}{
		{name: "deadline", do: func(t *testing.T, x *ring) {
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			tp.Invoke[int](ctx, x.sess, "/block", 1)
		},
			cli: []string{"out /block: 1 calls, 1 timed, 0 now, 0 pushes, map[408:1]"},
			srv: []string{"in /block: 1 calls, 0 timed, 1 now, 0 pushes, map[]"}},
		{name: "default timeout", cliCfg: tp.PeerConfig{DefaultCallTimeout: time.Second}, do: func(t *testing.T, x *ring) {
			x.sess.Call("/block", 1, nil)
		},
			cli: []string{"out /block: 1 calls, 1 timed, 0 now, 0 pushes, map[408:1]"},
			srv: []string{"in /block: 1 calls, 0 timed, 1 now, 0 pushes, map[]"}},
		{name: "canceled", do: func(t *testing.T, x *ring) {
			ctx, stop := context.WithCancel(t.Context())
			cmd := x.sess.AsyncCall("/block", 1, nil, nil, tp.WithContext(ctx))
			synctest.Wait()
			stop()
			<-cmd.Done()
		},
			cli: []string{"out /block: 1 calls, 1 timed, 0 now, 0 pushes, map[499:1]"},
			srv: []string{"in /block: 1 calls, 0 timed, 1 now, 0 pushes, map[]"}},
		{name: "over before it began", do: func(t *testing.T, x *ring) {
			x.sess.Call("/ok", 1, nil, over(t))
			x.sess.Push("/note", 1, over(t))
		}, cli: []string{"out /note: 0 calls, 0 timed, 0 now, 1 pushes, map[499:1]", "out /ok: 1 calls, 0 timed, 0 now, 0 pushes, map[499:1]"}},
		{name: "under way", do: func(t *testing.T, x *ring) {
			for range 3 {
				x.sess.AsyncCall("/block", 1, nil, nil)
			}
		},
			cli: []string{"out /block: 3 calls, 0 timed, 3 now, 0 pushes, map[]"},
			srv: []string{"in /block: 3 calls, 0 timed, 3 now, 0 pushes, map[]"}},
		{name: "the handler's age", srvCfg: tp.PeerConfig{DefaultContextAge: time.Second}, do: func(t *testing.T, x *ring) {
			x.sess.Call("/block", 1, nil)
			x.unblock()
		},
			cli: []string{"out /block: 1 calls, 1 timed, 0 now, 0 pushes, map[408:1]"},
			srv: []string{"in /block: 1 calls, 1 timed, 0 now, 0 pushes, map[408:1]"}},
		{name: "broken connection", do: func(t *testing.T, x *ring) {
			a, b := x.sess.AsyncCall("/block", 1, nil, nil), x.sess.AsyncCall("/block", 1, nil, nil)
			synctest.Wait()
			x.net.Find(x.sess.LocalAddr().String()).Cut()
			<-a.Done()
			<-b.Done()
			synctest.Wait()
			x.sess.Call("/ok", 1, nil)
			x.sess.Push("/note", 1)
		},
			cli: []string{"out /block: 2 calls, 2 timed, 0 now, 0 pushes, map[102:2]", "out /note: 0 calls, 0 timed, 0 now, 1 pushes, map[102:1]", "out /ok: 1 calls, 1 timed, 0 now, 0 pushes, map[102:1]"},
			srv: []string{"in /block: 2 calls, 0 timed, 2 now, 0 pushes, map[]"}},
		{name: "broken while it is handled", do: func(t *testing.T, x *ring) {
			x.sess.AsyncCall("/block", 1, nil, nil)
			synctest.Wait()
			x.net.Find(x.sess.LocalAddr().String()).Cut()
			synctest.Wait()
			x.unblock()
		},
			cli: []string{"out /block: 1 calls, 1 timed, 0 now, 0 pushes, map[102:1]"},
			srv: []string{"in /block: 1 calls, 1 timed, 0 now, 0 pushes, map[102:1]"}},
		{name: "redial in vain", cliCfg: tp.PeerConfig{RedialTimes: 3, RedialWait: time.Minute}, do: func(t *testing.T, x *ring) {
			x.net.Partition(true)
			x.net.Find(x.sess.LocalAddr().String()).Cut()
			synctest.Wait()
			x.sess.Call("/ok", 1, nil)
			x.sess.Push("/note", 1)
		}, cli: []string{"out /note: 0 calls, 0 timed, 0 now, 1 pushes, map[102:1]", "out /ok: 1 calls, 1 timed, 0 now, 0 pushes, map[102:1]"}},
		{name: "closed peer", do: func(t *testing.T, x *ring) {
			go x.sess.Call("/block", 1, nil)
			synctest.Wait()
			x.from.Close()
		},
			cli: []string{"out /block: 1 calls, 1 timed, 0 now, 0 pushes, map[102:1]"},
			srv: []string{"in /block: 1 calls, 0 timed, 1 now, 0 pushes, map[]"}},
		{name: "not sendable", do: func(t *testing.T, x *ring) {
			x.sess.Call("/ok", func() {}, nil)
			x.sess.Push("/note", func() {})
		}, cli: []string{"out /note: 0 calls, 0 timed, 0 now, 1 pushes, map[104:1]", "out /ok: 1 calls, 1 timed, 0 now, 0 pushes, map[104:1]"}},
		{name: "result that does not decode", do: func(t *testing.T, x *ring) {
			x.sess.Call("/ok", 1, new([]string))
		},
			cli: []string{"out /ok: 1 calls, 1 timed, 0 now, 0 pushes, map[400:1]"},
			srv: []string{"in /ok: 1 calls, 1 timed, 0 now, 0 pushes, map[]"}},
		{name: "argument that does not decode", do: func(t *testing.T, x *ring) {
			x.sess.Call("/ok", "no number", nil)
			x.sess.Push("/note", "no number")
		},
			cli: []string{"out /note: 0 calls, 0 timed, 0 now, 1 pushes, map[]", "out /ok: 1 calls, 1 timed, 0 now, 0 pushes, map[400:1]"},
			srv: []string{"in /note: 0 calls, 0 timed, 0 now, 1 pushes, map[400:1]", "in /ok: 1 calls, 1 timed, 0 now, 0 pushes, map[400:1]"}},
		{name: "no handler", do: func(t *testing.T, x *ring) {
			x.sess.Call("/no", 1, nil)
			x.sess.Push("/no", 1)
			x.sess.Push("/ok", 1) // a call's
		},
			cli: []string{"out /no: 1 calls, 1 timed, 0 now, 1 pushes, map[404:1]", "out /ok: 0 calls, 0 timed, 0 now, 1 pushes, map[]"},
			srv: []string{"in /ok: 0 calls, 0 timed, 0 now, 1 pushes, map[404:1]", "in unknown: 1 calls, 0 timed, 0 now, 1 pushes, map[404:2]"}},
		{name: "panic", do: func(t *testing.T, x *ring) { x.sess.Call("/panic", 1, nil) },
			cli: []string{"out /panic: 1 calls, 1 timed, 0 now, 0 pushes, map[500:1]"},
			srv: []string{"in /panic: 1 calls, 1 timed, 0 now, 0 pushes, map[500:1]"}},
		{name: "push that fails", do: func(t *testing.T, x *ring) { x.sess.Push("/note", 4004) },
			cli: []string{"out /note: 0 calls, 0 timed, 0 now, 1 pushes, map[]"},
			srv: []string{"in /note: 0 calls, 0 timed, 0 now, 1 pushes, map[4004:1]"}},
		{name: "too many handlers", srvCfg: tp.PeerConfig{MaxHandlers: 1}, do: func(t *testing.T, x *ring) {
			x.sess.AsyncCall("/block", 1, nil, nil)
			synctest.Wait()
			x.sess.Call("/ok", 1, nil)
		},
			cli: []string{"out /block: 1 calls, 0 timed, 1 now, 0 pushes, map[]", "out /ok: 1 calls, 1 timed, 0 now, 0 pushes, map[503:1]"},
			srv: []string{"in /block: 1 calls, 0 timed, 1 now, 0 pushes, map[]", "in /ok: 1 calls, 0 timed, 0 now, 0 pushes, map[503:1]"}},
		{name: "refused by a plugin behind", do: func(t *testing.T, x *ring) {
			x.sess.Call("/ok", 1, nil, stop)
			x.sess.Push("/note", 1, stop)
		}, cli: []string{"out /note: 0 calls, 0 timed, 0 now, 1 pushes, map[4003:1]", "out /ok: 1 calls, 1 timed, 0 now, 0 pushes, map[4003:1]"}},
		{name: "refused by a plugin in front", gateFirst: true, do: func(t *testing.T, x *ring) {
			x.sess.Call("/ok", 1, nil, stop)
			x.sess.Push("/note", 1, stop)
		}, cli: []string{"out /note: 0 calls, 0 timed, 0 now, 1 pushes, map[4003:1]", "out /ok: 1 calls, 0 timed, 0 now, 0 pushes, map[4003:1]"}},
		// What a handler sends is not taken for what it serves.
		{name: "called back by a handler", do: func(t *testing.T, x *ring) { x.sess.Call("/back", 1, nil) },
			cli: []string{"in unknown: 0 calls, 0 timed, 0 now, 1 pushes, map[404:1]", "out /back: 1 calls, 1 timed, 0 now, 0 pushes, map[]"},
			srv: []string{"in /back: 1 calls, 1 timed, 0 now, 0 pushes, map[]", "out /never: 1 calls, 0 timed, 0 now, 1 pushes, map[499:1]"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newRing(t, test.srvCfg, test.cliCfg, test.gateFirst)
				defer x.unblock()
				test.do(t, x)
				synctest.Wait()
				if got := lines(x.cli); !slices.Equal(got, test.cli) {
					t.Errorf("here was counted %q; want %q", got, test.cli)
				}
				if got := lines(x.srv); !slices.Equal(got, test.srv) {
					t.Errorf("there was counted %q; want %q", got, test.srv)
				}
			})
		})
	}
}

// When all has ended nothing is under way, whatever has ended it.
func TestNothingStaysInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newRing(t, tp.PeerConfig{DefaultContextAge: time.Second}, tp.PeerConfig{RedialTimes: 5}, false)
		for i := range 50 {
			ctx, stop := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Millisecond)
			defer stop()
			for _, method := range []string{"/ok", "/block", "/panic", "/no"} {
				x.sess.AsyncCall(method, i, nil, nil, tp.WithContext(ctx))
			}
			if i%10 == 0 {
				synctest.Wait()
				x.net.Find(x.sess.LocalAddr().String()).Cut()
				synctest.Wait()
				x.sess.Call("/ok", i, nil) // waits for the redial
			}
		}
		time.Sleep(10 * time.Second)
		x.unblock()
		synctest.Wait()
		calls := uint64(0)
		for _, s := range []*stats.Stats{x.cli, x.srv} {
			for _, r := range s.Snapshot().Routes {
				if r.InFlight > 0 {
					t.Errorf("%s %s: %d calls are under way", r.Direction, r.Name, r.InFlight)
				}
				if r.Direction == stats.Out {
					calls += r.Calls
				}
			}
		}
		if calls != 205 {
			t.Errorf("%d calls were made here; want 205", calls)
		}
	})
}

// A push that found no room was not sent, so its bytes do not count.
func TestBytesOfRefusedPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newRing(t, tp.PeerConfig{}, tp.PeerConfig{WriteBound: 64 << 10}, false)
		arg := make([]int, 2000)
		x.sess.Push("/note", arg)
		frame := find(x.cli, stats.Out, "/note").BytesSent
		conn := x.net.Find(x.sess.LocalAddr().String())
		conn.Freeze()
		sent, refused := uint64(1), uint64(0)
		for range 100 {
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			if r := x.sess.Push("/note", arg, tp.WithContext(ctx)); r != nil {
				refused++
			} else {
				sent++
			}
			stop()
		}
		conn.Cut()
		got := find(x.cli, stats.Out, "/note")
		if refused == 0 || got.Pushes != 101 || got.Errors[408]+got.Errors[102] != refused || got.BytesSent != sent*frame {
			t.Errorf("%d pushes, errors %v, %d bytes; want 101, %d of 408 and 102, %d bytes", got.Pushes, got.Errors, got.BytesSent, refused, sent*frame)
		}
	})
}
