package secure_test

import (
	"context"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/secure"
)

// A sealed connection goes on in the new process, with its nonce and its counters, if that
// has the key and the plugin.
func TestSessionMoves(t *testing.T) {
	for _, optional := range []bool{false, true} {
		var opts []secure.Option
		if optional {
			opts = append(opts, secure.Optional())
		}
		k := keys(t, key(1, 'k'))
		plain := false
		server := func(cfg tp.PeerConfig) (tp.Peer, error) {
			p, err := tp.Open(cfg)
			if err != nil {
				return nil, err
			}
			if !plain {
				p.PluginContainer().AppendLeft(secure.New(k, opts...))
			}
			tp.HandleCall(p, "/twice", func(_ tp.CallCtx, s *string) (string, error) { return *s + *s, nil })
			return p, nil
		}
		r := tptest.NewRebooted(t, tp.PeerConfig{}, server, func(cfg tp.PeerConfig) (tp.Peer, error) {
			p, err := tp.Open(cfg, secure.New(k, opts...))
			if err == nil {
				tp.HandleCall(p, "/once", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
			}
			return p, err
		})
		call := func(s tp.Session, method, want string) {
			t.Helper()
			got, err := tp.Invoke[string](context.Background(), s, method, secret, secure.WithSecureMeta())
			if err != nil || got != want {
				t.Fatalf("%s = %q, %v; want %q", method, got, err, want)
			}
		}
		for range 3 {
			for range 5 {
				call(r.Session, "/twice", secret+secret)
				call(r.Accepted, "/once", secret)
			}
			r.Reboot()
		}
		call(r.Session, "/twice", secret+secret)
		plain = true
		if err := r.TryReboot(); err == nil || !strings.Contains(err.Error(), `there is no plugin "secure" here`) {
			t.Errorf("a process without the plugin has taken the session: %v", err)
		}
		call(r.Session, "/twice", secret+secret)
	}
}
