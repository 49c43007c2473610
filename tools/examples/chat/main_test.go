package main

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/websocket"
	"github.com/teleport-go/teleport/protos/jsonproto"
)

// user is a page without a browser.
type user struct {
	tp.Session
	heard  chan heard
	online chan []string
	left   chan string
}

// dial returns a user who answers a question with reply, or not at all if that is "".
func dial(t *testing.T, addr, reply string) *user {
	network := websocket.Network(websocket.Options{Path: "/ws"})
	cli := tp.NewPeer(tp.PeerConfig{Net: network, Protocol: jsonproto.NewJSONProtoFunc()}) // teleport.json, as the page
	t.Cleanup(func() { cli.Close() })
	u := &user{heard: make(chan heard, 100), online: make(chan []string, 100), left: make(chan string, 1)}
	answer := func(ctx tp.CallCtx, _ *string) (string, error) {
		if reply == "" {
			<-ctx.Context().Done()
			return "", ctx.Context().Err()
		}
		return reply, nil
	}
	tp.HandleCall(cli, "/chat/name", answer)
	tp.HandleCall(cli, "/chat/there", answer)
	tp.HandlePush(cli, "/chat/heard", func(_ tp.PushCtx, h *heard) error { u.heard <- *h; return nil }, tp.Ordered())
	tp.HandlePush(cli, "/chat/online", func(_ tp.PushCtx, names *[]string) error { u.online <- *names; return nil }, tp.Ordered())
	tp.HandlePush(cli, "/chat/left", func(_ tp.PushCtx, why *string) error { u.left <- *why; return nil })
	sess, rerr := cli.Dial(addr)
	require.Nil(t, rerr)
	u.Session = sess
	return u
}

func (u *user) enter(t *testing.T, name, key string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return tp.Invoke[string](ctx, u.Session, "/chat/enter", member{Name: name, Room: "tea", Key: key})
}

func (u *user) say(t *testing.T, text string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := tp.Invoke[any](ctx, u.Session, "/chat/say", text)
	return err
}

func start(t *testing.T, c *chat) (addr string) {
	srv, err := newServer("127.0.0.1:0", c)
	require.NoError(t, err)
	require.NoError(t, srv.Listen())
	t.Cleanup(func() { srv.Close() })
	return srv.Addrs()[0].String()
}

func TestChat(t *testing.T) {
	addr := start(t, newChat(time.Hour, time.Hour))
	ann, bob := dial(t, addr, "-"), dial(t, addr, "bob")

	require.Equal(t, int32(tp.CodeForbidden), tp.Code(ann.say(t, "hello?")))
	name, err := ann.enter(t, " ann ", "a")
	require.NoError(t, err)
	require.Equal(t, "ann", name)
	require.Equal(t, []string{"ann"}, <-ann.online)

	name, err = bob.enter(t, "ann", "b") // is asked for another name
	require.NoError(t, err)
	require.Equal(t, "bob", name)
	require.Equal(t, []string{"ann", "bob"}, <-ann.online)

	require.NoError(t, bob.say(t, "<b>1</b>"))
	require.NoError(t, bob.say(t, "2"))
	require.Error(t, bob.say(t, " "))
	require.Error(t, bob.say(t, string(make([]byte, maxText+1))))
	for _, want := range []heard{{"", "ann has entered"}, {"", "bob has entered"}, {"bob", "<b>1</b>"}, {"bob", "2"}} {
		require.Equal(t, want, <-ann.heard)
	}

	// The page comes back on another connection, while the first seems to be alive.
	again := dial(t, addr, "-")
	name, err = again.enter(t, "bob", "b")
	require.NoError(t, err)
	require.Equal(t, "bob", name)
	require.Equal(t, heard{"", "bob has entered"}, <-ann.heard)
	require.Equal(t, []string{"ann", "bob"}, <-ann.online)
	bob.Close() // is nobody now

	again.Close()
	require.Equal(t, heard{"", "bob is gone"}, <-ann.heard)
	require.Equal(t, []string{"ann"}, <-ann.online)
	cid := dial(t, addr, "-")
	_, err = cid.enter(t, "cid", "c")
	require.NoError(t, err)
	require.Equal(t, heard{"", "cid has entered"}, <-cid.heard)
	require.Equal(t, []string{"ann", "cid"}, <-cid.online)
	_, err = ann.enter(t, "anna", "a") // leaves the room first
	require.NoError(t, err)
	require.Equal(t, heard{"", "ann has left"}, <-cid.heard)
	require.Equal(t, []string{"cid"}, <-cid.online)
	require.Equal(t, heard{"", "anna has entered"}, <-cid.heard)
	require.Nil(t, ann.Call("/chat/leave", nil, nil).Rerror())
	require.Equal(t, int32(tp.CodeForbidden), tp.Code(ann.say(t, "hello?")))
}

func TestStillThere(t *testing.T) {
	addr := start(t, newChat(50*time.Millisecond, 2*time.Second))
	ann, bob := dial(t, addr, "yes"), dial(t, addr, "")
	for name, u := range map[string]*user{"ann": ann, "bob": bob} {
		_, err := u.enter(t, name, name)
		require.NoError(t, err)
	}
	require.Equal(t, "You have not answered.", <-bob.left)
	for h := range ann.heard {
		if h.Text == "bob seems to be away" {
			break
		}
	}
	require.NoError(t, ann.say(t, "I am"))
}

func TestPages(t *testing.T) {
	addr := start(t, newChat(time.Hour, time.Hour))
	for path, want := range map[string]string{
		"/": "<title>Chat</title>", "/chat.js": "import { connect", "/style.css": "#log", "/teleport/teleport.js": "export function connect",
	} {
		resp, err := http.Get("http://" + addr + path)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode, path)
		require.Contains(t, string(body), want, path)
	}
}

func TestBadAddress(t *testing.T) {
	for _, addr := range []string{"", "x", "127.0.0.1:port", "127.0.0.1:70000"} {
		_, err := newServer(addr, newChat(time.Hour, time.Hour))
		require.Error(t, err, addr)
	}
}
