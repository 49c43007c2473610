package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/proxy"
)

// A sealed stream passes two proxies of plugins/proxy, which cannot read it, and ends as a
// stream does.
func TestStreamThroughProxies(t *testing.T) {
	secret := bytes.Repeat([]byte("k"), 32)
	srv := listen(nil, sealing(secret))
	defer srv.Close()
	tp.HandleStream(srv, "/doors", func(_ tp.StreamCtx, s *tp.Stream[string, string]) error {
		for pin, err := range s.All() {
			if err != nil {
				return err
			}
			if err := s.Send("open with " + *pin); err != nil {
				return err
			}
		}
		s.CloseSend()
		return nil
	})
	var mu sync.Mutex
	var seen []byte
	eyes := &tp.PluginImpl{PluginName: "eyes", OnPostReadData: func(ctx tp.ReadCtx) *tp.Rerror {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, ctx.Input().RawBody()...)
		return nil
	}}
	next := srv
	for range 2 {
		middle := tp.NewPeer(tp.PeerConfig{}, eyes)
		defer middle.Close()
		back := dial(middle, next, nil)
		next = listen(nil, proxy.NewPlugin(func(*proxy.Label) proxy.Forwarder { return back }), eyes)
		defer next.Close()
	}
	cli := tp.NewPeer(tp.PeerConfig{}, sealing(secret))
	defer cli.Close()
	st, err := tp.OpenStream[string, string](t.Context(), dial(cli, next, nil), "/doors")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		pin := fmt.Sprint(1234, i)
		if err := st.Send(pin); err != nil {
			t.Fatal(err)
		}
		if v, err := st.Recv(); err != nil || *v != "open with "+pin {
			t.Fatalf("message %d: %v, %v", i, v, err)
		}
	}
	st.CloseSend()
	if _, err := st.Recv(); err != io.EOF {
		t.Errorf("the stream ended with %v; want io.EOF", err)
	}
	if err := st.Wait(); err != nil {
		t.Errorf("Wait: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) < 400*50 || bytes.Contains(seen, []byte("1234")) {
		t.Errorf("the proxies saw %d bytes of the messages, and the secret in them: %t", len(seen), bytes.Contains(seen, []byte("1234")))
	}
}
