package outproc

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
	"github.com/teleport-go/teleport/protos/rawproto"
)

func init() {
	roles["rules"] = func() { guest.Serve(&rules{released: make(chan struct{})}) }
	roles["door"] = func() { guest.Serve(&door{}) }
}

// rules is a decider that does what the method says.
type rules struct {
	asked    atomic.Int64
	release  sync.Once
	released chan struct{}
}

func (*rules) Name() string        { return "rules" }
func (*rules) Hooks() []guest.Hook { return []guest.Hook{guest.OnCall, guest.OnPush} }
func (r *rules) Decide(_ context.Context, q guest.Question) guest.Decision {
	n := fmt.Sprint(os.Getpid(), "-", r.asked.Add(1))
	switch q.Method {
	case "/deny":
		return guest.Deny(403, "Forbidden", "not for "+q.Meta.Get("X-User"))
	case "/change":
		return guest.Decision{Delete: []string{"X-Bad"}, Set: map[string]string{"X-User": "admin"}}
	case "/old":
		return guest.Decision{Route: "/echo?from=old"}
	case "/cached":
		return guest.Decision{Set: map[string]string{"X-User": n}, TTL: time.Hour, Key: []string{"method", "meta:X-Token"}}
	case "/wrong":
		return guest.Decision{Route: "no route"}
	case "/hang":
		<-r.released
	case "/release":
		r.release.Do(func() { close(r.released) })
	case "/die":
		os.Exit(4)
	}
	return guest.Decision{}
}

// door is a decider that lets one connection in.
type door struct{ asked atomic.Int64 }

func (*door) Name() string        { return "door" }
func (*door) Hooks() []guest.Hook { return []guest.Hook{guest.OnAccept} }
func (d *door) Decide(_ context.Context, q guest.Question) guest.Decision {
	if q.Session != "self-test" && d.asked.Add(1) > 1 {
		return guest.Deny(403, "Forbidden", "the house is full")
	}
	return guest.Decision{}
}

// A Reboot hands over the sessions that a decider has let in, and does not ask about them
// again.
func TestDecidedSessionMoves(t *testing.T) {
	h := loadRole(t, "door")
	server := func(cfg tp.PeerConfig) (tp.Peer, error) {
		p, err := h.Plugin("door", patient)
		require.NoError(t, err)
		return tp.Open(cfg, p)
	}
	r := tptest.NewRebooted(t, tp.PeerConfig{}, server, func(cfg tp.PeerConfig) (tp.Peer, error) { return tp.Open(cfg) })
	r.Reboot() // fails if the decider is asked: it lets one connection in
}

// patient is for tests of decisions: a busy machine is no fault.
var patient = PluginConfig{Timeout: 20 * time.Second}

// decided returns a function that opens a session to a peer with the plugin. The routes
// of the peer answer with their path and two values of the metadata.
func decided(t *testing.T, h *Handle, name string, c PluginConfig) func() tp.Session {
	p, err := h.Plugin(name, c)
	require.NoError(t, err)
	srv := tptest.NewPeer(t, tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: rawproto.NewRawProtoFunc()}, p)
	for _, route := range []string{"/echo", "/change", "/cached", "/hang", "/release", "/die", "/wrong", "/deny"} {
		tp.HandleCall(srv, route, func(ctx tp.CallCtx, _ *string) (string, error) {
			return strings.Join([]string{ctx.ServiceMethod(), string(ctx.PeekMeta("X-User")), string(ctx.PeekMeta("X-Bad"))}, " "), nil
		})
	}
	addr := tptest.Listen(t, srv)
	cli := tptest.NewPeer(t, tp.PeerConfig{Protocol: rawproto.NewRawProtoFunc()})
	return func() tp.Session { return tptest.Dial(t, cli, addr) }
}

func call(sess tp.Session, method string, meta ...string) (out string, r *tp.Rerror) {
	var settings []tp.MessageSetting
	for i := 0; i < len(meta); i += 2 {
		settings = append(settings, tp.WithSetMeta(meta[i], meta[i+1]))
	}
	r = sess.Call(method, "", &out, settings...).Rerror()
	return out, r
}

// A decider allows, denies, changes metadata and reroutes.
func TestDecision(t *testing.T) {
	h := loadRole(t, "rules")
	sess := decided(t, h, "rules", patient)()
	for _, test := range []struct{ method, want string }{
		{"/echo", "/echo eve b"},
		{"/change", "/change admin "},
		{"/old", "/echo?from=old eve b"},
	} {
		out, r := call(sess, test.method, "X-User", "eve", "X-Bad", "b")
		require.NoError(t, r.Err(), test.method)
		require.Equal(t, test.want, out)
	}
	_, r := call(sess, "/deny", "X-User", "eve")
	require.EqualValues(t, 403, r.Code)
	require.Equal(t, "Forbidden", r.Message)
	require.Equal(t, "not for eve", r.Reason)
}

// The guest is not asked again for what the key of its answer covers.
func TestDecisionCache(t *testing.T) {
	h := loadRole(t, "rules")
	sess := decided(t, h, "rules", patient)()
	a, r := call(sess, "/cached", "X-Token", "a")
	require.NoError(t, r.Err())
	b, r := call(sess, "/cached", "X-Token", "b")
	require.NoError(t, r.Err())
	require.NotEqual(t, a, b, "another key")
	again, r := call(sess, "/cached", "X-Token", "a")
	require.NoError(t, r.Err())
	require.Equal(t, a, again)
	require.NoError(t, h.Reload(t.Context()))
	_, r = call(sess, "/echo")
	require.NoError(t, r.Err())
	renewed, r := call(sess, "/cached", "X-Token", "b")
	require.NoError(t, r.Err())
	require.NotEqual(t, b, renewed, "a new process is asked anew")
	require.NoError(t, h.Close())
	again, r = call(sess, "/cached", "X-Token", "b")
	require.NoError(t, r.Err())
	require.Equal(t, renewed, again, "decisions outlive the guest")
}

