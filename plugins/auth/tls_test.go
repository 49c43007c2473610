package auth_test

import (
	"crypto/tls"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/auth"
)

// Both functions see with which certificate the other side has come.
func TestConnectionState(t *testing.T) {
	server, client := tp.GenerateTLSConfigForServer(), tp.GenerateTLSConfigForClient()
	server.ClientAuth = tls.RequireAnyClientCert
	client.Certificates = server.Certificates
	const name = "teleport self-signed"
	for _, test := range []struct {
		name   string
		secure bool
		want   string
	}{{"TLS", true, name}, {"plain", false, "nobody"}} {
		bubble(t, test.name, func(t *testing.T) {
			seen := func(sess auth.Session) string {
				state := sess.ConnectionState()
				if state == nil {
					return "nobody"
				}
				return state.PeerCertificates[0].Subject.CommonName
			}
			cfg := tp.PeerConfig{Network: tptest.NewNetwork().Register(t)}
			srv := tptest.NewPeer(t, cfg, auth.NewCheckerPlugin(func(sess auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
				sess.Swap().Store("who", seen(sess))
				return nil, recv(nil)
			}))
			tp.HandleCall(srv, "/who", func(ctx tp.CallCtx, _ *string) (any, error) {
				who, _ := ctx.Session().Swap().Load("who")
				return who, nil
			})
			cli := tptest.NewPeer(t, cfg, auth.NewBearerPlugin(func(sess auth.Session, send auth.SendOnce) *tp.Rerror {
				if got := seen(sess); got != test.want {
					t.Errorf("the Bearer sees %s; want %s", got, test.want)
				}
				return send(nil, nil)
			}))
			if test.secure {
				srv.SetTLSConfig(server)
				cli.SetTLSConfig(client)
			}
			sess := tptest.Dial(t, cli, tptest.Listen(t, srv))
			var got string
			if r := sess.Call("/who", "", &got).Rerror(); r != nil || got != test.want {
				t.Errorf("the Checker saw %q, %s; want %q", got, r, test.want)
			}
		})
	}
}
