package main

import (
	"context"
	"sync/atomic"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

const (
	groupMethod = "/group/message"
	gzipID      = 'g'
)

// handleGroup has the server send a message to all sessions when one of them calls.
func handleGroup(srv tp.Peer) {
	m := benchmsg.New[vt.Message]()
	m.Int2 = benchmsg.Answered
	for method, send := range map[string]func(){
		"/group/loop":      func() { pushLoop(srv, m) },
		"/group/loop_gzip": func() { pushLoop(srv, m, tp.WithXferPipe(gzipID)) },
		"/group/once":      func() { tp.Broadcast(srv.RangeSession, groupMethod, m) },
		"/group/once_gzip": func() { tp.Broadcast(srv.RangeSession, groupMethod, m, tp.WithXferPipe(gzipID)) },
	} {
		tp.HandleCall(srv, method, func(tp.CallCtx, *[]byte) ([]byte, error) {
			send() // a push that fails is missing at the client
			return nil, nil
		})
	}
	tp.HandleCall(srv, "/group/join", func(tp.CallCtx, *[]byte) ([]byte, error) { return nil, nil })
}

// pushLoop is a push to each session.
func pushLoop(srv tp.Peer, m *vt.Message, set ...tp.MessageSetting) {
	srv.RangeSession(func(s tp.Session) bool {
		s.Push(groupMethod, m, set...)
		return true
	})
}

// joinGroup makes n sessions. A call of the method returns when all have received the
// server's message.
func joinGroup(method string) func(addr string, n int) (func() error, error) {
	return func(addr string, n int) (func() error, error) { return newGroup(addr, n, method) }
}

func newGroup(addr string, n int, method string) (func() error, error) {
	tp.SetLoggerLevel("OFF") // an error fails a call, which is reported
	cli := tp.NewPeer(tp.PeerConfig{DefaultBodyCodec: codec.NameProtobuf})
	var received atomic.Int64
	all := make(chan struct{}, 1)
	tp.HandlePush(cli, groupMethod, func(_ tp.PushCtx, m *vt.Message) error {
		if err := benchmsg.Check(m); err != nil {
			return err
		}
		if received.Add(1)%int64(n) == 0 {
			all <- struct{}{}
		}
		return nil
	})
	var first atomic.Pointer[tp.Session]
	call := func(s tp.Session, method string) error {
		_, err := tp.Invoke[[]byte](context.Background(), s, method, &[]byte{})
		return err
	}
	_, err := harness.Connect(func() (func() error, error) {
		s, r := cli.Dial(addr)
		if r.HasError() {
			return nil, r.Err()
		}
		first.CompareAndSwap(nil, &s)
		return func() error { return call(s, "/group/join") }, nil // so that the server has it
	}, n, true)
	if err != nil {
		return nil, err
	}
	return func() error {
		if err := call(*first.Load(), method); err != nil {
			return err
		}
		<-all
		return nil
	}, nil
}
