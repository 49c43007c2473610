package tp_test

import (
	"context"
	"fmt"
	"io"
	"strings"

	tp "github.com/teleport-go/teleport/core"
)

// chatting returns a session with a peer that routes serves, and what ends both.
func chatting(routes func(tp.Router)) (sess tp.Session, closeAll func()) {
	srv, cli := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"})), tp.NewPeer(quietly(tp.PeerConfig{}))
	closeAll = func() { cli.Close(); srv.Close() }
	routes(srv)
	if err := srv.Listen(); err != nil {
		panic(err)
	}
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		panic(rerr)
	}
	return sess, closeAll
}

// Both sides send as they like; the stream ends when the handler returns.
func ExampleOpenStream() {
	sess, closeAll := chatting(func(r tp.Router) {
		tp.HandleStream(r, "/shout", func(ctx tp.StreamCtx, s *tp.Stream[string, string]) error {
			for text, err := range s.All() {
				if err != nil {
					return err
				}
				if err := s.Send(strings.ToUpper(*text)); err != nil {
					return err
				}
			}
			return nil
		})
	})
	defer closeAll()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // ends the stream, if it has not ended
	s, err := tp.OpenStream[string, string](ctx, sess, "/shout")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, text := range []string{"hello", "world"} {
		if err := s.Send(text); err != nil {
			fmt.Println(err)
			return
		}
	}
	s.CloseSend()
	for text, err := range s.All() {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(*text)
	}
	// Output:
	// HELLO
	// WORLD
}

// A stream of bytes has ends that are an io.Reader and an io.Writer.
func ExampleStreamWriter() {
	sess, closeAll := chatting(func(r tp.Router) {
		tp.HandleStream(r, "/count", func(ctx tp.StreamCtx, s *tp.Stream[[]byte, int64]) error {
			n, err := io.Copy(io.Discard, tp.StreamReader(s))
			if err != nil {
				return err
			}
			return s.Send(n)
		})
	})
	defer closeAll()
	s, err := tp.OpenStream[[]byte, int64](context.Background(), sess, "/count")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	w := tp.StreamWriter(s)
	if _, err := io.Copy(w, strings.NewReader(strings.Repeat("x", 1<<20))); err != nil {
		fmt.Println(err)
		return
	}
	w.Close()
	n, err := s.Recv()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(*n, "bytes have arrived")
	// Output: 1048576 bytes have arrived
}
