package websocket

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
)

// Frames of v5 and v7, which are the same, captured between two of their processes.
var captured = []struct {
	name   string
	pf     tp.ProtoFunc
	client bool   // sent it
	hex    string // of the frame
	want   socket.Message
}{
	{"JSON reply", NewJSONSubProtoFunc(), false,
		"8264" + hex.EncodeToString([]byte(`{"seq":1,"mtype":2,"serviceMethod":"","meta":"who=srv%201","bodyCodec":106,"body":"6","xferPipe":[]}`)),
		prototest.Message(1, tp.TypeReply, "", 'j', "6", tp.WithAddMeta("who", "srv 1"))},
	{"protobuf call", NewPbSubProtoFunc(), true,
		"829af8acb3b9f0ada3b8e2a59cd499d8db9699c8d791929eb4e2c9808195cbf1",
		prototest.Message(1, tp.TypeCall, "/math/add", 'j', "[1,2,3]")},
	{"protobuf reply", NewPbSubProtoFunc(), false,
		"821608011002220b77686f3d73727625323031286a320136",
		prototest.Message(1, tp.TypeReply, "", 'j', "6", tp.WithAddMeta("who", "srv 1"))},
}

func TestGolden(t *testing.T) {
	for _, test := range captured {
		t.Run(test.name, func(t *testing.T) {
			frame, err := hex.DecodeString(test.hex)
			require.NoError(t, err)
			c, s := prototest.Pair(NewWsProtoFunc(test.pf), NewWsProtoFunc(test.pf))
			from, to := s, c
			if test.client {
				from, to = c, s
			}
			to.Arrive(frame)
			got := socket.NewMessage()
			require.NoError(t, to.Unpack(got))
			require.Equal(t, prototest.Picture(test.want), prototest.Picture(got))

			require.NoError(t, from.Pack(test.want))
			written := to.Take()
			if test.client { // with another key
				h, err := parseHeader(written[:headerSize(written)])
				require.NoError(t, err)
				mask(written[h.size:], h.key)
				mask(written[h.size:], binary.LittleEndian.Uint32(frame[h.size-keySize:]))
				copy(written[h.size-keySize:], frame[h.size-keySize:h.size])
			}
			require.Equal(t, test.hex, hex.EncodeToString(written))
		})
	}
}

// TestScriptDocuments: what is written of messages, and what scripts may leave out.
func TestScriptDocuments(t *testing.T) {
	prototest.RegisterFilters()
	pf := subProtocols[0].New
	for _, test := range []struct {
		name string
		m    socket.Message
		doc  string
	}{
		{"call", prototest.Message(7, tp.TypeCall, "/math/add", 'j', "[1,2,3]"), `{"seq":7,"mtype":1,"serviceMethod":"/math/add","body":[1,2,3]}`},
		{"call without a body", prototest.Message(7, tp.TypeCall, "/now", 0, ""), `{"seq":7,"mtype":1,"serviceMethod":"/now"}`},
		{"reply", prototest.Message(7, tp.TypeReply, "", 'j', `{"a":null}`), `{"seq":7,"mtype":2,"body":{"a":null}}`},
		{"error", prototest.Message(7, tp.TypeReply, "", 0, "", tp.WithRerror(tp.NewRerror(404, "Not Found", "no user 7"))),
			`{"seq":7,"mtype":2,"error":{"code":404,"message":"Not Found","reason":"no user 7"}}`},
		{"push", prototest.Message(0, tp.TypePush, "/chat/say", 'j', `"hello"`, tp.WithAddMeta("room", "go")),
			`{"mtype":3,"serviceMethod":"/chat/say","meta":{"room":"go"},"body":"hello"}`},
		{"text", prototest.Message(7, tp.TypeReply, "", 's', "a\n\"b\" é"), `{"seq":7,"mtype":2,"bodyCodec":115,"body": "a\n\"b\" é"}`},
		{"bytes", prototest.Message(7, tp.TypeReply, "", 'p', "\xff\x00"), `{"seq":7,"mtype":2,"bodyCodec":112,"bodyBase64":"/wA="}`},
		{"bytes that are no JSON", prototest.Message(7, tp.TypeReply, "", 'j', "[1,"), `{"seq":7,"mtype":2,"bodyCodec":106,"body":"[1,"}`},
		{"no codec", prototest.Message(7, tp.TypeReply, "", 0, "x"), `{"seq":7,"mtype":2,"bodyCodec":0,"body":"x"}`},
		{"a key twice", prototest.Message(7, tp.TypeReply, "", 0, "", tp.WithAddMeta("a", "1"), tp.WithAddMeta("a", "2")), `{"seq":7,"mtype":2,"meta":"a=1&a=2"}`},
		{"filter", prototest.Message(7, tp.TypeReply, "", 'j', "6", tp.WithXferPipe('m')), `{"seq":7,"mtype":2,"xferPipe":[109],…`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, s := prototest.Pair(NewWsProtoFunc(pf), NewWsProtoFunc(pf))
			if test.name != "filter" { // whose bytes are not text
				require.NoError(t, s.Pack(test.m))
				b := c.Arrived()
				require.Equal(t, "\x81", string(b[:1]), "it is a text message")
				require.Equal(t, test.doc, string(b[headerSize(b):]))
				c.Take()
			}
			prototest.Pass(t, c, s, test.m)
		})
	}
	for _, test := range []struct {
		doc  string
		want socket.Message
	}{
		{`{"seq":7,"serviceMethod":"/math/add","body":[1,2,3]}`, prototest.Message(7, tp.TypeCall, "/math/add", 'j', "[1,2,3]")},
		{`{"serviceMethod":"/say","body":"hi"}`, prototest.Message(0, tp.TypePush, "/say", 'j', `"hi"`)},
		{`{"seq":0,"serviceMethod":"/a"}`, prototest.Message(0, tp.TypeCall, "/a", 0, "")},
		{`{"seq":7,"body":null}`, prototest.Message(7, tp.TypeReply, "", 'j', "null")},
		{` { "body" : { "seq" : [ "}" ] } , "seq" : 7 } `, prototest.Message(7, tp.TypeReply, "", 'j', `{ "seq" : [ "}" ] }`)},
		{`{"seq":7,"error":{"message":"x"}}`, prototest.Message(7, tp.TypeReply, "", 0, "", tp.WithRerror(tp.NewRerror(-1, "x", "")))},
		{`{"seq":7,"error":null,"body":1}`, prototest.Message(7, tp.TypeReply, "", 'j', "1")},
		{`{"serviceMethod":"/a","meta":{"a":"1","b":[2,"3",true],"c":null,"d":{}}}`, nil},
		{`{"serviceMethod":"/a","meta":{"a":"1","b":[2,"3",true],"c":null},"unknown":[{"x":1}]}`,
			prototest.Message(0, tp.TypePush, "/a", 0, "", tp.WithAddMeta("a", "1"), tp.WithAddMeta("b", "2"), tp.WithAddMeta("b", "3"), tp.WithAddMeta("b", "true"))},
		{`{"seq":1,"bodyCodec":106,"body":{"a":1}}`, prototest.Message(1, tp.TypeReply, "", 'j', `{"a":1}`)},
		{`{"seq":1,"bodyCodec":115,"body":{"a":1}}`, nil},
		{`{"seq":1,"bodyCodec":112,"bodyBase64":"?"}`, nil},
		{`{"seq":1,"body":[1}`, nil},
		{`{"seq":1,"body":}`, nil},
		{`{"seq":1,"body":1`, nil},
		{`{"seq":1,"body":"a`, nil},
		{`{"seq":1}x`, nil},
		{`{"seq":"1"}`, nil},
		{`{"seq":1e10}`, nil},
		{`[]`, nil},
		{``, nil},
	} {
		t.Run(test.doc, func(t *testing.T) {
			_, s := prototest.Pair(NewWsProtoFunc(pf), NewWsProtoFunc(pf))
			s.Arrive(appendFrame([]byte(test.doc), opText, true))
			got := socket.NewMessage()
			err := s.Unpack(got)
			if test.want == nil {
				require.ErrorIs(t, err, socket.ErrBadMessage)
				return
			}
			require.NoError(t, err)
			require.Equal(t, prototest.Picture(test.want), prototest.Picture(got))
		})
	}
}

