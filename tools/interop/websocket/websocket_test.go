package websocket

import (
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/andeya/erpc/v7"
	theirs "github.com/andeya/erpc/v7/mixer/websocket"
	theirjson "github.com/andeya/erpc/v7/mixer/websocket/jsonSubProto"
	theirpb "github.com/andeya/erpc/v7/mixer/websocket/pbSubProto"

	_ "github.com/teleport-go/teleport/codecs/jsoncodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/websocket"
)

// patience bounds every wait for what must come.
const patience = time.Minute

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("OFF")
	erpc.SetLoggerLevel("OFF")
	os.Exit(m.Run())
}

// layouts are the sub-protocols of both.
var layouts = []struct {
	name   string
	theirs erpc.ProtoFunc
	ours   tp.ProtoFunc
}{
	{"JSON", theirjson.NewJSONSubProtoFunc(), websocket.NewJSONSubProtoFunc()},
	{"protobuf", theirpb.NewPbSubProtoFunc(), websocket.NewPbSubProtoFunc()},
}

// TheirMath and TheirPush are handlers of v7.
type TheirMath struct{ erpc.CallCtx }

// Add adds.
func (m *TheirMath) Add(arg *[]int) (int, *erpc.Status) {
	m.SetMeta("who", string(m.PeekMeta("who"))+"!")
	return (*arg)[0] + (*arg)[1], nil
}

// TheirPush receives.
type TheirPush struct{ erpc.PushCtx }

var pushed = make(chan string, 10)

// Note receives a note.
func (*TheirPush) Note(arg *string) *erpc.Status {
	pushed <- *arg
	return nil
}

func receive(t *testing.T) string {
	t.Helper()
	select {
	case s := <-pushed:
		return s
	case <-time.After(patience):
		t.Fatal("no push has arrived")
		return ""
	}
}

// TestTheirClient: a client of v7 calls our server, and is called and pushed to.
func TestTheirClient(t *testing.T) {
	for _, layout := range layouts {
		t.Run(layout.name, func(t *testing.T) {
			sessions := make(chan tp.Session, 1)
			srv := websocket.NewServer("/ws", tp.PeerConfig{LocalIP: "127.0.0.1"}, &tp.PluginImpl{
				PluginName: "see", OnPostReady: func(s tp.Session) { sessions <- s },
			})
			defer srv.Close()
			tp.HandleCall(srv, "/math/add", func(ctx tp.CallCtx, arg *[]int) (int, error) {
				ctx.SetMeta("who", string(ctx.PeekMeta("who"))+"!")
				return (*arg)[0] + (*arg)[1], nil
			})
			if err := srv.Listen(layout.ours); err != nil {
				t.Fatal(err)
			}
			cli := theirs.NewClient("/ws", erpc.PeerConfig{})
			defer cli.Close()
			cli.SubRoute("/math").RouteCallFunc((*TheirMath).Add)
			cli.SubRoute("/push").RoutePushFunc((*TheirPush).Note)
			sess, stat := cli.Dial(srv.Addrs()[0].String(), layout.theirs)
			if !stat.OK() {
				t.Fatal(stat)
			}
			for range 10 {
				var sum int
				cmd := sess.Call("/math/add", []int{1, 2}, &sum, erpc.WithAddMeta("who", "v7 & é"))
				if stat := cmd.Status(); !stat.OK() || sum != 3 {
					t.Fatalf("their call: %d, %v", sum, stat)
				}
				if got := string(cmd.InputMeta().Peek("who")); got != "v7 & é!" {
					t.Errorf("metadata of the reply %q", got)
				}
			}
			ours := <-sessions
			var sum int
			if rerr := ours.Call("/math/add", []int{3, 4}, &sum).Rerror(); rerr != nil || sum != 7 {
				t.Errorf("our call: %d, %v", sum, rerr)
			}
			if rerr := ours.Push("/push/note", "to v7"); rerr != nil {
				t.Error(rerr)
			}
			if got := receive(t); got != "to v7" {
				t.Errorf("their client received %q", got)
			}
		})
	}
}

// TestTheirServer: our client calls a server of v7, and pushes to it.
func TestTheirServer(t *testing.T) {
	for _, layout := range layouts {
		t.Run(layout.name, func(t *testing.T) {
			peer := erpc.NewPeer(erpc.PeerConfig{})
			defer peer.Close()
			peer.SubRoute("/math").RouteCallFunc((*TheirMath).Add)
			peer.SubRoute("/push").RoutePushFunc((*TheirPush).Note)
			web := httptest.NewServer(theirs.NewServeHandler(peer, nil, layout.theirs))
			defer web.Close()
			cli := websocket.NewClient("/", tp.PeerConfig{})
			defer cli.Close()
			sess, rerr := cli.Dial(web.Listener.Addr().String(), layout.ours)
			if rerr != nil {
				t.Fatal(rerr)
			}
			for range 10 {
				var sum int
				cmd := sess.Call("/math/add", []int{1, 2}, &sum, tp.WithAddMeta("who", "ours & é"))
				if rerr := cmd.Rerror(); rerr != nil || sum != 3 {
					t.Fatalf("our call: %d, %v", sum, rerr)
				}
				if got := string(cmd.InputMeta().Peek("who")); got != "ours & é!" {
					t.Errorf("metadata of the reply %q", got)
				}
			}
			if rerr := sess.Push("/push/note", "to the server"); rerr != nil {
				t.Error(rerr)
			}
			if got := receive(t); got != "to the server" {
				t.Errorf("their server received %q", got)
			}
		})
	}
}
