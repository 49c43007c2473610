//go:build unix

package outproc

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// envFile is the file that the guest "audit" appends its batches to.
const envFile = "OUTPROC_TEST_FILE"

func init() {
	roles["audit"] = func() {
		f, err := os.OpenFile(os.Getenv(envFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		guest.Serve(audit{json.NewEncoder(f)})
	}
	roles["bad name"] = func() { guest.Serve(badName{}) }
}

// audit is an observer that writes its batches down.
type audit struct{ to *json.Encoder }

func (audit) Name() string       { return "audit" }
func (audit) MetaKeys() []string { return []string{"X-User"} }
func (a audit) Observe(b guest.Batch) {
	if err := a.to.Encode(b); err != nil {
		panic(err)
	}
}

type badName struct{}

func (badName) Name() string        { return "an/audit" }
func (badName) Observe(guest.Batch) {}

// loadAudit loads the guest, and returns a function that closes it and returns what it has
// got.
func loadAudit(t *testing.T) (*Handle, func() (events []guest.Event, dropped uint64)) {
	file := filepath.Join(t.TempDir(), "events")
	h := loadRole(t, "audit", func(g *Guest) {
		g.Env = append(g.Env, envFile+"="+file)
		g.pingEvery = time.Hour // a stopped process is not to be killed
	})
	return h, func() (events []guest.Event, dropped uint64) {
		require.NoError(t, h.Close())
		f, err := os.Open(file)
		require.NoError(t, err)
		defer f.Close()
		for d := json.NewDecoder(f); ; {
			var b guest.Batch
			if err := d.Decode(&b); errors.Is(err, io.EOF) {
				return events, dropped
			} else {
				require.NoError(t, err)
			}
			require.LessOrEqual(t, len(b.Events), batchEvents)
			events, dropped = append(events, b.Events...), dropped+b.Dropped
		}
	}
}

// observed returns two peers with the plugin, and a session between them.
func observed(t *testing.T, h *Handle) (srv, cli tp.Peer, sess tp.Session) {
	p, err := h.Plugin("audit")
	require.NoError(t, err)
	srv = tptest.NewPeer(t, tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: rawproto.NewRawProtoFunc()}, p)
	tp.HandleCall(srv, "/say", func(_ tp.CallCtx, text *string) (string, error) {
		if *text == "no" {
			return "", tp.NewRerror(499, "No", "").Err()
		}
		return *text, nil
	})
	tp.HandlePush(srv, "/tell", func(tp.PushCtx, *string) error { return nil })
	cli = tptest.NewPeer(t, tp.PeerConfig{Protocol: rawproto.NewRawProtoFunc()}, p)
	return srv, cli, tptest.Dial(t, cli, tptest.Listen(t, srv))
}

// An observer gets an event for each call and push, made or served, when Close returns.
func TestObserver(t *testing.T) {
	h, end := loadAudit(t)
	srv, cli, sess := observed(t, h)
	var out string
	require.NoError(t, sess.Call("/say", "hello", &out, tp.WithSetMeta("X-User", "eve"), tp.WithSetMeta("X-Secret", "s")).Rerror().Err())
	require.EqualValues(t, 499, sess.Call("/say", "no", &out).Rerror().Code)
	require.EqualValues(t, tp.CodeNotFound, sess.Call("/nowhere", "", &out).Rerror().Code)
	require.NoError(t, sess.Push("/tell", "x").Err())
	require.NoError(t, sess.Call("/say", "after the push", &out).Rerror().Err())
	require.NoError(t, cli.Close())
	require.NoError(t, srv.Close())
	events, dropped := end()
	require.Zero(t, dropped)
	require.Zero(t, h.Dropped())
	type short struct {
		kind, method string
		sent         bool
		code         int32
		user         string
	}
	count := make(map[short]int)
	for _, e := range events {
		count[short{e.Kind, e.Method, e.Sent, e.Code, e.Meta["X-User"]}]++
		require.NotContains(t, e.Meta, "X-Secret", "metadata that was not asked for")
		require.NotEmpty(t, e.Session)
		require.NotEmpty(t, e.Remote)
		require.WithinDuration(t, time.Now(), e.Time, time.Hour)
		if e.Code != tp.CodeNotFound || e.Sent {
			require.Positive(t, e.Cost, "%+v", e)
		}
	}
	want := make(map[short]int)
	for _, sent := range []bool{false, true} {
		want[short{"call", "/say", sent, 0, "eve"}] = 1
		want[short{"call", "/say", sent, 0, ""}] = 1
		want[short{"call", "/say", sent, 499, ""}] = 1
		want[short{"call", "/nowhere", sent, tp.CodeNotFound, ""}] = 1
		want[short{"push", "/tell", sent, 0, ""}] = 1
	}
	require.Equal(t, want, count)
}

// Messages go on while the guest is stopped. The oldest events are dropped and counted, and
// the guest learns how many.
func TestObserverStopped(t *testing.T) {
	h, end := loadAudit(t)
	srv, cli, sess := observed(t, h)
	pid := activePID(h)
	stop(t, pid)
	o := h.parts[0].part.(*observer)
	const more = 1000
	for range ringEvents + batchEvents + more { // a batch may be under way
		o.put(guest.Event{Kind: "old"})
	}
	require.GreaterOrEqual(t, h.Dropped(), uint64(more))
	var out string
	require.NoError(t, sess.Call("/say", "hello", &out).Rerror().Err())
	require.NoError(t, cli.Close())
	require.NoError(t, srv.Close())
	require.NoError(t, syscall.Kill(pid, syscall.SIGCONT))
	events, dropped := end()
	require.Equal(t, h.Dropped(), dropped)
	require.EqualValues(t, ringEvents+batchEvents+more+2, uint64(len(events))+dropped)
	require.Equal(t, "/say", events[len(events)-1].Method, "the newest are kept")
}

// The events of the time without a process wait for the next one.
func TestObserverKilled(t *testing.T) {
	h, end := loadAudit(t)
	srv, cli, sess := observed(t, h)
	require.NoError(t, syscall.Kill(activePID(h), syscall.SIGKILL))
	await(t, h, Starting)
	var out string
	require.NoError(t, sess.Call("/say", "hello", &out).Rerror().Err())
	await(t, h, Ready)
	require.NoError(t, cli.Close())
	require.NoError(t, srv.Close())
	events, dropped := end()
	require.Zero(t, dropped)
	require.Len(t, events, 2)
	o := h.parts[0].part.(*observer)
	o.put(guest.Event{})
	require.EqualValues(t, 1, h.Dropped(), "after Close events are dropped and counted")
}

func TestPluginErrors(t *testing.T) {
	h, _ := loadAudit(t)
	_, err := h.Plugin("other")
	require.ErrorContains(t, err, `has no observer and no decider "other": it has [observer audit]`)
	_, err = h.Plugin("audit", PluginConfig{FailOpen: true})
	require.ErrorContains(t, err, "a PluginConfig is for deciders")
	_, err = tryLoad(t, "bad name")
	require.ErrorContains(t, err, `the name "an/audit" is part of a route`)

	for _, test := range []struct{ name, kind, options, words string }{
		{"garbage", contract.KindObserver, `{"meta":3}`, "the options of its observer x: "},
		{"many keys", contract.KindObserver, `{"meta":["","","","","","","","","","","","","","","","",""]}`, "asks for 17 keys of metadata, at most 16 are allowed"},
		{"no hooks", contract.KindDecision, `{}`, "has no hooks"},
		{"unknown hook", contract.KindDecision, `{"hooks":["dial"]}`, `has the hook "dial"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := newPart(h, contract.Part{Kind: test.kind, Name: "x", Options: json.RawMessage(test.options)})
			require.ErrorContains(t, err, test.words)
		})
	}
}
