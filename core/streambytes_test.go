package tp

import (
	"bytes"
	"io"
	"testing"

	"github.com/teleport-go/teleport/core/internal/poison"
)

// What a hook has kept of a message stays as it is when a StreamReader has returned it.
func TestStreamReaderLeavesKeptBodies(t *testing.T) {
	defer poison.Switch()()
	for _, size := range []int{100, 2 * smallDatum} {
		inStreamWorld(t, nil, func(t *testing.T, w *world) {
			body := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, size) }
			var kept [][]byte
			w.client.PluginContainer().AppendLeft(&PluginImpl{
				PluginName: "keeps",
				OnPostReadData: func(ctx ReadCtx) *Rerror {
					kept = append(kept, ctx.Input().KeepBody())
					return nil
				},
			})
			HandleStream(w.server, "/bytes", func(ctx StreamCtx, s *Stream[[]byte, []byte]) error {
				for i := range 3 {
					if err := s.Send(body(i)); err != nil {
						return err
					}
				}
				return nil
			})
			c, _ := w.pair()
			st, err := OpenStream[[]byte, []byte](t.Context(), c, "/bytes")
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(StreamReader(st))
			if want := bytes.Join([][]byte{body(0), body(1), body(2)}, nil); err != nil || !bytes.Equal(got, want) {
				t.Errorf("messages of %d bytes: read %.20q of %d bytes, %v; want %.20q of %d", size, got, len(got), err, want, len(want))
			}
			for i, b := range kept {
				if !bytes.Equal(b, body(i)) {
					t.Errorf("the hook has kept %.20q of message %d; want %.20q", b, i, body(i))
				}
			}
			if len(kept) != 3 {
				t.Errorf("the hook has seen %d messages; want 3", len(kept))
			}
		})
	}
}
