package proxy_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/proxy"
)

const maxHops = 16 // README

// ring makes two proxies that forward to each other, and a client of the first. Each
// message is counted when a proxy has it, and slowed down by pause.
func ring(t *testing.T, lines *tptest.Lines, pause time.Duration) (client tp.Session, forwards *atomic.Int64) {
	t.Helper()
	net := tptest.NewNetwork().Register(t)
	forwards = new(atomic.Int64)
	var to [2]tp.Session
	var addr [2]string
	for i := range to {
		p := tptest.NewPeer(t, tp.PeerConfig{Network: net, Logger: lines.Logger()}, proxy.NewPlugin(func(*proxy.Label) proxy.Forwarder {
			forwards.Add(1)
			time.Sleep(pause)
			return to[i]
		}))
		addr[i] = tptest.Listen(t, p)
	}
	for i := range to {
		to[i] = tptest.Dial(t, tptest.NewPeer(t, tp.PeerConfig{Network: net}), addr[1-i])
	}
	return tptest.Dial(t, tptest.NewPeer(t, tp.PeerConfig{Network: net}), addr[0]), forwards
}

// A message that goes round is stopped, and its sender or the log says why.
func TestLoop(t *testing.T) {
	level := tp.GetLoggerLevel()
	defer func() { tp.SetLoggerLevel2(level) }()
	tp.SetLoggerLevel("WARN")
	synctest.Test(t, func(t *testing.T) {
		var lines tptest.Lines
		client, forwards := ring(t, &lines, 0)
		r := client.Call("/x", 1, nil).Rerror()
		if r == nil || r.Code != tp.CodeLoopDetected || r.Message != "Loop Detected" || !strings.Contains(r.Reason, `"/x" was forwarded by 16 proxies`) {
			t.Errorf("the call: %v, want %d with the path and the number", r, tp.CodeLoopDetected)
		}
		if n := forwards.Swap(0); n != maxHops {
			t.Errorf("the call was forwarded %d times, want %d", n, maxHops)
		}
		if r := client.Push("/y", 1); r != nil {
			t.Fatal(r)
		}
		synctest.Wait()
		if n := forwards.Load(); n != maxHops {
			t.Errorf("the push was forwarded %d times, want %d", n, maxHops)
		}
		if all := fmt.Sprint(lines.All()); !strings.Contains(all, "level=WARN") || !strings.Contains(all, "was forwarded by 16 proxies") {
			t.Errorf("logged: %s; want why the push has ended", all)
		}
	})
}

func TestLoopDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines tptest.Lines
		client, forwards := ring(t, &lines, time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		if r := client.Call("/x", 1, nil, tp.WithContext(ctx)).Rerror(); r == nil || r.Code != tp.CodeHandleTimeout {
			t.Errorf("the call: %v, want %d", r, tp.CodeHandleTimeout)
		}
		time.Sleep(time.Minute)
		if n := forwards.Load(); n < 4 || n > 7 {
			t.Errorf("the call was forwarded %d times in 5.5 s, one a second", n)
		}
	})
}

func TestHops(t *testing.T) {
	c := newChain(t, config{})
	got := make(chan string, 1)
	tp.HandleCall(c.backend, "/hops", func(ctx tp.CallCtx, _ *int) (int, error) {
		got <- fmt.Sprint(pairsOf(ctx.CopyMeta(), tp.MetaHops))
		ctx.SetMeta(tp.MetaHops, "7") // does not pass
		return 0, nil
	})
	for _, test := range []struct {
		sent []string // key, value, …
		want string   // "": refused
	}{
		{nil, "[1]"},
		{[]string{"X-Hops", "0"}, "[1]"},
		{[]string{"X-Hops", "15"}, "[16]"},
		{[]string{"X-Hops", "16"}, ""},
		{[]string{"X-Hops", "17"}, ""},
		{[]string{"x-hops", "16"}, ""},
		{[]string{"X-Hops", "3", "X-HOPS", "9", "X-Hops", "4"}, "[10]"},
		{[]string{"X-Hops", strings.Repeat("9", 100)}, ""},
		{[]string{"X-Hops", "-1"}, "[1]"},
		{[]string{"X-Hops", "many"}, "[1]"},
		{[]string{"X-Hops", ""}, "[1]"},
	} {
		t.Run(fmt.Sprint(test.sent), func(t *testing.T) {
			cmd := c.client.Call("/hops", 1, nil, func(m tp.Message) {
				for i := 0; i < len(test.sent); i += 2 {
					m.Meta().Add(test.sent[i], test.sent[i+1])
				}
			})
			if r := cmd.Rerror(); test.want == "" {
				if r == nil || r.Code != tp.CodeLoopDetected {
					t.Errorf("the call: %v, want %d", r, tp.CodeLoopDetected)
				}
				return
			} else if r != nil {
				t.Fatal(r)
			}
			if hops := <-got; hops != test.want {
				t.Errorf("the backend got %s, want %s", hops, test.want)
			}
			if back := pairsOf(cmd.InputMeta(), tp.MetaHops); len(back) > 0 {
				t.Errorf("the reply has the hops %q", back)
			}
		})
	}
}

// pairsOf returns the values of the key, in any case.
func pairsOf(m *tp.Meta, key string) (values []string) {
	for k, v := range m.All() {
		if strings.EqualFold(string(k), key) {
			values = append(values, string(v))
		}
	}
	return values
}

// The peer of the proxy does not dial itself.
func TestOwnListener(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "0.0.0.0"} {
		t.Run(ip, func(t *testing.T) {
			p := tptest.NewPeer(t, tp.PeerConfig{Network: "tcp", LocalIP: ip}, proxy.NewPlugin(func(*proxy.Label) proxy.Forwarder { return nil }))
			addr := tptest.Listen(t, p)
			_, port, _ := strings.Cut(addr[strings.LastIndex(addr, ":"):], ":")
			if _, r := p.Dial("127.0.0.1:" + port); r == nil || !strings.Contains(r.Reason, "listens on "+addr) {
				t.Errorf("Dial of the own listener: %v, want an error that names it", r)
			}
			other := tptest.NewPeer(t, tp.PeerConfig{Network: "tcp", LocalIP: "127.0.0.1"})
			if _, r := p.Dial(tptest.Listen(t, other)); r != nil {
				t.Errorf("Dial of another peer: %v", r)
			}
		})
	}
}
