package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/teleport-go/teleport/codecs/pbcodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/std"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

const (
	slowOneIn = 100 // one call in so many is slow in the table of slow handlers
	slowWait  = 10  // milliseconds
)

// teleportLimit is the limit of a message's size: above the largest of the table.
const teleportLimit = 64 << 20

func teleportCandidates() []harness.Candidate {
	return []harness.Candidate{
		{
			Name: "teleport-seed", Serve: teleportServe, Dial: teleportDial(codec.NameProtobuf, callSeed),
			Note: "controller and Call, standard protobuf",
		},
		{
			Name: "teleport-typed", Serve: teleportServe, Dial: teleportDial(codec.NameProtobuf, callTyped),
			Streams: typedStreams, Beside: typedBeside,
			Note: "HandleCall and Invoke, generated codec (vtprotobuf); HandleStream and OpenStream, which receive into new messages; its bulk stream is of bytes",
		},
		{
			Name: "teleport-pooled", Serve: aliased(teleportServe), Dial: aliasedDial(teleportDial(codec.NameProtobuf, callPooled)),
			Streams: aliasedStreams(pooledStreams),
			Note:    "HandleCallInto and InvokeInto, generated codec, strings alias memory that is reused with the message, a sync.Pool of replies in the client; streams by RecvInto",
		},
		{
			Name: "teleport-bytes", Serve: teleportServe,
			Dial: func(addr string) (func() error, error) { return dialBytes(addr, benchmsg.Size) }, DialSized: dialBytes,
			Streams: bytesStreams,
			Note:    "HandleCallInto and InvokeInto, a body of plain bytes, echoed into reused buffers, as the floor does; streams of bytes by RecvInto",
		},
		{
			Name: "teleport-owned-bytes", Serve: teleportServe,
			Dial: func(addr string) (func() error, error) { return dialOwnedBytes(addr, benchmsg.Size) }, DialSized: dialOwnedBytes,
			Note: "HandleCall and Invoke, a body of plain bytes, echoed into new slices",
		},
		{
			Name: "teleport-json", Serve: teleportServe, Dial: teleportDial(codec.NameJSON, callJSON),
			Note: "HandleCall and Invoke, a JSON body of the same size and fewer fields",
		},
		{
			Name: "teleport-seed-json", Serve: teleportServe, Dial: teleportDial(codec.NameJSON, callSeedJSON),
			Note: "controller and Call, a JSON body of the same size and fewer fields",
		},
		{
			Name: "teleport-slow", Serve: teleportServe, Dial: teleportDial(codec.NameProtobuf, callSlow),
			Note: fmt.Sprintf("as teleport-typed; the handler of one call in %d, chosen by the client at random, sleeps %d ms", slowOneIn, slowWait),
		},
		{
			Name: "socket", Serve: socketServe, Dial: socketDial,
			Note: "the socket package alone, standard protobuf, one call at a time on a connection, for the configurations of s",
		},
	}
}

// Bench has handlers in the style of a controller.
type Bench struct{ tp.CallCtx }

// Echo replies with its argument, a number changed.
func (*Bench) Echo(arg *std.Message) (*std.Message, *tp.Rerror) {
	arg.Int2 = benchmsg.Answered
	return arg, nil
}

// Json replies with its argument, a number changed.
func (*Bench) Json(arg *benchmsg.Record) (*benchmsg.Record, *tp.Rerror) {
	arg.ID = benchmsg.Answered
	return arg, nil
}

// borrowedReply is encoded as the message it points to.
type borrowedReply struct{ *vt.Message }

