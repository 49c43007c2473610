package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

// Pushes of one connection in the table of streams: each carries the number of its sender,
// and a call returns when the server has handled as many pushes as it says.

const (
	maxPushers = 64
	pushLimit  = 30 * time.Second // for the handlers of pushes that have been sent
)

func pushCandidates() []harness.Candidate {
	return []harness.Candidate{
		{
			Name: "teleport-push", Serve: pushServe, Streams: pushStreams, Broadcast: joinGroup("/group/loop"),
			Note: "pushes, generated codec (vtprotobuf): in place of streams, where a call waits until they have been handled; to a group, RangeSession with a Push each",
		},
		{
			Name: "teleport-push-gzip", Serve: pushServe, Broadcast: joinGroup("/group/loop_gzip"),
			Note: "as teleport-push, to a group only, through the gzip filter",
		},
		{
			Name: "teleport-broadcast", Serve: pushServe, Broadcast: joinGroup("/group/once"),
			Note: "tp.Broadcast, which encodes the message once",
		},
		{
			Name: "teleport-broadcast-gzip", Serve: pushServe, Broadcast: joinGroup("/group/once_gzip"),
			Note: "tp.Broadcast through the gzip filter",
		},
	}
}

// pushed counts the messages of each sender since the answer before.
type pushed [maxPushers]atomic.Int64

func pushServe() (string, error) {
	tp.SetLoggerLevel("OFF") // a lost push is missing in the count
	srv, err := tp.Open(tp.PeerConfig{LocalIP: "127.0.0.1", DefaultBodyCodec: codec.NameProtobuf})
	if err != nil {
		return "", err
	}
	var counts pushed // of the connection, of which a window has one
	tp.HandlePush(srv, "/count/next", func(_ tp.PushCtx, m *vt.Message) error {
		if i := m.Int3; 0 <= i && i < maxPushers && m.Text18 == benchmsg.Text && m.Int37 == benchmsg.Asked {
			counts[i].Add(1)
		}
		return nil
	})
	tp.HandleCall(srv, "/count/all", func(ctx tp.CallCtx, m *vt.Message) (*vt.Message, error) {
		if m.Int3 < 0 || m.Int3 >= maxPushers {
			return nil, fmt.Errorf("no sender %d", m.Int3)
		}
		count := &counts[m.Int3]
		for begin := time.Now(); count.Load() < m.Int22 && time.Since(begin) < pushLimit; {
			time.Sleep(20 * time.Microsecond)
		}
		m.Int2 = benchmsg.Asked + int32(count.Swap(0)) + 1 // the call as well
		return m, nil
	})
	handleGroup(srv)
	if err := srv.Listen(); err != nil {
		return "", err
	}
	return srv.Addrs()[0].String(), nil
}

func pushStreams(addr string, n int) (list []harness.Stream, err error) {
	if n > maxPushers {
		return nil, fmt.Errorf("teleport-push has at most %d senders", maxPushers)
	}
	s, r := clients[codec.NameProtobuf]().Dial(addr)
	if r.HasError() {
		return nil, r.Err()
	}
	for i := range int32(n) {
		plain, marked := benchmsg.New[vt.Message](), benchmsg.New[vt.Message]()
		plain.Int3, marked.Int3, marked.Int22 = i, i, 0
		list = append(list, harness.Stream{
			Send: func() error {
				marked.Int22++
				return s.Push("/count/next", plain).Err()
			},
			Ask: func() (int, error) {
				answer, err := tp.Invoke[*vt.Message](context.Background(), s, "/count/all", marked)
				marked.Int22 = 0
				if err != nil {
					return 0, err
				}
				return benchmsg.Count(answer)
			},
		})
	}
	return list, nil
}