// A question that takes long holds up its session, and no other one.
func TestDecisionHangs(t *testing.T) {
	h := loadRole(t, "rules")
	dial := decided(t, h, "rules", patient)
	slow, quick := dial(), dial()
	var out string
	waits := slow.AsyncCall("/hang", "", &out, make(chan tp.CallCmd, 1))
	_, r := call(quick, "/echo")
	require.NoError(t, r.Err())
	_, r = call(quick, "/release")
	require.NoError(t, r.Err())
	<-waits.Done()
	require.NoError(t, waits.Rerror().Err())
}

// What is not decided is denied, or allowed if the plugin says so.
func TestDecisionFails(t *testing.T) {
	h := loadRole(t, "rules")
	closed := decided(t, h, "rules", patient)()
	hurried := decided(t, h, "rules", PluginConfig{Timeout: 10 * time.Millisecond})()
	open := decided(t, h, "rules", PluginConfig{Timeout: 10 * time.Millisecond, FailOpen: true})()
	denied := func(sess tp.Session, method, words string) {
		t.Helper()
		_, r := call(sess, method)
		require.Equal(t, CodeGuestUnavailable, r.Code, "%v", r)
		require.Contains(t, r.Reason, words)
	}
	allowed := func(method string) {
		t.Helper()
		out, r := call(open, method)
		require.NoError(t, r.Err())
		require.Equal(t, method+"  ", out)
	}
	denied(closed, "/wrong", `the route "no route" of the decision does not begin with /`)
	denied(hurried, "/hang", "decider rules has not decided on this call")
	denied(closed, "/die", "decider rules has not decided on this call") // the second process ends too
	_, r := call(closed, "/echo")
	require.NoError(t, r.Err(), "the third process")
	allowed("/wrong")
	allowed("/hang")
	_, r = call(closed, "/release") // so that Close need not wait for it
	require.NoError(t, r.Err())
	require.NoError(t, h.Close())
	denied(closed, "/echo", "it was closed")
	allowed("/echo")
	allowed("/deny")
}

// A connection that a decider denies is closed.
func TestDecisionAccept(t *testing.T) {
	h := loadRole(t, "door")
	dial := decided(t, h, "door", patient)
	first := dial()
	_, r := call(first, "/echo")
	require.NoError(t, r.Err())
	_, r = call(dial(), "/echo")
	require.Error(t, r.Err())
	_, r = call(first, "/echo")
	require.NoError(t, r.Err())
}

func TestParseDecision(t *testing.T) {
	for _, test := range []struct{ name, answer, words string }{
		{"garbage", "\x00\xff", "is no decision"},
		{"null", "null", "the answer null is no decision"},
		{"metadata of a connection", `{"set":{"a":"b"}}`, "changes the route or the metadata of a connection"},
		{"negative ttl", `{"ttl_ns":-1}`, "the ttl of the decision is -1ns"},
		{"long ttl", `{"ttl_ns":86400000000001}`, "at most 24h0m0s is allowed"},
		{"unknown field", `{"key":["colour"]}`, `the key of the decision has the field "colour"`},
		{"no key", `{"key":["meta:"]}`, `the key of the decision has the field "meta:"`},
		{"long key", `{"key":["method","method","method","method","method","method","method","method","method"]}`, "has 9 fields, at most 8"},
		{"large", strings.Repeat(" ", maxAnswer) + "{}", "at most 1048576 are allowed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseDecision([]byte(test.answer), guest.OnAccept)
			require.ErrorContains(t, err, test.words)
		})
	}
}

func FuzzParseDecision(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseDecision(b, guest.OnCall)
		if err == nil {
			keyID(&guest.Question{}, d.Key)
		}
	})
}

// The cache is bounded, and other keys of a hook do not hide one another.
func TestDecisions(t *testing.T) {
	var c decisions
	now := time.Now()
	byMethod := &decision{guest.Decision{Key: []string{"method"}, TTL: time.Minute}}
	byRemote := &decision{guest.Decision{Key: []string{"remote"}, TTL: time.Minute}}
	c.keep(&guest.Question{Hook: guest.OnCall, Method: "/m", Remote: "10.0.0.1:1"}, byMethod, nil, 1, now)
	c.keep(&guest.Question{Hook: guest.OnCall, Method: "/n", Remote: "10.0.0.2:1"}, byRemote, nil, 1, now)
	require.Same(t, byMethod, c.find(&guest.Question{Hook: guest.OnCall, Method: "/m", Remote: "10.0.0.9:1"}, nil, now))
	require.Same(t, byRemote, c.find(&guest.Question{Hook: guest.OnCall, Method: "/x", Remote: "10.0.0.2:7"}, nil, now))
	require.Nil(t, c.find(&guest.Question{Hook: guest.OnPush, Method: "/m"}, nil, now), "another hook")
	require.Nil(t, c.find(&guest.Question{Hook: guest.OnCall, Method: "/m"}, nil, now.Add(time.Minute)), "over its TTL")
	c.keep(&guest.Question{Hook: guest.OnCall, Method: "/large"}, byMethod, nil, maxKeptDecision+1, now)
	require.Nil(t, c.find(&guest.Question{Hook: guest.OnCall, Method: "/large"}, nil, now))
	for i := range maxDecisions + 10 {
		c.keep(&guest.Question{Hook: guest.OnCall, Method: fmt.Sprint(i)}, byMethod, nil, 1, now)
	}
	require.LessOrEqual(t, len(c.entries), maxDecisions)
}
