package main

import (
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/std"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

const (
	trigger = "send" // has the service publish to group
	group   = "group"
)

// sendToGroup publishes the message of the benchmark, encoded once.
func sendToGroup(service *nats.Conn) nats.MsgHandler {
	m := benchmsg.New[std.Message]()
	m.Int2 = benchmsg.Answered
	return func(msg *nats.Msg) {
		data, err := proto.Marshal(m)
		if err == nil {
			err = service.Publish(group, data)
		}
		if err == nil {
			err = msg.Respond(nil)
		}
		if err != nil {
			complain(nil, nil, err)
		}
	}
}

// broadcast makes n connections that subscribe to the group. A call returns when all have
// received the service's message.
func broadcast(addr string, n int) (func() error, error) {
	var received atomic.Int64
	all := make(chan struct{}, 1)
	take := func(msg *nats.Msg) {
		m := new(std.Message)
		err := proto.Unmarshal(msg.Data, m)
		if err == nil {
			err = benchmsg.Check(m)
		}
		if err != nil {
			complain(nil, nil, err)
		} else if received.Add(1)%int64(n) == 0 {
			all <- struct{}{}
		}
	}
	var first atomic.Pointer[nats.Conn]
	_, err := harness.Connect(func() (func() error, error) {
		c, err := nats.Connect("nats://"+addr, nats.Timeout(timeout), nats.ErrorHandler(complain))
		if err != nil {
			return nil, err
		}
		first.CompareAndSwap(nil, c)
		_, err = c.Subscribe(group, take)
		return c.Flush, err // so that the broker has the subscription
	}, n, true)
	if err != nil {
		return nil, err
	}
	return func() error {
		if _, err := first.Load().Request(trigger, nil, timeout); err != nil {
			return err
		}
		<-all
		return nil
	}, nil
}
