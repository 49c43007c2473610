package main

import (
	"sync"
	"sync/atomic"

	"github.com/lesismal/arpc"
	"github.com/lesismal/arpc/log"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

const (
	triggerMethod = "/group/send"
	groupMethod   = "/group/message"
)

// handleGroup has the server notify all clients when one of them calls, as the library's
// example of a broadcast does.
func handleGroup(srv *arpc.Server) {
	var mu sync.Mutex
	clients := map[*arpc.Client]bool{}
	srv.Handler.HandleConnected(func(c *arpc.Client) {
		mu.Lock()
		defer mu.Unlock()
		clients[c] = true
	})
	srv.Handler.HandleDisconnected(func(c *arpc.Client) {
		mu.Lock()
		defer mu.Unlock()
		delete(clients, c)
	})
	m := benchmsg.New[vt.Message]()
	m.Int2 = benchmsg.Answered
	srv.Handler.Handle(triggerMethod, func(ctx *arpc.Context) {
		mu.Lock()
		defer mu.Unlock()
		for c := range clients {
			if err := c.Notify(groupMethod, m, timeout); err != nil {
				log.Error("%v", err)
			}
		}
		ctx.Write(m)
	}, true)
}

// broadcast makes n connections. A call returns when all have received the server's
// message.
func broadcast(addr string, n int) (func() error, error) {
	var received atomic.Int64
	all := make(chan struct{}, 1)
	take := func(h arpc.Handler) {
		h.Handle(groupMethod, func(ctx *arpc.Context) {
			m := new(vt.Message)
			err := ctx.Bind(m)
			if err == nil {
				err = benchmsg.Check(m)
			}
			if err != nil {
				log.Error("%v", err)
			} else if received.Add(1)%int64(n) == 0 {
				all <- struct{}{}
			}
		})
	}
	var first atomic.Pointer[arpc.Client]
	_, err := harness.Connect(func() (func() error, error) {
		c, err := newClient(addr, take)
		if err != nil {
			return nil, err
		}
		first.CompareAndSwap(nil, c)
		return caller(c), nil // so that the server has it
	}, n, true)
	if err != nil {
		return nil, err
	}
	m := benchmsg.New[vt.Message]()
	return func() error {
		if err := first.Load().Call(triggerMethod, m, new(vt.Message), timeout); err != nil {
			return err
		}
		<-all
		return nil
	}, nil
}
