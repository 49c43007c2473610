package websocket

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
)

// This file holds conversations with another implementation, github.com/coder/websocket.

// dialForeign connects a client of coder/websocket.
func dialForeign(t *testing.T, addr string, subs ...string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c, _, err := websocket.Dial(ctx, "ws://"+addr+"/", &websocket.DialOptions{Subprotocols: subs, CompressionMode: websocket.CompressionContextTakeover})
	require.NoError(t, err)
	t.Cleanup(func() { c.CloseNow() })
	c.SetReadLimit(16 << 20)
	return c
}

// say sends a text message.
func say(t *testing.T, c *websocket.Conn, text string) {
	t.Helper()
	require.NoError(t, c.Write(t.Context(), websocket.MessageText, []byte(text)))
}

// hear reads a text message.
func hear(t *testing.T, c *websocket.Conn) string {
	t.Helper()
	kind, b, err := c.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, websocket.MessageText, kind)
	return string(b)
}

// servers are a peer that listens and a handler of net/http for the same peer.
func servers(t *testing.T, cfg tp.PeerConfig, plugins ...tp.Plugin) (srv tp.Peer, addrs map[string]string) {
	t.Helper()
	cfg.LocalIP, cfg.Network = "127.0.0.1", "ws"
	srv = newPeer(t, cfg, plugins...)
	handle(srv)
	require.NoError(t, srv.Listen())
	return srv, map[string]string{"network": srv.Addrs()[0].String(), "handler": webServer(t, srv, Options{})}
}

// TestForeignClient: a script, with nothing but WebSocket and JSON.
func TestForeignClient(t *testing.T) {
	accepted := make(chan tp.PreSession, 1)
	srv, addrs := servers(t, tp.PeerConfig{}, &tp.PluginImpl{PluginName: "see", OnPostAccept: func(s tp.PreSession) *tp.Rerror {
		accepted <- s
		return nil
	}})
	pushed := make(chan string, 1)
	tp.HandlePush(srv, "/note", func(_ tp.PushCtx, s *string) error { pushed <- *s; return nil })
	for name, addr := range addrs {
		t.Run(name, func(t *testing.T) {
			c := dialForeign(t, addr, "mqtt", SubJSON)
			require.Equal(t, SubJSON, c.Subprotocol())
			sess := (<-accepted).(tp.Session)

			say(t, c, `{"seq":1,"serviceMethod":"/upper","body":"hello"}`)
			require.Equal(t, `{"seq":1,"mtype":2,"body":"HELLO"}`, hear(t, c))
			say(t, c, `{"seq":2,"serviceMethod":"/fail","body":"x"}`)
			require.Equal(t, `{"seq":2,"mtype":2,"error":{"code":777,"message":"no","reason":"because"}}`, hear(t, c))
			say(t, c, `{"seq":3,"serviceMethod":"/nobody"}`)
			require.Contains(t, hear(t, c), `{"seq":3,"mtype":2,"error":{"code":404,`)
			say(t, c, `{"serviceMethod":"/note","body":"a note"}`)
			require.Equal(t, "a note", <-pushed)

			// Garbage costs nothing but itself.
			say(t, c, `{"seq":`)
			require.NoError(t, c.Write(t.Context(), websocket.MessageBinary, []byte{0xff, 0}))
			say(t, c, `{"seq":4,"serviceMethod":"/upper","body":"still here"}`)
			require.Equal(t, `{"seq":4,"mtype":2,"body":"STILL HERE"}`, hear(t, c))

			// The server calls the script.
			done := make(chan struct{})
			go func() {
				defer close(done)
				var reply map[string]int
				require.Nil(t, sess.Call("/ask", []int{1}, &reply).Rerror())
				require.Equal(t, map[string]int{"a": 7}, reply)
				require.Equal(t, int32(9), sess.Call("/ask", nil, nil).Rerror().Code)
			}()
			for _, answer := range []string{`"body":{"a":7}`, `"error":{"code":9,"message":"no"}`} {
				var call struct {
					Seq   int
					Mtype int
				}
				require.NoError(t, json.Unmarshal([]byte(hear(t, c)), &call))
				require.Equal(t, 1, call.Mtype)
				b, _ := json.Marshal(call.Seq)
				say(t, c, `{"seq":`+string(b)+`,`+answer+`}`)
			}
			<-done

			// 1 MiB, and in fragments both ways.
			large := strings.Repeat("x", 1<<20)
			w, err := c.Writer(t.Context(), websocket.MessageText)
			require.NoError(t, err)
			for _, part := range []string{`{"seq":5,"serviceMethod":"/up`, `per","body":"`, large, `"}`} {
				_, err = io.WriteString(w, part)
				require.NoError(t, err)
			}
			require.NoError(t, w.Close())
			require.Equal(t, `{"seq":5,"mtype":2,"body":"`+strings.ToUpper(large)+`"}`, hear(t, c))

			ctx := c.CloseRead(t.Context()) // it reads, so that the pong is seen
			require.NoError(t, c.Ping(ctx))
			require.NoError(t, c.Close(websocket.StatusNormalClosure, "bye"))
			<-sess.CloseNotify()
			require.Equal(t, tp.SideRemote, sess.CloseReason().Side)
		})
	}
}

