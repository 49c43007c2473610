// Command resume shows sessions over WebSocket that outlive their connections: they are cut
// while a call runs and a stream is open, and neither side notices.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"sync"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/resume"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/mixers/websocket"
)

func main() {
	tp.SetLoggerLevel("ERROR")
	var stats resume.Stats
	atServer := resume.NewStreams(resume.Options{Stats: &stats})
	atClient := &cuttable{Streams: resume.NewStreams(resume.Options{})}

	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Net: websocket.Network(websocket.Options{Resume: atServer})})
	defer srv.Close()
	tp.HandleCall(srv, "/hello", func(_ tp.CallCtx, name *string) (string, error) {
		atClient.cut()
		return "hello, " + *name, nil
	})
	tp.HandleStream(srv, "/count", func(_ tp.StreamCtx, s *tp.Stream[string, int]) error {
		for i := range 1000 {
			if i%250 == 0 {
				atClient.cut()
			}
			if err := s.Send(i); err != nil {
				return err
			}
		}
		return nil
	})
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}

	cli := tp.NewPeer(tp.PeerConfig{Net: websocket.Network(websocket.Options{Resume: atClient})})
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		log.Fatal(rerr)
	}
	ctx := context.Background()
	reply, err := tp.Invoke[string](ctx, sess, "/hello", "gopher")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(reply)
	s, err := tp.OpenStream[string, int](ctx, sess, "/count")
	if err != nil {
		log.Fatal(err)
	}
	next := 0
	for v, err := range s.All() {
		if err != nil {
			log.Fatal(err)
		}
		if *v != next {
			log.Fatalf("%d came in place of %d", *v, next)
		}
		next++
	}
	fmt.Println(next, "messages in order")
	fmt.Println("one session:", stats.Streams.Load(), "stream, over several connections:", stats.Resumed.Load() > 0)
}

// cuttable are the streams of a client whose connections can be cut. A websocket.Resumer may
// be wrapped: this one sees each connection as it is made.
type cuttable struct {
	*resume.Streams

	mu   sync.Mutex // guards conn
	conn net.Conn   // the last one
}

// Dial is that of a websocket.Resumer.
func (c *cuttable) Dial(ctx context.Context, d tp.DialConfig, connect func(context.Context, tp.DialConfig) (net.Conn, error)) (net.Conn, error) {
	return c.Streams.Dial(ctx, d, func(ctx context.Context, d tp.DialConfig) (net.Conn, error) {
		conn, err := connect(ctx, d)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.conn = conn
		return conn, err
	})
}

// cut ends the present connection.
func (c *cuttable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.Close()
	}
}
