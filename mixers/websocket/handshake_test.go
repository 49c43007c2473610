package websocket

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
)

// ask sends a request, whose lines end with |, to a server and returns the first line of
// the answer and the rest of it.
func ask(t *testing.T, addr, request string) (status, rest string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	_, err = io.WriteString(conn, strings.ReplaceAll(request, "|", "\r\n"))
	require.NoError(t, err)
	head, more, err := readHead(conn)
	if err != nil {
		return "", string(head)
	}
	if !strings.Contains(string(head), " 101 ") {
		body, _ := io.ReadAll(conn)
		more = append(more, body...)
	}
	status, _, _ = strings.Cut(string(head), "\r\n")
	return status, string(head) + string(more)
}

// good is a request without its first line and its end.
const good = "Host: example.com|Upgrade: websocket|Connection: Upgrade|Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==|Sec-WebSocket-Version: 13|"

// TestRequests: what a server answers, by the network and by a handler of net/http.
func TestRequests(t *testing.T) {
	without := func(header string) string {
		lines := strings.SplitAfter(good, "|")
		for i, line := range lines {
			if strings.HasPrefix(line, header+":") {
				lines[i] = ""
			}
		}
		return strings.Join(lines, "")
	}
	get := "GET /ws HTTP/1.1|"
	tests := []struct {
		name, request, status, rest string
		network                     bool // only by the network
	}{
		{"good", get + good + "|", "101 Switching Protocols", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", false},
		{"headers in other cases, in lists", get + "host: a|UPGRADE: h2c, WebSocket|connection: keep-alive, UPGRADE|sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==|sec-websocket-version: 13||",
			"101 Switching Protocols", "", false},
		{"with a query", "GET /ws?a=b HTTP/1.1|" + good + "|", "101 Switching Protocols", "", false},
		{"a sub-protocol", get + good + "Sec-WebSocket-Protocol: teleport.json||", "101 Switching Protocols", "\r\nSec-WebSocket-Protocol: teleport.json\r\n", false},
		{"a sub-protocol, and CONTROL", get + good + "Sec-WebSocket-Protocol: teleport.json|Teleport-Control: 1||", "101 Switching Protocols", "\r\nSec-WebSocket-Protocol: teleport.json\r\nTeleport-Control: 1\r\n\r\n", false},
		{"the first that is known of sub-protocols", get + good + "Sec-WebSocket-Protocol: mqtt, teleport.raw|Sec-WebSocket-Protocol: teleport.json||", "101 Switching Protocols", "\r\nSec-WebSocket-Protocol: teleport.raw\r\n", false},
		{"no sub-protocol that is known", get + good + "Sec-WebSocket-Protocol: mqtt||", "400 Bad Request", `none of the sub-protocols ["mqtt"] is known, but teleport.json, teleport.pb, teleport.raw`, false},
		{"an extension is not used", get + good + "Sec-WebSocket-Extensions: permessage-deflate||", "101 Switching Protocols", "", false},
		{"POST", "POST /ws HTTP/1.1|" + good + "|", "405 Method Not Allowed", "\r\nAllow: GET\r\n", false},
		{"a page", get + "Host: a||", "426 Upgrade Required", "\r\nUpgrade: websocket\r\n", false},
		{"no Connection", get + without("Connection") + "|", "400 Bad Request", "Connection: Upgrade", false},
		{"HTTP/1.0", "GET /ws HTTP/1.0|" + good + "|", "400 Bad Request", "HTTP/1.1", true},
		{"no key", get + without("Sec-WebSocket-Key") + "|", "400 Bad Request", "Sec-WebSocket-Key", false},
		{"a short key", get + without("Sec-WebSocket-Key") + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j||", "400 Bad Request", "Sec-WebSocket-Key", false},
		{"a key that is not base64", get + without("Sec-WebSocket-Key") + "Sec-WebSocket-Key: ????||", "400 Bad Request", "Sec-WebSocket-Key", false},
		{"no version", get + without("Sec-WebSocket-Version") + "|", "426 Upgrade Required", "\r\nSec-WebSocket-Version: 13\r\n", false},
		{"version 8", get + without("Sec-WebSocket-Version") + "Sec-WebSocket-Version: 8||", "426 Upgrade Required", "\r\nSec-WebSocket-Version: 13\r\n", false},
		{"a body", get + good + "Content-Length: 3||abc", "400 Bad Request", "has a body", false},
		{"no host", get + without("Host") + "|", "400 Bad Request", "", false},
		{"a page of another host", get + good + "Origin: http://evil.example||", "403 Forbidden", `pages of the origin "http://evil.example" may not connect to "example.com"`, false},
		{"a page of this host", get + good + "Origin: https://EXAMPLE.com||", "101 Switching Protocols", "", false},
		{"another path", "GET /other HTTP/1.1|" + good + "|", "404 Not Found", `the path is "/ws"`, true},
		{"a head without an end", get + strings.Repeat("X: "+strings.Repeat("x", 1000)+"|", 17), "431 Request Header Fields Too Large", "", true},
		{"no header", get + "?||", "400 Bad Request", "", false},
		{"a space before the colon", get + good + "Origin : http://evil.example||", "400 Bad Request", "", false},
		{"smuggled", get + good + "Transfer-Encoding: chunked|Content-Length: 5||0||", "400 Bad Request", "", false},
	}
	srv := newPeer(t, tp.PeerConfig{LocalIP: "127.0.0.1", Net: Network(Options{Path: "/ws"})})
	require.NoError(t, srv.Listen())
	web := webServer(t, newPeer(t, config()), Options{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for name, addr := range map[string]string{"network": srv.Addrs()[0].String(), "handler": web} {
				if test.network && name != "network" {
					continue
				}
				status, rest := ask(t, addr, test.request)
				require.Equal(t, "HTTP/1.1 "+test.status, strings.SplitN(status, ":", 2)[0], name)
				require.Contains(t, strings.ReplaceAll(rest, "Sec-Websocket-", "Sec-WebSocket-"), test.rest, name)
			}
		})
	}
}

// TestOrigins: which pages may connect.
func TestOrigins(t *testing.T) {
	for _, test := range []struct {
		origins      []string
		origin, host string
		want         bool
	}{
		{nil, "", "a.example", true},
		{nil, "http://a.example", "a.example", true},
		{nil, "https://A.example:8443", "a.EXAMPLE:8443", true},
		{nil, "http://a.example:81", "a.example", false},
		{nil, "http://b.example", "a.example", false},
		{nil, "null", "a.example", false},
		{nil, "file://", "a.example", false},
		{nil, "%", "a.example", false},
		{nil, "ws://127.0.0.1:3000/ws", "a.example", true},
		{[]string{"b.example"}, "http://b.example", "a.example", true},
		{[]string{"b.example"}, "http://b.example.evil.org", "a.example", false},
		{[]string{"b.example"}, "http://evil-b.example", "a.example", false},
		{[]string{"*.b.example"}, "https://www.B.example", "a.example", true},
		{[]string{"*.b.example"}, "https://b.example", "a.example", false},
		{[]string{"*.b.example"}, "https://evil.org/.b.example", "a.example", false},
		{[]string{"https://b.example"}, "http://b.example", "a.example", false},
		{[]string{"https://b.example"}, "https://b.example", "a.example", true},
		{[]string{"https://*.b.example:*"}, "https://x.b.example:8080", "a.example", true},
		{[]string{"*"}, "null", "a.example", true},
		{[]string{"null"}, "null", "a.example", true},
	} {
		o := Options{Origins: test.origins}
		if got := o.allows(test.origin, test.host); got != test.want {
			t.Errorf("%q allow %q at %q: %v, want %v", test.origins, test.origin, test.host, got, test.want)
		}
	}
}

// TestInvalidOptions: Listen and Dial, and NewHandler by a panic, tell what is wrong.
func TestInvalidOptions(t *testing.T) {
	for text, o := range map[string]Options{
		`Options.Origins "["`:            {Origins: []string{"["}},
		`Options.SubProtocols: "a b"`:    {SubProtocols: []SubProtocol{{"a b", newPlain}}},
		`Options.SubProtocols: "a"`:      {SubProtocols: []SubProtocol{{"a", nil}}},
		`Options.TrustedProxies "10"`:    {TrustedProxies: []string{"10"}},
		`Options.Path "/ws?a=b\r\nX: y"`: {Path: "/ws?a=b\r\nX: y"},
	} {
		srv := newPeer(t, tp.PeerConfig{LocalIP: "127.0.0.1", Net: Network(o)})
		require.ErrorContains(t, srv.Listen(), text)
		_, rerr := srv.Dial("127.0.0.1:1")
		require.ErrorContains(t, rerr.Err(), text)
		require.PanicsWithError(t, o.check().Error(), func() { NewHandler(srv, o) })
	}
	tcp := newPeer(t, config())
	require.NoError(t, tcp.Listen())
	cli := newPeer(t, tp.PeerConfig{}, NewDialPlugin("/ws?a=b\r\nX: y"))
	_, rerr := cli.Dial(tcp.Addrs()[0].String(), NewJSONSubProtoFunc())
	require.ErrorContains(t, rerr.Err(), "Options.Path")
	srv := newPeer(t, tp.PeerConfig{LocalIP: "127.0.0.1", Network: "wss"})
	require.ErrorIs(t, srv.Listen(), errNoTLS)
	require.PanicsWithValue(t, errNetwork, func() { NewServer("/", tp.PeerConfig{Network: "unix"}) })
}

// TestHandshakeValues: what Handshake returns, and a plugin stores, is in Swap; the real
// address comes from a trusted proxy.
func TestHandshakeValues(t *testing.T) {
	o := Options{
		TrustedProxies: []string{"127.0.0.0/8"},
		Header:         http.Header{"Authorization": {"Bearer x"}, "X-Forwarded-For": {"10.0.0.1, 192.0.2.7"}},
		Handshake: func(r *http.Request) (map[any]any, *tp.Rerror) {
			if r.Header.Get("Authorization") != "Bearer x" {
				return nil, tp.NewRerror(tp.CodeUnauthorized, "who are you?", "secret reason")
			}
			return map[any]any{"user": "ann"}, nil
		},
	}
	cfg := tp.PeerConfig{LocalIP: "127.0.0.1", TrustedProxies: []string{"127.0.0.1"}, Net: Network(o)}
	accepted := make(chan any, 10)
	plugin := &tp.PluginImpl{PluginName: "look", OnPostAccept: func(s tp.PreSession) *tp.Rerror {
		v, _ := s.Swap().Load("user")
		accepted <- v
		return nil
	}}
	srv := newPeer(t, cfg, plugin)
	handle(srv)
	require.NoError(t, srv.Listen())
	for name, addr := range map[string]string{"network": srv.Addrs()[0].String(), "handler": webServer(t, srv, o)} {
		t.Run(name, func(t *testing.T) {
			cli := newPeer(t, tp.PeerConfig{Net: Network(Options{Header: o.Header})})
			sess, rerr := cli.Dial(addr)
			require.Nil(t, rerr)
			require.Equal(t, "ann", <-accepted)
			var who string
			require.Nil(t, sess.Call("/who", "", &who).Rerror())
			require.Equal(t, "ann@192.0.2.7", who)

			cli = newPeer(t, tp.PeerConfig{Net: Network(Options{})})
			_, rerr = cli.Dial(addr)
			require.Equal(t, tp.CodeUnauthorized, rerr.Code)
			require.Contains(t, rerr.Reason, "the server answered 401 Unauthorized: who are you?")
			require.NotContains(t, rerr.Reason, "secret")
		})
	}
}

// TestUntrusted: X-Forwarded-For of a client that is not a trusted proxy.
func TestUntrusted(t *testing.T) {
	srv := newPeer(t, tp.PeerConfig{LocalIP: "127.0.0.1", Network: "ws"})
	handle(srv)
	require.NoError(t, srv.Listen())
	cli := newPeer(t, tp.PeerConfig{Net: Network(Options{Header: http.Header{"X-Forwarded-For": {"192.0.2.7"}}})})
	for _, addr := range []string{srv.Addrs()[0].String(), webServer(t, srv, Options{})} {
		sess, rerr := cli.Dial(addr)
		require.Nil(t, rerr)
		var who string
		require.Nil(t, sess.Call("/who", "", &who).Rerror())
		require.Equal(t, "@"+sess.LocalAddr().String(), who)
	}
}

func TestForwardedFor(t *testing.T) {
	for _, test := range []struct {
		lines []string
		want  string
	}{
		{nil, ""},
		{[]string{"192.0.2.7"}, "192.0.2.7"},
		{[]string{"10.0.0.1, 192.0.2.7"}, "192.0.2.7"},
		{[]string{"10.0.0.1", "192.0.2.7"}, "192.0.2.7"},
		{[]string{"192.0.2.7:1234"}, "192.0.2.7"},
		{[]string{"[2001:db8::1]:1234"}, "2001:db8::1"},
		{[]string{"[2001:db8::1]"}, "2001:db8::1"},
		{[]string{"2001:DB8::1"}, "2001:db8::1"},
		{[]string{"unknown"}, ""},
		{[]string{"192.0.2.7,"}, ""},
	} {
		if got := forwardedFor(&http.Request{Header: http.Header{"X-Forwarded-For": test.lines}}); got != test.want {
			t.Errorf("of %q: %q, want %q", test.lines, got, test.want)
		}
	}
}

// TestHandshakeAuth: the plugin of v7, by a network and by a handler.
func TestHandshakeAuth(t *testing.T) {
	ids := make(chan string, 10)
	auth := NewHandshakeAuthPlugin(
		func(r *http.Request) (string, *tp.Rerror) {
			switch token := QueryToken("token", r); token {
			case "good", "late":
				return "id of " + token, nil
			}
			return "", tp.NewRerror(tp.CodeForbidden, "no", "")
		},
		func(sess tp.Session) *tp.Rerror {
			ids <- sess.ID()
			if sess.ID() == "id of late" {
				return tp.NewRerror(tp.CodeForbidden, "too late", "")
			}
			return nil
		})
	srv := newPeer(t, tp.PeerConfig{LocalIP: "127.0.0.1", Network: "ws"}, auth)
	handle(srv)
	require.NoError(t, srv.Listen())
	for name, addr := range map[string]string{"network": srv.Addrs()[0].String(), "handler": webServer(t, srv, Options{})} {
		t.Run(name, func(t *testing.T) {
			status, _ := ask(t, addr, "GET /?token=good HTTP/1.1|"+good+"|")
			require.Equal(t, "HTTP/1.1 101 Switching Protocols", status)
			require.Equal(t, "id of good", <-ids)
			status, _ = ask(t, addr, "GET /?token=bad HTTP/1.1|"+good+"|")
			require.Equal(t, "HTTP/1.1 403 Forbidden", status)
			status, _ = ask(t, addr, "GET /?token=late HTTP/1.1|"+good+"|")
			require.Equal(t, "HTTP/1.1 101 Switching Protocols", status)
			require.Equal(t, "id of late", <-ids)

			cli := newPeer(t, tp.PeerConfig{Net: Network(Options{Path: "/?token=good"})})
			sess, rerr := cli.Dial(addr)
			require.Nil(t, rerr)
			upper(t, sess)
			require.Equal(t, "id of good", <-ids)
		})
	}
	require.Empty(t, ids)
}

// TestNotOfWebSocket: a connection without a handshake does not pass the plugin.
func TestNotOfWebSocket(t *testing.T) {
	srv := newPeer(t, config(), NewHandshakeAuthPlugin(nil, nil))
	near, far := net.Pipe()
	defer far.Close()
	_, rerr := srv.ServeConnWith(near, tp.ConnFacts{})
	require.Equal(t, tp.CodeUnauthorized, rerr.Code)
}

// TestServerPages: pages and sessions on one port.
func TestServerPages(t *testing.T) {
	cfg := config()
	cfg.TrustedProxies = []string{"127.0.0.1"}
	srv := NewServer("/ws", cfg)
	defer srv.Close()
	handle(srv)
	srv.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "page %s of %s", r.URL.Path, r.Host) })
	require.NoError(t, srv.Listen(NewPbSubProtoFunc()))
	addr := srv.Addrs()[0].String()
	client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	for _, path := range []string{"/", "/a", "/b"} { // on one connection
		r, err := client.Get("http://" + addr + path)
		require.NoError(t, err)
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		require.NoError(t, err)
		require.Equal(t, "page "+path+" of "+addr, string(body))
	}
	cli := NewClient("/ws", tp.PeerConfig{})
	defer cli.Close()
	sess, rerr := cli.DialProtobuf(addr)
	require.Nil(t, rerr)
	upper(t, sess)
	require.Equal(t, 1, srv.CountSession())

	// A request for WebSocket behind another one of the same connection.
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(conn, strings.ReplaceAll("GET /a HTTP/1.1|Host: a||", "|", "\r\n"))
	_, rest, err := readHead(conn)
	require.NoError(t, err)
	for !strings.HasSuffix(string(rest), "page /a of a") {
		b := make([]byte, 100)
		n, err := conn.Read(b)
		require.NoError(t, err)
		rest = append(rest, b[:n]...)
	}
	io.WriteString(conn, strings.ReplaceAll("GET /ws HTTP/1.1|"+good+"X-Forwarded-For: 192.0.2.7||", "|", "\r\n"))
	head, rest, err := readHead(conn)
	require.NoError(t, err)
	require.Contains(t, string(head), " 101 ")
	// It has the sub-protocol of Listen too, and the trusted proxies.
	call, err := NewPbSubProtoFunc()(closedConn{}).(socket.FrameAppender).AppendFrame(nil, prototest.Message(1, tp.TypeCall, "/who", 'j', `""`))
	require.NoError(t, err)
	conn.Write(appendFrame(call, opBinary, true))
	for !strings.Contains(string(rest), `"@192.0.2.7"`) {
		b := make([]byte, 100)
		n, err := conn.Read(b)
		require.NoError(t, err, "%q", rest)
		rest = append(rest, b[:n]...)
	}
}