// TestCloseCodesSent: the close codes that a client sees.
func TestCloseCodesSent(t *testing.T) {
	for _, test := range []struct {
		name   string
		do     func(srv tp.Peer, s tp.Session, c *websocket.Conn)
		code   websocket.StatusCode
		reason string
	}{
		{"Close", func(_ tp.Peer, s tp.Session, _ *websocket.Conn) { s.Close() }, 1000, ""},
		{"CloseWith", func(_ tp.Peer, s tp.Session, _ *websocket.Conn) { s.CloseWith(tp.NewRerror(403, "go away", "secret")) }, 1008, "403 go away"},
		{"a long reason", func(_ tp.Peer, s tp.Session, _ *websocket.Conn) {
			s.CloseWith(tp.NewRerror(403, strings.Repeat("é", 100), ""))
		}, 1008, "403 " + strings.Repeat("é", 59)},
		{"shutdown", func(srv tp.Peer, _ tp.Session, _ *websocket.Conn) { srv.Close() }, 1001, ""},
		{"over the limit", func(_ tp.Peer, _ tp.Session, c *websocket.Conn) {
			c.Write(context.Background(), websocket.MessageText, make([]byte, 2000))
		}, 1009, ""},
		{"not UTF-8", func(_ tp.Peer, _ tp.Session, c *websocket.Conn) {
			c.Write(context.Background(), websocket.MessageText, []byte{0xff})
		}, 1007, ""},
		{"the answer to 1000", func(_ tp.Peer, _ tp.Session, c *websocket.Conn) { c.Close(1000, "") }, 1000, ""},
		{"the answer to 3999", func(_ tp.Peer, _ tp.Session, c *websocket.Conn) { c.Close(3999, "x") }, 3999, ""},
		{"the answer to 4999", func(_ tp.Peer, _ tp.Session, c *websocket.Conn) { c.Close(4999, "x") }, 4999, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			accepted := make(chan tp.PreSession, 1)
			srv, addrs := servers(t, tp.PeerConfig{MessageSizeLimit: 1000, CloseTimeout: 10 * time.Second}, &tp.PluginImpl{PluginName: "see", OnPostAccept: func(s tp.PreSession) *tp.Rerror {
				accepted <- s
				return nil
			}})
			c := dialForeign(t, addrs["network"], SubJSON)
			sess := (<-accepted).(tp.Session)
			say(t, c, `{"seq":1,"serviceMethod":"/upper","body":"x"}`)
			hear(t, c)
			if strings.HasPrefix(test.name, "the answer") {
				test.do(srv, sess, c) // it waits for the answer, and fails if that is another
			} else {
				go test.do(srv, sess, c)
				_, _, err := c.Read(t.Context())
				var ce websocket.CloseError
				require.ErrorAs(t, err, &ce)
				require.Equal(t, websocket.CloseError{Code: test.code, Reason: test.reason}, ce)
			}
			<-sess.CloseNotify()
		})
	}
}

// TestRefusedClose: a session that a hook refuses gets 1008, by a network and by a handler.
func TestRefusedClose(t *testing.T) {
	_, addrs := servers(t, tp.PeerConfig{}, &tp.PluginImpl{PluginName: "no", OnPostAccept: func(tp.PreSession) *tp.Rerror {
		return tp.NewRerror(401, "who are you?", "secret")
	}})
	for name, addr := range addrs {
		t.Run(name, func(t *testing.T) {
			c := dialForeign(t, addr, SubJSON)
			_, _, err := c.Read(t.Context())
			var ce websocket.CloseError
			require.ErrorAs(t, err, &ce)
			require.Equal(t, websocket.CloseError{Code: 1008, Reason: "401 who are you?"}, ce)
		})
	}
}

