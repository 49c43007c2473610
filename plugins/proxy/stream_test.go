package proxy_test

import (
	"testing"

	tp "github.com/teleport-go/teleport/core"
)

// A stream does not go through a proxy: OpenStream returns an error, and nothing is forwarded.
func TestStream(t *testing.T) {
	c := newChain(t, config{})
	tp.HandleStream(c.backend, "/chat", func(tp.StreamCtx, *tp.Stream[string, string]) error {
		t.Error("the backend was called")
		return nil
	})
	st, err := tp.OpenStream[string, string](t.Context(), c.client, "/chat")
	if err == nil {
		_, err = st.Recv()
	}
	if tp.Code(err) != tp.CodeNotImplemented {
		t.Errorf("the stream ended with %v; want 501", err)
	}
}
