package heartbeat_test

import (
	"errors"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/heartbeat"
)

func TestRates(t *testing.T) {
	for _, test := range []struct {
		rate string
		ok   bool
	}{
		{"", true}, {"1", true}, {"3", true}, {"2147483647", true},
		{"0", false}, {"-1", false}, {"9223372036854775808", false}, {"2147483648", false},
		{"often", false}, {"1.5", false}, {" 1", false}, {"1s", false},
	} {
		bubble(t, "rate "+test.rate, func(t *testing.T) {
			e := newEnds(t, plugins(heartbeat.NewPong()), nil)
			for range 2 {
				r := e.cliSess.Call("/heartbeat", nil, nil, tp.WithAddMeta("hb_", test.rate)).Rerror()
				if test.ok && r != nil {
					t.Errorf("call: %s", r)
				}
				if want := tp.NewRerror(400, "invalid heartbeat rate", test.rate); !test.ok && (r == nil || r.String() != want.String()) {
					t.Errorf("call: %s; want %s", r, want)
				}
				if r := e.cliSess.Push("/heartbeat", nil, tp.WithAddMeta("hb_", test.rate)); r != nil {
					t.Errorf("push: %s", r)
				}
			}
			if lines := e.log.Errors(); len(lines) > 0 {
				t.Errorf("logged: %q", lines)
			}
		})
	}
}

