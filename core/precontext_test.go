package tp_test

import (
	"context"
	"errors"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// The hooks of a connection have the context of Dial; those of a redial have its values,
// but not its end.
func TestPreSessionContext(t *testing.T) {
	type key struct{}
	j := new(journal)
	var dialled tp.PreSession
	see := func(what string) func(tp.PreSession) *tp.Rerror {
		return func(s tp.PreSession) *tp.Rerror {
			ctx := s.Context()
			_, bounded := ctx.Deadline()
			j.add("%s %v %v %t", what, ctx.Value(key{}), ctx.Err(), bounded)
			if what != "accept" {
				dialled = s
			}
			return nil
		}
	}
	e := &ends{
		cliCfg:    tp.PeerConfig{RedialTimes: -1, RedialInterval: time.Millisecond},
		cliPlugin: []tp.Plugin{redialer{early{"redials", see("dial"), nil}, see("redial")}},
		srvPlugin: []tp.Plugin{early{"accepts", nil, see("accept")}},
		routes:    func(p tp.Peer) { tp.HandleCall(p, "/echo", echo) },
	}
	e.listen(t)
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, "mine"))
	var r *tp.Rerror
	if e.sess, r = e.cli.DialContext(ctx, e.addr); r != nil {
		t.Fatal(r)
	}
	cancel()
	if got := dialled.Context(); got != context.Background() {
		t.Errorf("when the hooks have returned: %v; want context.Background", got)
	}
	eventually(t, "it is accepted", func() bool { return j.has("accept <nil> <nil> true") })
	if !j.has("dial mine <nil> true") {
		t.Errorf("seen %q; want the value in PostDial", j.take())
	}
	e.serverSession(t).Close()
	eventually(t, "it redials with the value", func() bool { return j.has("redial mine <nil> true") })
}

func TestPreSessionContextEnds(t *testing.T) {
	mine := errors.New("not wanted any more")
	for _, test := range []struct {
		name    string
		cfg     tp.PeerConfig
		wanted  bool
		want    error
		closing bool
	}{
		{"with Dial's", tp.PeerConfig{}, false, mine, false},
		{"with the handshake's time", tp.PeerConfig{HandshakeTimeout: time.Millisecond}, true, context.DeadlineExceeded, false},
		{"with the peer", tp.PeerConfig{}, true, context.Canceled, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			began, ended := make(chan struct{}), make(chan error, 1)
			wait := func(s tp.PreSession) *tp.Rerror {
				ctx := s.Context()
				close(began)
				<-ctx.Done()
				err := context.Cause(ctx)
				if test.wanted {
					err = ctx.Err()
				}
				ended <- err
				return nil
			}
			e := &ends{cliCfg: test.cfg, cliPlugin: []tp.Plugin{early{"waits", wait, nil}}}
			e.routes = func(p tp.Peer) { tp.HandleCall(p, "/echo", echo) }
			e.listen(t)
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			go func() {
				<-began
				switch {
				case test.closing:
					e.cli.Close()
				case !test.wanted:
					cancel(mine)
				}
			}()
			if s, r := e.cli.DialContext(ctx, e.addr); r == nil {
				t.Errorf("Dial has returned %v", s)
			}
			if err := <-ended; !errors.Is(err, test.want) {
				t.Errorf("the context ended with %v; want %v", err, test.want)
			}
		})
	}
}
