// Command loops serves the same calls from event loops, for tools/bench: those of
// mixers/evio beside a plain peer, and echoes on gnet and nbio, which have no sessions and
// no protocol.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/lesismal/nbio"
	"github.com/panjf2000/gnet/v2"
	"github.com/panjf2000/gnet/v2/pkg/logging"

	_ "github.com/teleport-go/teleport/codecs/pbcodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/evio"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

func main() { harness.Main(candidates()...) }

func candidates() []harness.Candidate {
	return []harness.Candidate{
		{Name: "loops-peer", Note: "teleport, the usual peer", Serve: func() (string, error) {
			return serve(func(cfg tp.PeerConfig) (tp.Peer, error) { return tp.Open(cfg) })
		}, Dial: dial},
		{Name: "loops-evio", Note: "teleport, mixers/evio with a loop per processor", Serve: func() (string, error) {
			return serve(func(cfg tp.PeerConfig) (tp.Peer, error) { return evio.Open(0, cfg) })
		}, Dial: dial},
		{Name: "loops-gnet", Note: "gnet: an echo of bytes, without sessions, protocol and codec", Serve: serveGnet, Dial: dialEcho},
		{Name: "loops-nbio", Note: "nbio: an echo of bytes, without sessions, protocol and codec", Serve: serveNbio, Dial: dialEcho},
	}
}

// serve starts a server with the handler of teleport-typed.
func serve(open func(tp.PeerConfig) (tp.Peer, error)) (string, error) {
	tp.SetLoggerLevel("OFF") // an error fails a call, which is reported
	srv, err := open(tp.PeerConfig{LocalIP: "127.0.0.1"})
	if err != nil {
		return "", err
	}
	tp.HandleCall(srv, "/typed/echo", func(_ tp.CallCtx, arg *vt.Message) (*vt.Message, error) {
		arg.Int2 = benchmsg.Answered
		return arg, nil
	})
	if err := srv.Listen(); err != nil {
		return "", err
	}
	return srv.Addrs()[0].String(), nil
}

// client is one peer for all connections.
var client = sync.OnceValue(func() tp.Peer {
	tp.SetLoggerLevel("OFF")
	return evio.NewClient(tp.PeerConfig{DefaultBodyCodec: "protobuf"})
})

func dial(addr string) (func() error, error) {
	sess, rerr := client().Dial(addr)
	if rerr.HasError() {
		return nil, rerr.Err()
	}
	request := benchmsg.New[vt.Message]()
	return func() error {
		reply, err := tp.Invoke[*vt.Message](context.Background(), sess, "/typed/echo", request)
		if err != nil {
			return err
		}
		return benchmsg.Check(reply)
	}, nil
}

// gnetEcho is the handler of gnet.
type gnetEcho struct {
	gnet.BuiltinEventEngine
	booted chan struct{}
}

func (e *gnetEcho) OnBoot(gnet.Engine) gnet.Action {
	close(e.booted)
	return gnet.None
}

func (e *gnetEcho) OnTraffic(c gnet.Conn) gnet.Action {
	b, err := c.Next(-1)
	if err != nil {
		return gnet.Close
	}
	if _, err := c.Write(b); err != nil {
		return gnet.Close
	}
	return gnet.None
}

// serveGnet takes a port that was free a moment ago: gnet does not tell which it got.
func serveGnet() (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := lis.Addr().String()
	lis.Close()
	e := &gnetEcho{booted: make(chan struct{})}
	failed := make(chan error, 1)
	go func() {
		failed <- gnet.Run(e, "tcp://"+addr, gnet.WithMulticore(true), gnet.WithReusePort(true), gnet.WithLogLevel(logging.ErrorLevel))
	}()
	select {
	case <-e.booted:
		return addr, nil
	case err := <-failed:
		return "", fmt.Errorf("gnet: %w", err)
	}
}

func serveNbio() (string, error) {
	g := nbio.NewEngine(nbio.Config{Network: "tcp", Addrs: []string{"127.0.0.1:0"}})
	g.OnData(func(c *nbio.Conn, data []byte) {
		if _, err := c.Write(bytes.Clone(data)); err != nil {
			c.Close()
		}
	})
	if err := g.Start(); err != nil {
		return "", fmt.Errorf("nbio: %w", err)
	}
	return g.Addrs[0], nil
}

// dialEcho sends as many bytes as a message has and reads them back, one call at a time.
func dialEcho(addr string) (func() error, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Minute)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	sent, got := bytes.Repeat([]byte("echo"), (benchmsg.Size+3)/4)[:benchmsg.Size], make([]byte, benchmsg.Size)
	return func() error {
		mu.Lock()
		defer mu.Unlock()
		if _, err := conn.Write(sent); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, got); err != nil {
			return err
		}
		if !bytes.Equal(got, sent) {
			return fmt.Errorf("the echo of %s is not what was sent", addr)
		}
		return nil
	}, nil
}
