package proxy_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// Bytes go through a proxy in both directions.
func TestStreamOfBytes(t *testing.T) {
	tptest.LeakCheck(t)
	c := newChain(t, config{})
	tp.HandleStream(c.backend, "/sum", func(_ tp.StreamCtx, s *tp.Stream[[]byte, []byte]) error {
		h := sha256.New()
		if _, err := io.Copy(io.MultiWriter(h, tp.StreamWriter(s)), tp.StreamReader(s)); err != nil {
			return err
		}
		return s.Send(h.Sum(nil))
	})
	st, err := tp.OpenStream[[]byte, []byte](t.Context(), c.client, "/sum")
	if err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{1}).Read(sent)
	go func() {
		w := tp.StreamWriter(st)
		w.Write(sent)
		w.Close()
	}()
	got, err := io.ReadAll(tp.StreamReader(st))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(sent)
	if !bytes.Equal(got, append(sent, sum[:]...)) {
		t.Errorf("%d bytes came back; want the %d that were sent and their sum", len(got), len(sent))
	}
}