// TestRequestOfAncestors: the request of a client of v5 or v7, and of NewClient.
func TestRequestOfAncestors(t *testing.T) {
	const want = "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:43231\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: KEY\r\n" +
		"Origin: ws://127.0.0.1:36487/ws\r\nSec-WebSocket-Version: 13\r\n\r\n"
	o := Options{Path: "ws"}
	require.Equal(t, want, string(o.appendRequest(nil, "127.0.0.1:43231", "ws://127.0.0.1:36487/ws", "", "KEY")))

	// Its Origin is not that of the host, and is accepted.
	r := httptest.NewRequest("GET", "/ws", nil)
	r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		"Origin": {"ws://127.0.0.1:36487/ws"}, "Sec-Websocket-Version": {"13"}}
	u, no := o.upgrade(r, newPeer(t, tp.PeerConfig{}))
	require.Nil(t, no)
	require.Equal(t, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", string(u.appendAnswer(nil)))
}

// TestCapturedSession: a client of v5 or v7, whose bytes are those of a capture, and the
// server.
func TestCapturedSession(t *testing.T) {
	srv := NewServer("/ws", config())
	defer srv.Close()
	tp.HandleCall(srv, "/math/add", func(ctx tp.CallCtx, arg *[]int) (int, error) {
		ctx.SetMeta("who", "srv 1")
		return (*arg)[0] + (*arg)[1] + (*arg)[2], nil
	})
	require.NoError(t, srv.Listen(NewPbSubProtoFunc()))
	conn, err := net.Dial("tcp", srv.Addrs()[0].String())
	require.NoError(t, err)
	defer conn.Close()
	request := strings.ReplaceAll("GET /ws HTTP/1.1|Host: x|Upgrade: websocket|Connection: Upgrade|Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==|"+
		"Origin: ws://127.0.0.1:36487/ws|Sec-WebSocket-Version: 13||", "|", "\r\n")
	call, _ := hex.DecodeString(captured[1].hex)
	_, err = conn.Write(append([]byte(request), call...)) // a client should wait; nothing is lost if it does not
	require.NoError(t, err)
	head, rest, err := readHead(conn)
	require.NoError(t, err)
	require.Contains(t, string(head), "101 Switching")
	want, _ := hex.DecodeString(captured[2].hex)
	for len(rest) < len(want) {
		b := make([]byte, 100)
		n, err := conn.Read(b)
		require.NoError(t, err)
		rest = append(rest, b[:n]...)
	}
	require.Equal(t, captured[2].hex, hex.EncodeToString(rest))
}