// foreignServer is a web server whose connections coder/websocket accepts. It returns its
// address.
func foreignServer(t *testing.T, sub string, serve func(c *websocket.Conn)) string {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{sub}})
		if err != nil {
			return
		}
		defer c.CloseNow()
		serve(c)
	}))
	t.Cleanup(web.Close)
	return web.Listener.Addr().String()
}

// answer answers one CALL of teleport.json with the upper case of its body.
func answer(c *websocket.Conn) error {
	_, b, err := c.Read(context.Background())
	if err != nil {
		return err
	}
	var call struct {
		Seq  int
		Body string
	}
	if err := json.Unmarshal(b, &call); err != nil {
		return err
	}
	b, _ = json.Marshal(map[string]any{"seq": call.Seq, "body": strings.ToUpper(call.Body)})
	w, err := c.Writer(context.Background(), websocket.MessageText) // in fragments
	if err != nil {
		return err
	}
	for _, part := range [][]byte{b[:1], b[1:]} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return w.Close()
}

// TestForeignServer: a session of ours with a server of coder/websocket.
func TestForeignServer(t *testing.T) {
	ended := make(chan error, 1)
	addr := foreignServer(t, SubJSON, func(c *websocket.Conn) {
		c.SetReadLimit(16 << 20)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		go c.Ping(ctx) // while it reads
		for {
			if err := answer(c); err != nil {
				ended <- err
				return
			}
		}
	})
	cli := newPeer(t, tp.PeerConfig{Network: "ws", Protocols: []string{"json"}})
	sess, rerr := cli.Dial(addr)
	require.Nil(t, rerr)
	for range 10 {
		upper(t, sess)
	}
	var reply string
	large := strings.Repeat("y", 1<<20)
	require.Nil(t, sess.Call("/upper", large, &reply).Rerror())
	require.Equal(t, strings.ToUpper(large), reply)
	require.NoError(t, sess.Close())
	require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(<-ended))
}

// TestCloseCodesReceived: what the close codes of a server are to a session that redials.
func TestCloseCodesReceived(t *testing.T) {
	for _, test := range []struct {
		code     websocket.StatusCode
		reason   string
		comes    bool // back
		contains string
	}{
		{1000, "", true, ""},
		{1001, "", true, ""},
		{1008, "401 log in again", false, "log in again"},
		{1008, "429 slow down", true, ""},
		{1008, "no", false, "no"},
		{1011, "", true, ""},
		{4000, "", true, ""},
	} {
		t.Run(test.code.String()+" "+test.reason, func(t *testing.T) {
			dialled := make(chan struct{}, 10)
			addr := foreignServer(t, SubJSON, func(c *websocket.Conn) {
				dialled <- struct{}{}
				if answer(c) == nil {
					c.Close(test.code, test.reason)
				}
			})
			cli := newPeer(t, tp.PeerConfig{Network: "ws", Protocols: []string{"json"}, RedialTimes: -1, RedialInterval: time.Millisecond})
			sess, rerr := cli.Dial(addr)
			require.Nil(t, rerr)
			<-dialled
			upper(t, sess)
			if test.comes {
				<-dialled
				upper(t, sess)
				return
			}
			<-sess.CloseNotify()
			require.Equal(t, tp.SideRemote, sess.CloseReason().Side)
			require.Contains(t, sess.CloseReason().Error(), test.contains)
		})
	}
}

// TestPingIsNoMessage: pings with nothing behind them leave a session as it was: it waits,
// and is not disturbed by the frame timeout.
func TestPingIsNoMessage(t *testing.T) {
	_, addrs := servers(t, tp.PeerConfig{FrameTimeout: 200 * time.Millisecond})
	c := dialForeign(t, addrs["network"], SubJSON)
	ctx := t.Context()
	got := make(chan string, 1)
	go func() {
		_, b, err := c.Read(ctx)
		got <- string(b) + errText(err)
	}()
	for range 3 {
		require.NoError(t, c.Ping(ctx))
		time.Sleep(300 * time.Millisecond) // longer than FrameTimeout: a frame that does not come would end the session
	}
	say(t, c, `{"seq":1,"serviceMethod":"/upper","body":"x"}`)
	require.Equal(t, `{"seq":1,"mtype":2,"body":"X"}`, <-got)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
