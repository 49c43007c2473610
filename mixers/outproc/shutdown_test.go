package outproc

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/protos/rawproto"
)

func init() { roles["shutdown"] = shutdownMain }

// shutdownMain serves a call during which the process is shut down.
func shutdownMain() {
	tp.SetLoggerLevel("OFF")
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	if _, err := Load(context.Background(), Guest{Path: self, Env: []string{envRole + "=parts"}}); err != nil {
		panic(err)
	}
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: rawproto.NewRawProtoFunc()})
	tp.HandleCall(srv, "/last", func(ctx tp.CallCtx, n *note) (note, error) {
		go tp.Shutdown()
		<-ctx.Session().CloseNotify()      // the session drains
		time.Sleep(100 * time.Millisecond) // longer than it takes to close an idle peer
		return *n, nil
	})
	if err := srv.Listen(); err != nil {
		panic(err)
	}
	fmt.Println(srv.Addrs()[0])
	io.Copy(io.Discard, os.Stdin)
	select {}
}

// While a host shuts down, its last messages still pass through its guests.
func TestShutdown(t *testing.T) {
	loadRole(t, "parts")
	host := exec.Command(self(t))
	host.Env = append(os.Environ(), envRole+"=shutdown", "GORACE=atexit_sleep_ms=0")
	host.Stderr = os.Stderr
	stdin, err := host.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := host.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, host.Start())
	defer func() { host.Process.Kill(); host.Wait() }()
	address, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	cli := tptest.NewPeer(t, tp.PeerConfig{Protocol: rawproto.NewRawProtoFunc()})
	sess := tptest.Dial(t, cli, strings.TrimSpace(address))
	got, err := tp.Invoke[note](t.Context(), sess, "/last", note{"last", 1}, tp.WithBodyCodec(200), tp.WithXferPipe(200))
	require.NoError(t, err)
	require.Equal(t, note{"last", 1}, got)
	require.NoError(t, host.Wait())
}
