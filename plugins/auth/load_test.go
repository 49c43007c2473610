package auth_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/auth"
)

// A session that is busy in both directions, over TCP, learns too why it was revoked.
func TestRevokeUnderLoad(t *testing.T) {
	ready := make(chan tp.Session, 1)
	srv := tptest.NewPeer(t, tp.PeerConfig{LocalIP: "127.0.0.1"}, auth.NewCheckerPlugin(granting(0, nil)),
		&tp.PluginImpl{PluginName: "ready", OnPostReady: func(s tp.Session) { ready <- s }})
	cli := tptest.NewPeer(t, tp.PeerConfig{}, bearer("x", new(string)))
	tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
	tp.HandlePush(cli, "/note", func(tp.PushCtx, *string) error { return nil })
	addr := tptest.Listen(t, srv)
	for range 5 {
		sess := tptest.Dial(t, cli, addr)
		served := <-ready
		var group sync.WaitGroup
		warm := make(chan struct{}, 1000)
		for range 20 {
			group.Go(func() {
				text := strings.Repeat("x", 4<<10)
				for sess.Call("/echo", text, new(string)).Rerror() == nil {
					select {
					case warm <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 100 {
			<-warm
		}
		auth.Revoke(served, nil)
		<-sess.CloseNotify()
		if why := sess.CloseReason(); !errors.Is(why, tp.ErrUnauthorized) {
			t.Errorf("the reason of the client is %v; want 401", why)
		}
		group.Wait()
	}
}
