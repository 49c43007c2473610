package guest

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
	"github.com/teleport-go/teleport/mixers/outproc/internal/rawlane"
)

// twice is a filter that packs each byte twice, and counts results that lie behind their item.
type twice struct {
	same
	behind *int
}

func (f twice) AppendPack(dst, src []byte) ([]byte, error) {
	if cap(dst) > 0 && cap(src) > 0 && &dst[:cap(dst)][cap(dst)-1] == &src[:cap(src)][cap(src)-1] {
		*f.behind++
	}
	for _, c := range src {
		dst = append(dst, c, c)
	}
	return dst, nil
}

func (f twice) AppendUnpack(dst, src []byte, _ int) ([]byte, error) {
	for c := range slices.Chunk(src, 2) {
		dst = append(dst, c[0])
	}
	return dst, nil
}

// lane opens the lane of a guest, until the end of the test. It returns a function that sends
// a CALL, and returns the REPLY.
func lane(t testing.TB, s *server) func(route string, body []byte) rawlane.Frame {
	require.NoError(t, s.open(tp.PeerConfig{}))
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); s.peer.Close() })
	go s.peer.ServeConn(theirs)
	seq := 0
	call := func(route string, body []byte) rawlane.Frame {
		seq++
		_, err := ours.Write(rawlane.Frame{Seq: fmt.Sprint(seq), Type: rawlane.Call, Route: route, Body: body}.Append(nil))
		require.NoError(t, err)
		f, err := rawlane.Read(ours)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(seq), f.Seq)
		return f
	}
	call(contract.RouteHello, []byte(`{"contract":1}`))
	return call
}

// The result of a small item lies in the memory behind it, if there is room, and is right.
func TestSmallItems(t *testing.T) {
	tptest.LeakCheck(t)
	behind := 0
	s, err := newServer(Config{}, []any{twice{behind: &behind}})
	require.NoError(t, err)
	ask := lane(t, s)
	call := func(route string, body []byte) []byte {
		f := ask(route, body)
		require.NotContains(t, f.Meta, "X-Reply-Error")
		return f.Body
	}
	for _, n := range []int{0, 1, 600, smallItem, smallItem + 1, 100_000} {
		item := bytes.Repeat([]byte("x"), n)
		behind = 0
		packed := call(contract.FilterRoute("pack", 250), item)
		require.True(t, string(packed) == strings.Repeat("x", 2*n), "%d bytes were packed to %d", n, len(packed))
		require.Equal(t, n <= smallItem, behind == 1, "a result of %d bytes lies behind its item", n)
		require.True(t, bytes.Equal(item, call(contract.FilterRoute("unpack", 250), packed)), "%d bytes came back as others", n)
	}
}