// A peer that has sent no rate is not expected to beat; without one a later beat
// is a sign of life, and a bad one changes nothing.
func TestNoRate(t *testing.T) {
	bubble(t, "never", func(t *testing.T) {
		e := newEnds(t, plugins(heartbeat.NewPong()), nil)
		if r := e.cliSess.Call("/heartbeat", nil, nil).Rerror(); r != nil {
			t.Error(r)
		}
		after(24 * time.Hour)
		if n := e.srv.CountSession(); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
	bubble(t, "later", func(t *testing.T) {
		e := newEnds(t, plugins(heartbeat.NewPong()), nil)
		e.cliSess.Call("/heartbeat", nil, nil, tp.WithAddMeta("hb_", "2"))
		for _, text := range []string{"", "0", "", "x", ""} {
			after(3 * time.Second)
			e.cliSess.Call("/heartbeat", nil, nil, tp.WithAddMeta("hb_", text))
		}
		if n := e.srv.CountSession(); n != 1 {
			t.Fatalf("%d sessions", n)
		}
		begin := time.Now()
		<-e.srvSess.CloseNotify()
		if d := time.Since(begin); d != 4*time.Second {
			t.Errorf("ended after %v; want 4s", d)
		}
		wantSilent(t, "server", e.srvSess)
	})
	bubble(t, "another rate", func(t *testing.T) {
		e := newEnds(t, plugins(heartbeat.NewPong()), nil)
		for _, rate := range []string{"1000", "7", "2"} {
			e.cliSess.Call("/heartbeat", nil, nil, tp.WithAddMeta("hb_", rate))
		}
		begin := time.Now()
		<-e.srvSess.CloseNotify()
		if d := time.Since(begin); d != 4*time.Second {
			t.Errorf("ended after %v; want 4s", d)
		}
	})
}

// Whatever the mappers are.
func TestMappers(t *testing.T) {
	for _, test := range []struct {
		name   string
		mapper tp.ServiceMethodMapper
		want   int32 // of "heartbeat"
	}{
		{"http", tp.HTTPServiceMethodMapper, tp.CodeNotFound},
		{"rpc", tp.RPCServiceMethodMapper, 0},
		{"none", func(prefix, name string) string { return prefix + name }, 0},
	} {
		bubble(t, test.name, func(t *testing.T) {
			rec := newRecorder()
			cfg := tp.PeerConfig{Network: tptest.NewNetwork().Register(t), Mapper: test.mapper}
			srv := tptest.NewPeer(t, cfg, heartbeat.NewPong(), rec)
			sess := tptest.Dial(t, tptest.NewPeer(t, cfg, heartbeat.NewPing(5, true)), tptest.Listen(t, srv))
			if r := sess.Call("/heartbeat", nil, nil).Rerror(); r != nil {
				t.Errorf("/heartbeat: %s", r)
			}
			if r := sess.Call("heartbeat", nil, nil).Rerror(); r.HasError() != (test.want != 0) || r != nil && r.Code != test.want {
				t.Errorf("heartbeat: %s; want code %d", r, test.want)
			}
			for _, method := range []string{"/heartbeat", "heartbeat"} {
				if r := sess.Push(method, nil); r != nil {
					t.Errorf("push of %s: %s", method, r)
				}
			}
			after(12 * time.Second)
			pings := 0
			beats, _ := rec.recorded()
			for _, b := range beats {
				if b.rate == "5" && b.method == "/heartbeat" {
					pings++
				}
			}
			if pings != 2 {
				t.Errorf("%d beats in 12 s; want 2: %+v", pings, beats)
			}
		})
	}
}

// A peer that has no Pong is alive nevertheless.
func TestNoPong(t *testing.T) {
	bubble(t, "404", func(t *testing.T) {
		e := newEnds(t, nil, plugins(heartbeat.NewPing(1, true)))
		after(time.Minute)
		if e.cli.CountSession() != 1 || e.cliSess.CloseReason() != nil {
			t.Errorf("the session has ended: %v", e.cliSess.CloseReason())
		}
	})
}

// Rate and manner may be changed while beats go on.
func TestChange(t *testing.T) {
	bubble(t, "rate and type", func(t *testing.T) {
		rec := newRecorder()
		ping := heartbeat.NewPing(3600, true)
		newEnds(t, plugins(heartbeat.NewPong(), rec), plugins(ping))
		after(10 * time.Second)
		ping.SetRate(2)
		after(5 * time.Second)
		ping.UsePush()
		after(4 * time.Second)
		ping.UseCall() // nothing was received for long: one beat at once
		after(3 * time.Second)
		beats, times := rec.recorded()
		types := ""
		for _, b := range beats {
			types += string("?CRP"[b.mtype])
			if b.rate != "2" {
				t.Errorf("beat with the rate %s", b.rate)
			}
		}
		if types != "CCCPPCC" {
			t.Errorf("beats %s at %v; want CCCPPCC", types, times)
		}
	})
}

// A call timeout below the rate does not hide that the peer is dead.
func TestCallTimeout(t *testing.T) {
	bubble(t, "of the configuration", func(t *testing.T) {
		e := newEnds(t, plugins(heartbeat.NewPong()), plugins(heartbeat.NewPing(10, true)),
			func(c *tp.PeerConfig) { c.DefaultCallTimeout = time.Second })
		conn := e.conn()
		conn.Freeze()
		begin := time.Now()
		<-e.cliSess.CloseNotify()
		if d := time.Since(begin); d > 20*time.Second {
			t.Errorf("found out after %v; want two rates of 10s", d)
		}
		wantSilent(t, "client", e.cliSess)
		conn.Thaw()
	})
}

// Both plugins at both ends: their beats do not keep the dead alive.
func TestBoth(t *testing.T) {
	for _, useCall := range []bool{true, false} {
		bubble(t, map[bool]string{true: "call", false: "push"}[useCall], func(t *testing.T) {
			both := func() []tp.Plugin { return plugins(heartbeat.NewPong(), heartbeat.NewPing(2, useCall)) }
			e := newEnds(t, both(), both())
			after(time.Minute)
			if e.cli.CountSession() != 1 || e.srv.CountSession() != 1 {
				t.Fatalf("the session has ended: %v, %v", e.cliSess.CloseReason(), e.srvSess.CloseReason())
			}
			conn := e.conn()
			conn.Freeze()
			after(4*time.Second + 100*time.Millisecond)
			for _, s := range []tp.Session{e.cliSess, e.srvSess} {
				select {
				case <-s.CloseNotify():
					wantSilent(t, "session", s)
				default:
					t.Error("one side has not found out")
				}
			}
			conn.Thaw()
		})
	}
}

// Many idle sessions have as many goroutines as without the plugins.
func TestGoroutines(t *testing.T) {
	count := func(name string, server, client func() []tp.Plugin) (n int) {
		bubble(t, name, func(t *testing.T) {
			cfg := tp.PeerConfig{Network: tptest.NewNetwork().Register(t)}
			srv, cli := tptest.NewPeer(t, cfg, server()...), tptest.NewPeer(t, cfg, client()...)
			addr := tptest.Listen(t, srv)
			for range 500 {
				tptest.Dial(t, cli, addr)
			}
			after(50 * time.Second) // between two beats
			n = runtime.NumGoroutine()
			if srv.CountSession() != 500 {
				t.Errorf("%d sessions; want 500", srv.CountSession())
			}
		})
		return n
	}
	none := func() []tp.Plugin { return nil }
	without := count("without", none, none)
	with := count("with", func() []tp.Plugin { return plugins(heartbeat.NewPong()) },
		func() []tp.Plugin { return plugins(heartbeat.NewPing(20, true)) })
	if with > without+20 {
		t.Errorf("%d goroutines with the plugins, %d without", with, without)
	}
}

// Whatever comes with a beat, the answer is small and the session stays open.
func TestHostileMeta(t *testing.T) {
	for _, test := range []struct {
		name string
		add  func(*tp.Meta)
		want *tp.Rerror // nil: the beat is taken
	}{
		{"64 KiB of rate", func(m *tp.Meta) { m.Add("hb_", strings.Repeat("9", 64<<10)) },
			tp.NewRerror(400, "invalid heartbeat rate", strings.Repeat("9", 32)+"…")},
		{"64 KiB of something else", func(m *tp.Meta) { m.Add("x", strings.Repeat("9", 64<<10)); m.Add("hb_", "5") }, nil},
		{"a thousand keys", func(m *tp.Meta) {
			for i := range 1000 {
				m.Add(strconv.Itoa(i), "x")
			}
			m.Add("hb_", "5")
		}, nil},
		{"two rates, the first counts", func(m *tp.Meta) { m.Add("hb_", "5"); m.Add("hb_", "-1") }, nil},
		{"two rates, the first is none", func(m *tp.Meta) { m.Add("hb_", "-1"); m.Add("hb_", "5") },
			tp.NewRerror(400, "invalid heartbeat rate", "-1")},
		{"no text", func(m *tp.Meta) { m.Add("hb_", "\xff\x00\n") }, tp.NewRerror(400, "invalid heartbeat rate", "\uFFFD\x00\n")},
	} {
		bubble(t, test.name, func(t *testing.T) {
			e := newEnds(t, plugins(heartbeat.NewPong()), nil)
			set := func(m tp.Message) { test.add(m.Meta()) }
			r := e.cliSess.Call("/heartbeat", nil, nil, set).Rerror()
			if r.String() != test.want.String() {
				t.Errorf("call: %s; want %s", r, test.want)
			}
			if r := e.cliSess.Push("/heartbeat", nil, set); r != nil {
				t.Errorf("push: %s", r)
			}
			if r := e.cliSess.Call("/echo", "x", nil).Rerror(); r != nil {
				t.Errorf("the session after it: %s", r)
			}
			if lines := e.log.Errors(); len(lines) > 0 {
				t.Errorf("logged: %q", lines)
			}
		})
	}
}

// With its peer a plugin ends, whatever it was about to do; what is left would be
// found by the bubble. A normal end is worth no line of the log.
func TestStops(t *testing.T) {
	for _, test := range []struct {
		name string
		dead bool // the connection, with a beat under way
	}{{"between two beats", false}, {"during a beat", true}} {
		for _, side := range []string{"ping", "pong"} {
			bubble(t, test.name+", the peer of the "+side, func(t *testing.T) {
				ping, pong := heartbeat.NewPing(2, true), heartbeat.NewPong()
				e := newEnds(t, plugins(pong), plugins(ping))
				after(5 * time.Second)
				if test.dead {
					e.conn().Freeze()
					defer e.conn().Thaw()
					after(2 * time.Second)
				}
				p, sess := e.cli, e.cliSess
				if side == "pong" {
					p, sess = e.srv, e.srvSess
				}
				p.Close()
				<-sess.CloseNotify()
				if r := sess.CloseReason(); r.Side != tp.SideLocal || errors.Is(r, heartbeat.ErrSilent) {
					t.Errorf("the session ended with %v; want this side's Close", r)
				}
				after(time.Minute)
				if lines := e.log.Errors(); len(lines) > 0 {
					t.Errorf("logged: %q", lines)
				}
			})
		}
	}
}
