package secure_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/secure"
)

// The messages of a stream are sealed over one connection, and both sides count the same
// bytes.
func TestStream(t *testing.T) {
	n := tptest.NewNetwork()
	tap := new(tap)
	cfg := tp.PeerConfig{Network: n.Register(t), Extensions: true, StreamWindow: 2000}
	srv := tptest.NewPeer(t, cfg, secure.New(keys(t, key(1, 'k'))))
	tp.HandleStream(srv, "/echo", func(_ tp.StreamCtx, s *tp.Stream[string, string]) error {
		for v, err := range s.All() {
			if err != nil {
				return err
			}
			if err := s.Send(*v); err != nil {
				return err
			}
		}
		return nil
	})
	cli := tptest.NewPeer(t, cfg, tap, secure.New(keys(t, key(1, 'k'))))
	sess := tptest.Dial(t, cli, tptest.Listen(t, srv))
	st, err := tp.OpenStream[string, string](t.Context(), sess, "/echo")
	require.NoError(t, err)
	for i := range 500 {
		text := fmt.Sprint(secret, i)
		require.NoError(t, st.Send(text))
		v, err := st.Recv()
		require.NoError(t, err)
		require.Equal(t, text, *v)
	}
	require.NoError(t, st.CloseSend())
	_, err = st.Recv()
	require.Equal(t, io.EOF, err)
	tap.mu.Lock()
	defer tap.mu.Unlock()
	require.NotContains(t, string(bytes.Join(tap.sent, nil))+string(tap.got), secret)
}

// What a plugin cannot seal it refuses.
func TestStreamRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		plugin func(k *secure.Keys) tp.Plugin
		set    tp.MessageSetting
	}{
		{"optional, and asked for", func(k *secure.Keys) tp.Plugin { return secure.New(k, secure.Optional()) }, secure.WithSecureMeta()},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := tptest.NewNetwork()
			cfg := tp.PeerConfig{Network: n.Register(t), Extensions: true}
			srv := tptest.NewPeer(t, cfg, test.plugin(keys(t, key(1, 'k'))))
			cli := tptest.NewPeer(t, cfg, test.plugin(keys(t, key(1, 'k'))))
			sess := tptest.Dial(t, cli, tptest.Listen(t, srv))
			_, err := tp.OpenStream[string, string](t.Context(), sess, "/echo", test.set)
			require.ErrorIs(t, err, tp.ErrNotImplemented)
		})
	}
}
