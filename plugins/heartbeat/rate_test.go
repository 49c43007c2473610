package heartbeat

import (
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// A rate from the peer is within bounds, and two of it are no overflow.
func FuzzParseRate(f *testing.F) {
	for _, text := range []string{"1", "30", "2147483647", "2147483648", "9223372036854775808", "-1", "0", "", "+5", "1e3", "0x10", "٣"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		rate, ok := parseRate(text)
		if !ok {
			if rate != 0 {
				t.Errorf("parseRate(%q) = %v, false", text, rate)
			}
			return
		}
		if rate < time.Second || 2*rate <= rate || rate%time.Second != 0 {
			t.Errorf("parseRate(%q) = %v", text, rate)
		}
		if again, ok := parseRate([]byte(rateText(rate))); !ok || again != rate {
			t.Errorf("%v is sent as %q and read as %v, %v", rate, rateText(rate), again, ok)
		}
	})
}

// The list is empty, and the timer stands still, when no session is left; and it
// begins anew with the next one.
func TestEmptyAgenda(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ping, pong := NewPing(2, true).(*ping), NewPong().(*pong)
		size := func(a *schedule) int {
			a.mu.Lock()
			defer a.mu.Unlock()
			return len(a.list)
		}
		cfg := tp.PeerConfig{Network: tptest.NewNetwork().Register(t)}
		srv, cli := tptest.NewPeer(t, cfg, pong), tptest.NewPeer(t, cfg, ping)
		addr := tptest.Listen(t, srv)
		for range 3 {
			list := []tp.Session{tptest.Dial(t, cli, addr), tptest.Dial(t, cli, addr), tptest.Dial(t, cli, addr)}
			<-time.After(5 * time.Second)
			synctest.Wait()
			if a, b := size(&ping.schedule), size(&pong.schedule); a != 3 || b != 3 {
				t.Errorf("%d and %d sessions are watched; want 3", a, b)
			}
			for i, s := range list {
				s.Close()
				<-time.After(2 * time.Second) // the other side has noticed
				synctest.Wait()
				if a, b := size(&ping.schedule), size(&pong.schedule); a != 2-i || b != 2-i {
					t.Errorf("%d and %d sessions are watched; want %d", a, b, 2-i)
				}
			}
			if ping.timer.Stop() || pong.timer.Stop() {
				t.Error("a timer runs for nobody")
			}
		}
	})
}

// Sessions come and go, their visits in any order.
func TestAgenda(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a schedule
		type seen struct {
			w  *watched
			at int64
		}
		var got []seen
		a = schedule{begin: time.Now(), grain: func() int64 { return 0 }, check: func(w *watched, now int64) int64 {
			got = append(got, seen{w, now})
			if len(got) > 6 {
				return 0
			}
			return now + 100
		}}
		x, y, z := &watched{index: -1}, &watched{index: -1}, &watched{index: -1}
		a.put(x, 50)
		a.put(y, 10)
		a.put(z, 30)
		a.put(x, 20) // sooner
		a.put(y, 99) // later: no
		a.remove(z)
		a.put(z, 1) // gone
		<-time.After(time.Second)
		synctest.Wait()
		want := []seen{{y, 10}, {x, 20}, {y, 110}, {x, 120}, {y, 210}, {x, 220}, {y, 310}}
		for i, w := range want {
			if i >= len(got) || got[i] != w {
				t.Fatalf("visit %d of %d is not the one at %d", i, len(got), w.at)
			}
		}
	})
}