func teleportServe() (string, error) {
	tp.SetLoggerLevel("OFF") // an error fails a call, which is reported
	srv, err := tp.Open(tp.PeerConfig{LocalIP: "127.0.0.1", MessageSizeLimit: teleportLimit})
	if err != nil {
		return "", err
	}
	srv.RouteCall(new(Bench))
	tp.HandleCall(srv, "/typed/echo", func(_ tp.CallCtx, arg *vt.Message) (*vt.Message, error) {
		benchmsg.Sleep(arg)
		arg.Int2 = benchmsg.Answered
		return arg, nil
	})
	tp.HandleCallInto(srv, "/pooled/echo", func(_ tp.CallCtx, arg *vt.Message, reply *borrowedReply) error {
		arg.Int2 = benchmsg.Answered
		reply.Message = arg
		return nil
	})
	tp.HandleCall(srv, "/typed/bytes", func(_ tp.CallCtx, arg *[]byte) ([]byte, error) { return *arg, nil })
	tp.HandleCallInto(srv, "/pooled/bytes", func(_ tp.CallCtx, arg, reply *[]byte) error {
		*reply = *arg
		return nil
	})
	tp.HandleCall(srv, "/typed/json", func(_ tp.CallCtx, arg *benchmsg.Record) (*benchmsg.Record, error) {
		arg.ID = benchmsg.Answered
		return arg, nil
	})
	handleStreams(srv)
	if err := srv.Listen(); err != nil {
		return "", err
	}
	return srv.Addrs()[0].String(), nil
}

// aliases replaces the process's protobuf codec by one that aliases the input; it
// must run before the first peer is made.
var aliases = sync.OnceFunc(func() { codec.Replace(pbcodec.Codec{Alias: true}) })

func aliased(serve func() (string, error)) func() (string, error) {
	return func() (string, error) {
		aliases()
		return serve()
	}
}

func aliasedStreams(open func(addr string, n int) ([]harness.Stream, error)) func(addr string, n int) ([]harness.Stream, error) {
	return func(addr string, n int) ([]harness.Stream, error) {
		aliases()
		return open(addr, n)
	}
}

func aliasedDial(dial func(addr string) (func() error, error)) func(addr string) (func() error, error) {
	return func(addr string) (func() error, error) {
		aliases()
		return dial(addr)
	}
}

// clients has the peer that makes all connections, by its codec; a process has one
// candidate and uses one of them.
var clients = map[string]func() tp.Peer{
	codec.NameProtobuf: sync.OnceValue(func() tp.Peer { return client(codec.NameProtobuf) }),
	codec.NameJSON:     sync.OnceValue(func() tp.Peer { return client(codec.NameJSON) }),
}

func client(codecName string) tp.Peer {
	tp.SetLoggerLevel("OFF") // an error fails a call, which is reported
	return tp.NewPeer(tp.PeerConfig{DefaultBodyCodec: codecName, MessageSizeLimit: teleportLimit})
}

// teleportDial returns a Dial that makes a session and returns call of it.
func teleportDial(codecName string, call func(s tp.Session) func() error) func(addr string) (func() error, error) {
	return func(addr string) (func() error, error) {
		s, r := clients[codecName]().Dial(addr)
		if r.HasError() {
			return nil, r.Err()
		}
		return call(s), nil
	}
}

func callSeed(s tp.Session) func() error {
	request := benchmsg.New[std.Message]()
	return func() error {
		reply := new(std.Message)
		if r := s.Call("/bench/echo", request, reply).Rerror(); r.HasError() {
			return r.Err()
		}
		return benchmsg.Check(reply)
	}
}

func callTyped(s tp.Session) func() error {
	request := benchmsg.New[vt.Message]()
	return func() error { return invokeTyped(s, request) }
}

func callSlow(s tp.Session) func() error {
	request, slow := benchmsg.New[vt.Message](), benchmsg.New[vt.Message]()
	slow.Wait = slowWait
	return func() error {
		if rand.Uint32N(slowOneIn) == 0 {
			return invokeTyped(s, slow)
		}
		return invokeTyped(s, request)
	}
}

func invokeTyped(s tp.Session, request *vt.Message) error {
	reply, err := tp.Invoke[*vt.Message](context.Background(), s, "/typed/echo", request)
	if err != nil {
		return err
	}
	return benchmsg.Check(reply)
}

// replies are reused by the client; nothing refers to a reply after Put.
var replies = sync.Pool{New: func() any { return new(tp.Reused[vt.Message]) }}

func callPooled(s tp.Session) func() error {
	request := benchmsg.New[vt.Message]()
	return func() error {
		reply := replies.Get().(*tp.Reused[vt.Message])
		defer replies.Put(reply)
		if err := tp.InvokeInto(context.Background(), s, "/pooled/echo", request, reply); err != nil {
			return err
		}
		return benchmsg.Check(&reply.Value)
	}
}
