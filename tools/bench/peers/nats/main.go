// Command nats serves and calls through NATS request and reply for tools/bench.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/std"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

const (
	subject = "echo"
	timeout = time.Minute
)

func main() { harness.Main(candidates()...) }

func candidates() []harness.Candidate {
	return []harness.Candidate{{
		Name: "nats", Serve: serve, Dial: dial, Broadcast: broadcast,
		Note: "through a broker, embedded in the server's process; the service has one connection to it, in process, and handles one message after the other in its subscription; to a group, one publish of a message that is encoded once",
	}}
}

// serve starts a broker, and a service on one connection to it that does not go
// through the network.
func serve() (string, error) {
	broker, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, MaxConn: 1 << 20,
	})
	if err != nil {
		return "", err
	}
	go broker.Start()
	if !broker.ReadyForConnections(timeout) {
		return "", errors.New("the broker is not ready")
	}
	service, err := nats.Connect("", nats.InProcessServer(broker), nats.ErrorHandler(complain))
	if err != nil {
		return "", err
	}
	sub, err := service.Subscribe(subject, answer)
	if err != nil {
		return "", err
	}
	if _, err := service.Subscribe(trigger, sendToGroup(service)); err != nil {
		return "", err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return "", err
	}
	return broker.Addr().(*net.TCPAddr).String(), service.Flush()
}

func complain(_ *nats.Conn, _ *nats.Subscription, err error) { fmt.Fprintln(os.Stderr, "nats:", err) }

func answer(msg *nats.Msg) {
	m := new(std.Message)
	if err := proto.Unmarshal(msg.Data, m); err != nil {
		complain(nil, nil, err)
		return
	}
	benchmsg.Sleep(m)
	m.Int2 = benchmsg.Answered
	data, err := proto.Marshal(m)
	if err == nil {
		err = msg.Respond(data)
	}
	if err != nil {
		complain(nil, nil, err)
	}
}

func dial(addr string) (func() error, error) {
	c, err := nats.Connect("nats://"+addr, nats.Timeout(timeout), nats.ErrorHandler(complain))
	if err != nil {
		return nil, err
	}
	request := benchmsg.New[std.Message]()
	return func() error {
		data, err := proto.Marshal(request)
		if err != nil {
			return err
		}
		msg, err := c.Request(subject, data, timeout)
		if err != nil {
			return err
		}
		reply := new(std.Message)
		if err := proto.Unmarshal(msg.Data, reply); err != nil {
			return err
		}
		return benchmsg.Check(reply)
	}, nil
}
