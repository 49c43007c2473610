package browsers

import (
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/websocket"
	"github.com/teleport-go/teleport/protos/jsonproto"
)

// python is Debian's, which has python3-websockets.
const python = "/usr/bin/python3"

// peers are programs on the WebSocket libraries of others, for teleport.json by hand.
var peers = []struct {
	name    string
	program func(t *testing.T, kind string) *exec.Cmd // kind is client or server
}{
	{"ws", func(t *testing.T, kind string) *exec.Cmd {
		file := "ws_" + kind + ".mjs"
		cmd := exec.Command(program(t, "node20"), file)
		cmd.Dir = project(t, "testdata/"+file)
		return cmd
	}},
	{"websockets", func(t *testing.T, kind string) *exec.Cmd {
		return exec.Command(python, filepath.Join("testdata", "websockets_"+kind+".py"))
	}},
}

// TestTheirsDials lets their clients call, push and serve on both of our servers.
func TestTheirsDials(t *testing.T) {
	for _, peer := range peers {
		for _, via := range []string{"server", "handler"} {
			t.Run(peer.name+", "+via, func(t *testing.T) {
				t.Parallel()
				srv := mainServer(t, url.Values{"via": {via}})
				cmd := peer.program(t, "client")
				command(t, cmd.Dir, cmd.Path, append(cmd.Args[1:], "ws://"+srv.address+"/ws")...)
			})
		}
	}
}

// TestOursDials lets our client call, push and serve on their servers.
func TestOursDials(t *testing.T) {
	for _, peer := range peers {
		t.Run(peer.name, func(t *testing.T) {
			t.Parallel()
			server, err := startProcess(peer.program(t, "server"))
			require.NoError(t, err)
			t.Cleanup(func() { server.end(syscall.SIGKILL) })

			network := websocket.Network(websocket.Options{Path: "/any"})
			cli := tp.NewPeer(tp.PeerConfig{Net: network, Protocol: jsonproto.NewJSONProtoFunc(), DefaultCallTimeout: 30 * time.Second})
			t.Cleanup(func() { cli.Close() })
			notes := make(chan string, 1)
			tp.HandleCall(cli, "/name", func(_ tp.CallCtx, question *string) (string, error) { return *question + " ours é", nil })
			tp.HandlePush(cli, "/note", func(_ tp.PushCtx, note *string) error { notes <- *note; return nil })
			sess, rerr := cli.Dial("127.0.0.1:" + server.ready)
			require.Nil(t, rerr)

			call := func(route string, arg any) (reply string) {
				require.Nil(t, sess.Call(route, arg, &reply).Rerror(), route)
				return reply
			}
			require.Equal(t, `"É"`, call("/upper", `"é"`))
			require.Equal(t, "who? ours é", call("/asks", "/name"))
			var failed map[string]any
			require.Nil(t, sess.Call("/asks", "/none", &failed).Rerror())
			require.EqualValues(t, 404, failed["code"])
			call("/pushes", "note é")
			require.Equal(t, "note é", <-notes)
			long := strings.Repeat("É\"", 100_000)
			require.Equal(t, long, call("/upper", strings.ToLower(long)))
			require.Equal(t, "among fragments", call("/fragments", nil))
			want := tp.NewRerror(1001, "sold out", "é")
			rerr = sess.Call("/fail", want, nil).Rerror()
			require.Equal(t, want.String(), rerr.String())

			sess.Push("/close", 4321)
			<-sess.CloseNotify()
			require.Equal(t, tp.SideRemote, sess.CloseReason().Side, sess.CloseReason().Error())
		})
	}
}
