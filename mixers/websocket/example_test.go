package websocket_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	_ "github.com/teleport-go/teleport/codecs/jsoncodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/websocket"
)

func Example() {
	tp.SetLoggerLevel("OFF")
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Network: "ws"})
	defer srv.Close()
	tp.HandleCall(srv, "/math/add", func(_ tp.CallCtx, arg *[]int) (int, error) { return (*arg)[0] + (*arg)[1], nil })
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}

	cli := tp.NewPeer(tp.PeerConfig{Network: "ws"})
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		log.Fatal(rerr)
	}
	fmt.Println(tp.Invoke[int](context.Background(), sess, "/math/add", []int{1, 2}))
	// Output: 3 <nil>
}

// A web server of net/http, whose clients must have a cookie.
func ExampleNewHandler() {
	tp.SetLoggerLevel("OFF")
	peer := tp.NewPeer(tp.PeerConfig{})
	defer peer.Close()
	tp.HandleCall(peer, "/me", func(ctx tp.CallCtx, _ *string) (string, error) {
		user, _ := ctx.Session().Swap().Load("user")
		return user.(string), nil
	})
	mux := http.NewServeMux()
	mux.Handle("/ws", websocket.NewHandler(peer, websocket.Options{
		Handshake: func(r *http.Request) (map[any]any, *tp.Rerror) {
			c, err := r.Cookie("user")
			if err != nil {
				return nil, tp.NewRerror(tp.CodeUnauthorized, "log in first", "")
			}
			return map[any]any{"user": c.Value}, nil
		},
	}))
	web := httptest.NewServer(mux)
	defer web.Close()

	for _, cookie := range []string{"user=ann", "theme=dark"} {
		cli := tp.NewPeer(tp.PeerConfig{Net: websocket.Network(websocket.Options{
			Path: "/ws", Header: http.Header{"Cookie": {cookie}},
		})})
		defer cli.Close()
		sess, rerr := cli.Dial(web.Listener.Addr().String())
		if rerr != nil {
			var answer *websocket.AnswerError
			errors.As(rerr.Cause(), &answer)
			fmt.Println(rerr.Code, answer.Text)
			continue
		}
		fmt.Println(tp.Invoke[string](context.Background(), sess, "/me", ""))
	}
	// Output:
	// ann <nil>
	// 401 log in first
}
