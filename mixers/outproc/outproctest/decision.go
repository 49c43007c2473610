package outproctest

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

var decisionChecks = []check{
	{name: "questions", byHand: decisionQuestions},
	{name: "garbage", byHand: decisionGarbage},
	{name: "decides", run: decisionDecides},
	{name: "concurrent", run: decisionConcurrent},
}

// decisionQuestions: each question that a host may ask gets a decision.
func decisionQuestions(b *byHand, part contract.Part) {
	conn := b.open()
	var options contract.DecisionOptions
	require.NoError(b.t, json.Unmarshal(part.Options, &options), "the options of decider %s", part.Name)
	require.NotEmpty(b.t, options.Hooks, "the hooks in the options of decider %s", part.Name)
	for _, hook := range options.Hooks {
		method := `,"method":"/math/add?x=1&y=%C3%A9"`
		if hook == string(guest.OnAccept) {
			method = ""
		}
		begin := fmt.Sprintf(`{"hook":%q%s,"session":"10.0.0.7:53412","remote":"10.0.0.7:53412"`, hook, method)
		for _, test := range []struct{ name, body string }{
			{"the least", begin + `}`},
			{"the most", begin + `,"real_ip":"2001:db8::1","tls":true,"tls_name":"example.com","tls_peer":"CN=eve","verified":true,"meta":{"X-Token":["a","b"],"":[""]}}`},
			{"unknown keys", begin + `,"new":{"a":[1]}}`},
			{"another address", fmt.Sprintf(`{"hook":%q%s,"session":"a session","remote":"@"}`, hook, method)},
			{"large metadata", begin + `,"meta":{"X-Large":["` + strings.Repeat("x", 60<<10) + `"]}}`},
		} {
			reply := b.answer(conn, contract.DecisionRoute(part.Name), hook+", "+test.name, []byte(test.body))
			var d map[string]any
			require.NoError(b.t, json.Unmarshal(reply, &d), "%s, %s: the decision is %.100q", hook, test.name, reply)
			require.NotNil(b.t, d, "%s, %s: the decision is null; {} allows", hook, test.name)
		}
	}
}

// decisionGarbage: what is no question does not end the guest.
func decisionGarbage(b *byHand, part contract.Part) {
	conn := b.open()
	for _, body := range []string{"", "no json", `{"hook":`, "[]", `{"hook":3}`, `{"meta":"x"}`, "\x00\xff"} {
		b.wantRefused(conn, contract.DecisionRoute(part.Name), body)
	}
}

// decided is a session with a peer that has the decider.
type decided struct {
	sess             tp.Session // nil: it was not let in
	accepted, pushed chan error // of the plugin's hooks, nil if there was a decision
}

func newDecided(t *testing.T, h *outproc.Handle, part contract.Part) *decided {
	plugin, err := h.Plugin(part.Name, outproc.PluginConfig{Timeout: patience})
	require.NoError(t, err)
	p := plugin.(interface {
		tp.PostAcceptPlugin
		tp.PostReadCallHeaderPlugin
		tp.PostReadPushHeaderPlugin
	})
	d := &decided{accepted: make(chan error, 1), pushed: make(chan error, 1)}
	_, dial := peers(t, &tp.PluginImpl{
		PluginName: p.Name(),
		OnPostAccept: func(s tp.PreSession) *tp.Rerror {
			r := p.PostAccept(s)
			d.accepted <- undecided(r)
			return r
		},
		OnPostReadCallHeader: p.PostReadCallHeader,
		OnPostReadPushHeader: func(ctx tp.ReadCtx) *tp.Rerror {
			r := p.PostReadPushHeader(ctx)
			d.pushed <- undecided(r)
			return r
		},
	})
	d.sess, _ = dial()
	return d
}

// undecided returns an error if r says that there was no decision that the host can use.
func undecided(r *tp.Rerror) error {
	if r.HasError() && r.Code == outproc.CodeGuestUnavailable {
		return r.Err()
	}
	return nil
}

// question makes a call that the decider is asked about, unless it has refused the
// connection.
func (d *decided) question(n int) error {
	if d.sess == nil {
		return nil
	}
	var out string
	return undecided(d.sess.Call(fmt.Sprint(anyRoute, "?n=", n), "x", &out, tp.WithSetMeta("X-Token", fmt.Sprint(n))).Rerror())
}

// decisionDecides: the host can carry out the decisions on a connection, a call and a push.
func decisionDecides(t *testing.T, h *outproc.Handle, part contract.Part) {
	d := newDecided(t, h, part)
	require.NoError(t, <-d.accepted, "a connection")
	if d.sess == nil {
		return
	}
	require.NoError(t, d.question(0), "a call")
	if d.sess.Push(anyRoute, "x", tp.WithSetMeta("X-User", "eve")).HasError() {
		return // the connection was refused
	}
	select {
	case err := <-d.pushed:
		require.NoError(t, err, "a push")
	case <-d.sess.CloseNotify():
	}
}

func decisionConcurrent(t *testing.T, h *outproc.Handle, part contract.Part) {
	var wg sync.WaitGroup
	for caller := range 16 {
		d := newDecided(t, h, part)
		wg.Go(func() {
			for n := range 20 {
				if err := d.question(caller*100 + n); err != nil {
					t.Errorf("caller %d, question %d: %v", caller, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, h.Restarts())
}
