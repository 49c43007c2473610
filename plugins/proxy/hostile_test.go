package proxy_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/proxy"
)

// Much or strange metadata passes in its order, and hurts neither session.
func TestHostileMeta(t *testing.T) {
	var thousand, same [][2]string
	for i := range 1000 {
		thousand = append(thousand, [2]string{"key" + strconv.Itoa(i), "v"})
		same = append(same, [2]string{"k", strconv.Itoa(i)})
	}
	long := strings.Repeat("v", 64<<10)
	for _, test := range []struct {
		name       string
		sent, want [][2]string // want: nil is what was sent
	}{
		{"a value of 64 KiB", [][2]string{{"k", long}}, nil},
		{"a key of 64 KiB", [][2]string{{long, "v"}}, nil},
		{"a thousand keys", thousand, nil},
		{"a key a thousand times", same, nil},
		{"64 KiB of real IP", [][2]string{{"X-Real-IP", long}, {"X-REAL-IP", long}, {"k", "v"}}, [][2]string{{"k", "v"}}},
		{"64 KiB of time", [][2]string{{"X-TIMEOUT", strings.Repeat("9", 64<<10)}}, [][2]string{}},
		{"64 KiB of error", [][2]string{{"X-Reply-error", long}}, [][2]string{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var lines tptest.Lines
			c := newChain(t, config{out: tp.PeerConfig{Logger: lines.Logger()}, proxy: tp.PeerConfig{Logger: lines.Logger()}})
			got := c.record()
			want := test.want
			if want == nil {
				want = test.sent
			}
			set := func(m tp.Message) {
				for _, kv := range test.sent {
					m.Meta().Add(kv[0], kv[1])
				}
			}
			check := func(kind string) {
				t.Helper()
				g := <-got
				if n := len(g.meta); n == 0 || g.meta[n-1] != [2]string{tp.MetaRealIP, c.client.LocalAddr().String()} || !slices.Equal(g.meta[:n-1], want) {
					t.Errorf("%s: the backend got %d pairs; want %d and X-Real-IP", kind, n, len(want))
				}
			}
			if r := c.client.Call("/raw", []byte("x"), nil, set).Rerror(); r != nil {
				t.Fatalf("Call: %s", r)
			}
			check("CALL")
			if r := c.client.Push("/raw", []byte("x"), set); r != nil {
				t.Fatalf("Push: %s", r)
			}
			check("PUSH")
			if lines := lines.Errors(); len(lines) > 0 {
				t.Errorf("logged: %q", lines)
			}
		})
	}
}

// Backends are chosen by the method; one that has no backend is 404.
func TestBackendsByMethod(t *testing.T) {
	var c *chain
	var others tp.Session
	c = newChain(t, config{choose: func(l *proxy.Label) proxy.Forwarder {
		switch {
		case strings.HasPrefix(l.ServiceMethod, "/a/"):
			return c.via
		case strings.HasPrefix(l.ServiceMethod, "/b/"):
			return others
		}
		return nil
	}})
	other := tptest.NewPeer(t, tp.PeerConfig{Network: c.network()})
	others = tptest.Dial(t, c.out, tptest.Listen(t, other))
	for name, p := range map[string]tp.Peer{"first": c.backend, "second": other} {
		for _, method := range []string{"/a/who", "/b/who", "/c/who"} {
			tp.HandleCall(p, method, func(tp.CallCtx, *string) (string, error) { return name, nil })
		}
	}
	for _, test := range []struct {
		method, want string
		code         int32
	}{
		{"/a/who", "first", 0},
		{"/b/who?x=/a/who", "second", 0},
		{"/c/who", "", tp.CodeNotFound},
		{"/a/../b/who", "", tp.CodeNotFound}, // sent to the first, which has no such route
	} {
		var got string
		r := c.client.Call(test.method, "", &got).Rerror()
		if got != test.want || r.HasError() != (test.code != 0) || r != nil && r.Code != test.code {
			t.Errorf("Call(%q) = %q, %s; want %q, code %d", test.method, got, r, test.want, test.code)
		}
	}
}
