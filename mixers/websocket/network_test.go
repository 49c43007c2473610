package websocket

import (
	"testing"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/protos/pbproto"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// TestByName: the network ws with nothing but its name, and each protocol of the peer.
func TestByName(t *testing.T) {
	for _, proto := range []string{"raw", "json", "protobuf"} {
		t.Run(proto, func(t *testing.T) {
			cfg := config()
			cfg.Network, cfg.Protocols = "ws", []string{proto}
			srv, cli := newPeer(t, cfg), newPeer(t, tp.PeerConfig{Network: "ws", Protocols: []string{proto}})
			handle(srv)
			handle(cli)
			require.NoError(t, srv.Listen())
			sess, rerr := cli.Dial(srv.Addrs()[0].String())
			require.Nil(t, rerr)
			upper(t, sess)
			require.Equal(t, int32(777), sess.Call("/fail", "x", nil).Rerror().Code)
			srv.RangeSession(func(s tp.Session) bool { upper(t, s); return true })
		})
	}
}

// TestAncestors: the server and the client of v5 and v7, by each of their methods.
func TestAncestors(t *testing.T) {
	for name, dial := range map[string]func(c *Client, addr string) (tp.Session, *tp.Rerror){
		"JSON":     func(c *Client, addr string) (tp.Session, *tp.Rerror) { return c.DialJSON(addr) },
		"protobuf": func(c *Client, addr string) (tp.Session, *tp.Rerror) { return c.DialProtobuf(addr) },
	} {
		t.Run(name, func(t *testing.T) {
			srv := NewServer("/ws", config())
			defer srv.Close()
			handle(srv)
			var sub tp.ProtoFunc
			if name == "protobuf" {
				sub = NewPbSubProtoFunc()
			}
			require.NoError(t, srv.Listen(sub))
			cli := NewClient("/ws", tp.PeerConfig{})
			defer cli.Close()
			sess, rerr := dial(cli, srv.Addrs()[0].String())
			require.Nil(t, rerr)
			upper(t, sess)
			require.Equal(t, int32(777), sess.Call("/fail", "x", nil).Rerror().Code)
		})
	}
}

// TestHandler: a web server of net/http, and clients by name and without.
func TestHandler(t *testing.T) {
	srv := newPeer(t, config())
	handle(srv)
	addr := webServer(t, srv, Options{})
	for _, proto := range []string{"raw", "json", "protobuf"} {
		cli := newPeer(t, tp.PeerConfig{Network: "ws", Protocols: []string{proto}})
		sess, rerr := cli.Dial(addr)
		require.Nil(t, rerr)
		upper(t, sess)
	}
	cli := NewClient("", tp.PeerConfig{})
	defer cli.Close()
	sess, rerr := cli.Dial(addr)
	require.Nil(t, rerr)
	upper(t, sess)
}

// TestDialPlugin: the plugin of v5 and v7 for a peer of the network tcp.
func TestDialPlugin(t *testing.T) {
	srv := NewServer("/ws", config())
	defer srv.Close()
	handle(srv)
	require.NoError(t, srv.Listen())
	cli := newPeer(t, tp.PeerConfig{}, NewDialPlugin("/ws"))
	sess, rerr := cli.Dial(srv.Addrs()[0].String(), NewJSONSubProtoFunc())
	require.Nil(t, rerr)
	upper(t, sess)
}

// TestSubProtocolAppends: whatever way a peer is given its protocol, messages are appended
// to the batch, and not packed one by one.
func TestSubProtocolAppends(t *testing.T) {
	for name, pf := range map[string]socket.ProtoFunc{
		"raw": rawproto.NewRawProtoFunc(), "raw of several": socket.AnyProto("raw", "json"), "json": socket.AnyProto("json"),
		"protobuf": pbproto.NewPbProtoFunc(),
	} {
		sub := subProtocolOf(pf)
		if _, ok := NewWsProtoFunc(sub.New)(closedConn{}).(socket.FrameAppender); !ok {
			t.Errorf("%s: the protocol of %s cannot append", name, sub.Name)
		}
	}
}

// TestNoName: a client that names no sub-protocol, as those of v5 and v7, and a peer whose
// own protocol is another one.
func TestNoName(t *testing.T) {
	_, addrs := servers(t, tp.PeerConfig{Protocols: []string{"raw"}})
	for name, addr := range addrs {
		t.Run(name, func(t *testing.T) {
			cli := NewClient("/", tp.PeerConfig{})
			defer cli.Close()
			sess, rerr := cli.Dial(addr)
			require.Nil(t, rerr)
			upper(t, sess)
		})
	}
}

// TestBehindFrame: a message has one frame of the sub-protocol; what is behind it costs the
// message.
func TestBehindFrame(t *testing.T) {
	raw := NewWsProtoFunc(rawproto.NewRawProtoFunc())
	frame, err := rawproto.NewRawProtoFunc()(closedConn{}).(socket.FrameAppender).AppendFrame(nil, prototest.Message(1, tp.TypePush, "/a", 'j', "1"))
	require.NoError(t, err)
	_, s := prototest.Pair(raw, raw)
	s.Arrive(appendFrame(append(frame, "xyz"...), opBinary, true))
	s.Arrive(appendFrame(frame, opBinary, true))
	require.ErrorContains(t, s.Unpack(socket.NewMessage()), "3 bytes")
	require.NoError(t, s.Unpack(socket.NewMessage()))
}

// Math is the handler of the seed's sample.
type Math struct{ tp.CallCtx }

// Add adds.
func (m *Math) Add(arg *[]int) (int, *tp.Rerror) {
	if m.Query().Get("author") == "" {
		return 0, tp.NewRerror(400, "no author", "")
	}
	sum := 0
	for _, a := range *arg {
		sum += a
	}
	return sum, nil
}

// Push is that of its client.
type Push struct{ tp.PushCtx }

// statuses are what Push has received.
var statuses = make(chan string, 1)

// Status receives a status.
func (*Push) Status(arg *string) *tp.Rerror {
	statuses <- *arg
	return nil
}

// TestSamples: the seed's two samples, with nothing but Network changed.
func TestSamples(t *testing.T) {
	srv := newPeer(t, tp.PeerConfig{CountTime: true, LocalIP: "127.0.0.1", Network: "ws"})
	srv.RouteCall(new(Math))
	require.NoError(t, srv.Listen())
	cli := newPeer(t, tp.PeerConfig{Network: "ws"})
	cli.RoutePush(new(Push))
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	require.Nil(t, rerr)
	var result int
	require.Nil(t, sess.Call("/math/add?author=henrylee2cn", []int{1, 2, 3, 4, 5}, &result).Rerror())
	require.Equal(t, 15, result)
	srv.RangeSession(func(s tp.Session) bool {
		require.Nil(t, s.Push("/push/status", "this is a broadcast"))
		return true
	})
	require.Equal(t, "this is a broadcast", <-statuses)
}
