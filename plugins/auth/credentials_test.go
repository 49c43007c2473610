package auth_test

import (
	"context"
	"testing"
	"testing/synctest"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/auth"
)

// Each dial has its own credentials, and so has each redial of its session, when
// the context of the dial has ended long ago.
func TestCredentials(t *testing.T) {
	bubble(t, "of each dial", func(t *testing.T) {
		e := newEnds(t, auth.NewCheckerPlugin(func(sess auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
			var name string
			r := recv(&name)
			sess.Swap().Store("who", name)
			return nil, r
		}), auth.NewBearerPlugin(func(sess auth.Session, send auth.SendOnce) *tp.Rerror {
			return send(auth.Credentials(sess.Context()), nil)
		}))
		who := func(s tp.Session) string {
			got, err := tp.Invoke[string](context.Background(), s, "/who", "")
			if err != nil {
				t.Error(err)
			}
			return got
		}
		users := []string{"ann", "bob"}
		sessions := make([]tp.Session, len(users))
		for i, user := range users {
			ctx, cancel := context.WithCancel(context.Background())
			var r *tp.Rerror
			if sessions[i], r = e.cli.DialContext(auth.WithCredentials(ctx, user), e.addr); r != nil {
				t.Fatal(r)
			}
			cancel()
		}
		for range 2 {
			for i, user := range users {
				s := sessions[i]
				if got, want := who(s), user+" "+s.LocalAddr().String(); got != want {
					t.Errorf("the server knows %q; want %q", got, want)
				}
				e.net.Find(s.LocalAddr().String()).Cut()
				synctest.Wait()
			}
		}
		if got := auth.Credentials(context.Background()); got != nil {
			t.Errorf("without credentials: %v; want nil", got)
		}
	})
}
