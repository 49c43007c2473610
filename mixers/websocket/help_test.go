package websocket

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	_ "github.com/teleport-go/teleport/codecs/jsoncodec"
	tp "github.com/teleport-go/teleport/core"
)

// config is the configuration of a server.
func config() tp.PeerConfig { return tp.PeerConfig{LocalIP: "127.0.0.1"} }

// newPeer returns a peer that is closed at the end of the test.
func newPeer(t testing.TB, cfg tp.PeerConfig, plugins ...tp.Plugin) tp.Peer {
	t.Helper()
	p, err := tp.Open(cfg, plugins...)
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

// handle registers the handlers of the tests.
func handle(r tp.Router) {
	tp.HandleCall(r, "/upper", func(_ tp.CallCtx, s *string) (string, error) { return strings.ToUpper(*s), nil })
	tp.HandleCall(r, "/fail", func(tp.CallCtx, *string) (string, error) {
		return "", tp.NewRerror(777, "no", "because").Err()
	})
	tp.HandleCall(r, "/who", func(ctx tp.CallCtx, _ *string) (string, error) {
		v, _ := ctx.Session().Swap().Load("user")
		s, _ := v.(string)
		return s + "@" + ctx.RealIP(), nil
	})
}

// upper calls a handler and checks the reply.
func upper(t testing.TB, sess tp.CtxSession) {
	t.Helper()
	var reply string
	rerr := sess.Call("/upper", "hello", &reply).Rerror()
	require.Nil(t, rerr)
	require.Equal(t, "HELLO", reply)
}

// webServer is a server of net/http with the handler, which is closed at the end of the
// test. It returns its address.
func webServer(t *testing.T, peer tp.Peer, o Options) string {
	t.Helper()
	web := httptest.NewServer(NewHandler(peer, o))
	t.Cleanup(web.Close)
	return web.Listener.Addr().String()
}
