package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/auth"
	"github.com/teleport-go/teleport/plugins/heartbeat"
	"github.com/teleport-go/teleport/plugins/stats"
	"github.com/teleport-go/teleport/protos/httproto"
	"github.com/teleport-go/teleport/protos/jsonproto"
	"github.com/teleport-go/teleport/protos/pbproto"
	"github.com/teleport-go/teleport/protos/rawproto"
	"github.com/teleport-go/teleport/protos/thriftproto"
)

// open is a gateway with its two backends, and a client's way of connecting.
func open(t *testing.T) (g *gateway, noted chan string) {
	t.Helper()
	noted = make(chan string, 10)
	backends := make(map[string]string)
	for prefix, routes := range map[string]func(tp.Peer){"/orders/": orders(noted), "/prices/": prices} {
		b := newBackend(0, routes)
		t.Cleanup(func() { b.Close() })
		backends[prefix] = b.Addrs()[0].String()
	}
	g, err := newGateway(map[string]string{"secret of ann": "ann"}, backends)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g, noted
}

func connect(t *testing.T, addr, token string, pf tp.ProtoFunc) (tp.Session, string, *tp.Rerror) {
	t.Helper()
	welcome := ""
	cli := tp.NewPeer(tp.PeerConfig{DefaultCallTimeout: 10 * time.Second, RedialTimes: 5, RedialInterval: time.Millisecond},
		auth.NewBearerPlugin(func(_ auth.Session, send auth.SendOnce) *tp.Rerror { return send(token, &welcome) }),
		heartbeat.NewPingEvery(time.Second, true)) // ends what is silent for three of them
	t.Cleanup(func() { cli.Close() })
	sess, rerr := cli.Dial(addr, pf)
	return sess, welcome, rerr
}

// Clients of every protocol are accepted or refused, their calls and
// pushes reach backends that speak another, and their heartbeats are answered.
func TestProtocols(t *testing.T) {
	for _, test := range []struct {
		name string
		pf   tp.ProtoFunc
		push bool
	}{
		{"raw", rawproto.NewRawProtoFunc(), true},
		{"raw v5", rawproto.NewRawProtoFunc(rawproto.V5), true},
		{"raw v7", rawproto.NewRawProtoFunc(rawproto.V7), true},
		{"json", jsonproto.NewJSONProtoFunc(), true},
		{"protobuf", pbproto.NewPbProtoFunc(), true},
		{"http", httproto.NewHTTProtoFunc(), false},
		{"thrift", thriftproto.NewBinaryProtoFunc(), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // each waits for a few heartbeats
			g, noted := open(t)
			if err := g.front.Listen(test.pf); err != nil {
				t.Fatal(err)
			}
			addr := g.front.Addrs()[1].String()
			if sess, _, rerr := connect(t, addr, "a guess", test.pf); sess != nil || rerr == nil || rerr.String() != tp.NewRerror(403, "Forbidden", "nobody has this token").String() {
				t.Errorf("a wrong token: %s; want the checker's 403", rerr)
			}
			sess, welcome, rerr := connect(t, addr, "secret of ann", test.pf)
			if rerr != nil || welcome != "welcome, ann" {
				t.Fatalf("the right token: %q, %s", welcome, rerr)
			}
			for i := range 2 {
				answer, err := tp.Invoke[string](t.Context(), sess, "/orders/buy", Order{"apples", 3}, tp.WithSetMeta(metaUser, "bob"))
				if answer != "ann bought 3 apples" || err != nil {
					t.Errorf("a call after %d breaks: %q, %v", i, answer, err)
				}
				_, err = tp.Invoke[string](t.Context(), sess, "/orders/buy", Order{"apples", 0})
				if want := tp.NewRerror(1001, "nothing to buy", "apples"); !errors.Is(err, want.Err()) {
					t.Errorf("a call that fails: %v; want %v", err, want)
				}
				if test.push {
					if rerr := sess.Push("/orders/viewed", "pears"); rerr != nil {
						t.Errorf("a push: %s", rerr)
					}
					if got := receive(t, noted); got != "ann looks at pears" {
						t.Errorf("a push arrived as %q", got)
					}
				}
				before := beats(g.counts.Snapshot(), stats.In)
				if !g.until(func(s stats.Snapshot) bool { return beats(s, stats.In) > before+1 }) {
					t.Error("no heartbeats are seen")
				}
				if i == 0 {
					redial(t, sess)
				}
			}
		})
	}
}

// redial breaks the connection and returns when there is another.
func redial(t *testing.T, sess tp.Session) {
	t.Helper()
	sess.(tp.Breaker).Break(errors.New("the test breaks it"))
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		// Until the break is noticed calls are lost with the old connection.
		if _, err := tp.Invoke[string](t.Context(), sess, "/orders/buy", Order{"plums", 1}); !errors.Is(err, tp.ErrConnClosed) {
			return
		}
	}
	t.Fatal("there is no new connection")
}

func receive(t *testing.T, noted <-chan string) string {
	t.Helper()
	select {
	case s := <-noted:
		return s
	case <-time.After(10 * time.Second):
		t.Fatal("nothing has arrived")
		return ""
	}
}

// Metadata that has room in the client's frame and none in the one behind the
// gateway costs that call, and nothing else.
func TestFullMetadata(t *testing.T) {
	g, _ := open(t)
	sess, _, rerr := connect(t, g.front.Addrs()[0].String(), "secret of ann", nil)
	if rerr != nil {
		t.Fatal(rerr)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	room := 1<<16 - 1 - len("k=") - len("&X-Timeout=10000")
	_, err := tp.Invoke[string](ctx, sess, "/orders/buy", Order{"apples", 3}, tp.WithSetMeta("k", strings.Repeat("v", room)))
	if !errors.Is(err, tp.NewRerror(tp.CodeBadGateway, "", "").Err()) {
		t.Errorf("full metadata: %v; want 502", err)
	}
	if _, err = tp.Invoke[string](ctx, sess, "/orders/buy", Order{"apples", 3}); err != nil {
		t.Errorf("the next call: %v", err)
	}
	if n := g.counts.Snapshot().Redials; n != 0 {
		t.Errorf("%d redials; want no session hurt", n)
	}
}
