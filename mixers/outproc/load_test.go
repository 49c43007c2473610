package outproc

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// load loads the guest of a role, and closes it at the end of the test.
func loadRole(t testing.TB, role string, change ...func(*Guest)) *Handle {
	t.Helper()
	h, err := tryLoad(t, role, change...)
	require.NoError(t, err)
	return h
}

func tryLoad(t testing.TB, role string, change ...func(*Guest)) (*Handle, error) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	g := Guest{Path: self, Env: []string{envRole + "=" + role}, Logger: tptest.Logger(t)}
	for _, f := range change {
		f(&g)
	}
	h, err := Load(t.Context(), g)
	if err == nil {
		t.Cleanup(func() { require.NoError(t, h.Close()) })
	}
	return h, err
}

type note struct {
	Text  string `json:"text"`
	Count int    `json:"count"`
}

// A session uses a filter and a codec of a guest under their ids.
func TestSession(t *testing.T) {
	h := loadRole(t, "parts")
	require.Equal(t, []Part{{"filter", 200, "reverse"}, {"codec", 200, "boxed"}}, h.Parts())

	srv := tptest.NewPeer(t, tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: rawproto.NewRawProtoFunc()})
	tp.HandleCall(srv, "/count", func(_ tp.CallCtx, n *note) (note, error) {
		return note{n.Text + "!", n.Count + 1}, nil
	})
	cli := tptest.NewPeer(t, tp.PeerConfig{Protocol: rawproto.NewRawProtoFunc()})
	sess := tptest.Dial(t, cli, tptest.Listen(t, srv))
	got, err := tp.Invoke[note](t.Context(), sess, "/count", note{"two", 2}, tp.WithBodyCodec(200), tp.WithXferPipe(200))
	require.NoError(t, err)
	require.Equal(t, note{"two!", 3}, got)
}