// TestAnswers: what a client makes of answers.
func TestAnswers(t *testing.T) {
	ok := "HTTP/1.1 101 Switching Protocols|Upgrade: websocket|Connection: Upgrade|Sec-WebSocket-Accept: KEY|"
	for _, test := range []struct {
		name, answer, want string
		code               int32
	}{
		{"refused", "HTTP/1.1 403 Forbidden|Content-Length: 3||no!", "the server answered 403 Forbidden: no!", tp.CodeForbidden},
		{"redirected", "HTTP/1.1 302 Found|Location: /x||", "the server answered 302 Found", tp.CodeDialFailed},
		{"not HTTP", "SSH-2.0-OpenSSH_9.2||", "is not of HTTP", tp.CodeDialFailed},
		{"cut", "HTTP/1.1 101 Swit", `ended after 17 bytes, "HTTP/1.1 101 Swit"`, tp.CodeDialFailed},
		{"closed", "", "EOF", tp.CodeDialFailed},
		{"another key", strings.Replace(ok, "KEY", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 1) + "|", "is not for this request", tp.CodeDialFailed},
		{"no Upgrade", strings.Replace(ok, "Upgrade: websocket|", "", 1) + "|", "has no Upgrade: websocket", tp.CodeDialFailed},
		{"no Connection", strings.Replace(ok, "Connection: Upgrade|", "", 1) + "|", "no Connection: Upgrade", tp.CodeDialFailed},
		{"an extension", ok + "Sec-WebSocket-Extensions: permessage-deflate||", "an extension that was not offered", tp.CodeDialFailed},
		{"no sub-protocol", ok + "|", `has the sub-protocol [], want teleport.raw`, tp.CodeDialFailed},
		{"another sub-protocol", ok + "Sec-WebSocket-Protocol: teleport.json||", `has the sub-protocol ["teleport.json"], want teleport.raw`, tp.CodeDialFailed},
		{"too long", ok + strings.Repeat("X: "+strings.Repeat("x", 1000)+"|", 17) + "|", "the head of the handshake is longer than 16384 bytes", tp.CodeDialFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer lis.Close()
			go func() {
				conn, err := lis.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				head, _, _ := readHead(conn)
				_, key, _ := strings.Cut(string(head), "Sec-WebSocket-Key: ")
				key, _, _ = strings.Cut(key, "\r\n")
				answer := strings.Replace(test.answer, "KEY", acceptKey(key), 1)
				io.WriteString(conn, strings.ReplaceAll(answer, "|", "\r\n"))
				conn.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, conn)
			}()
			cli := newPeer(t, tp.PeerConfig{Network: "ws", Protocols: []string{"raw"}})
			_, rerr := cli.DialContext(context.Background(), lis.Addr().String())
			require.Contains(t, rerr.Reason, test.want)
			require.Equal(t, test.code, rerr.Code)
		})
	}
}

// TestTarget: what a client asks for, also in the Origin of v5 and v7, and what a server
// compares.
func TestTarget(t *testing.T) {
	conn, other := net.Pipe()
	defer conn.Close()
	defer other.Close()
	for _, test := range []struct{ path, target, server string }{
		{"", "/", "/"},
		{"ws", "/ws", "/ws"},
		{"/a//b/../c/", "/a/c", "/a/c"},
		{"/ws?token=a/b//c", "/ws?token=a/b//c", "/ws"},
		{"/a b/é", "/a%20b/%C3%A9", "/a b/é"},
		{"/a\r\nX: y", "/a%0D%0AX:%20y", "/a\r\nX: y"},
	} {
		o := Options{Path: test.path}
		if o.target() != test.target || o.path() != test.server {
			t.Errorf("%q: target %q, path %q; want %q, %q", test.path, o.target(), o.path(), test.target, test.server)
		}
		target, _, _ := strings.Cut(test.target, "?")
		require.Equal(t, "ws://pipe"+target, originOf(conn, o.path()))
	}
}
