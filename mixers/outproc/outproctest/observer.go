package outproctest

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/outproc"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

var observerChecks = []check{
	{name: "batches", byHand: observerBatches},
	{name: "garbage", byHand: observerGarbage},
	{name: "events", run: observerEvents},
}

// observerBatches: whatever a host may send is taken.
func observerBatches(b *byHand, part contract.Part) {
	conn := b.open()
	event := `{"kind":"call","sent":true,"method":"/math/add?x=1","code":404,"message":"Not Found","cost_ns":51200,` +
		`"time":"2026-01-02T03:04:05.678901234+01:00","session":"10.0.0.7:53412","remote":"10.0.0.7:53412","meta":{"X-User":"h\u00e9llo \"\\\n"}}`
	large := `{"kind":"push","method":"` + strings.Repeat("m", 1024) + `","message":"` + strings.Repeat("w", 1024) + `"}`
	for _, test := range []struct{ name, body string }{
		{"an empty object", `{}`},
		{"no events", `{"events":[]}`},
		{"one event", `{"events":[` + event + `]}`},
		{"an event without keys", `{"events":[{}]}`},
		{"unknown keys", `{"events":[{"kind":"call","new":{"a":[1]}}],"new":null}`},
		{"an unknown kind", `{"events":[{"kind":"stream"}]}`},
		{"dropped events alone", `{"dropped":18446744073709551615}`},
		{"256 events", `{"events":[` + strings.Repeat(event+",", 255) + event + `],"dropped":3}`},
		{"256 large events", `{"events":[` + strings.Repeat(large+",", 255) + large + `]}`},
	} {
		reply := b.answer(conn, contract.ObserverRoute(part.Name), test.name, []byte(test.body))
		require.Empty(b.t, reply, "%s: the REPLY of an observer has no body", test.name)
	}
}

// observerGarbage: what is no batch does not end the guest.
func observerGarbage(b *byHand, part contract.Part) {
	conn := b.open()
	for _, body := range []string{"", "no json", `{"events":`, `{"events":[{"kind":"call"}`, "[]", `{"events":3}`, "\x00\xff"} {
		b.wantRefused(conn, contract.ObserverRoute(part.Name), body)
	}
}

// observerEvents: the guest takes the events of a peer, while it answers, and when it is
// closed.
func observerEvents(t *testing.T, h *outproc.Handle, part contract.Part) {
	p, err := h.Plugin(part.Name)
	require.NoError(t, err)
	srv, dial := peers(t, p)
	sess, r := dial()
	require.NoError(t, r.Err())
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				var out string
				if r := sess.Call(anyRoute, "x", &out, tp.WithSetMeta("X-User", "eve")).Rerror(); r.HasError() {
					t.Errorf("a call that is observed: %s", r)
					return
				}
				if r := sess.Push("/outproctest/no-such-push", "x"); r.HasError() {
					t.Errorf("a push that is observed: %s", r)
					return
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, srv.Close())
	require.NoError(t, h.Close())
	require.Zero(t, h.Dropped(), "events that the guest has not taken")
	require.Zero(t, h.Restarts())
}

const anyRoute = "/outproctest/any"

// peers returns a peer with the plugin that answers calls of all routes, and a function that
// dials it from another one.
func peers(t *testing.T, p tp.Plugin) (srv tp.Peer, dial func() (tp.Session, *tp.Rerror)) {
	network := tptest.NewNetwork().Register(t)
	srv = tptest.NewPeer(t, tp.PeerConfig{Network: network, Logger: tptest.Logger(t)}, p)
	srv.SetUnknownCall(func(tp.UnknownCallCtx) (any, *tp.Rerror) { return "", nil })
	srv.SetUnknownPush(func(tp.UnknownPushCtx) *tp.Rerror { return nil })
	cli := tptest.NewPeer(t, tp.PeerConfig{Network: network})
	addr := tptest.Listen(t, srv)
	return srv, func() (tp.Session, *tp.Rerror) { return cli.Dial(addr) }
}
