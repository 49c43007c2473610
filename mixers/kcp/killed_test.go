package kcp

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// A server that was killed and is back is found again: it says that it does not have the
// old session, long before the idle timeout of 30 seconds.
func TestKilledServer(t *testing.T) {
	const port = "TELEPORT_KCP_TEST_PORT"
	if p := os.Getenv(port); p != "" { // the server
		n, err := strconv.Atoi(p)
		require.NoError(t, err)
		_, addr := newServer(t, keyed, tp.PeerConfig{ListenPort: uint16(n)})
		os.Stdout.WriteString(addr + "\n")
		io.Copy(io.Discard, os.Stdin) // until the parent kills it, or ends
		return
	}

	start := func(listenPort string) (addr string, kill func()) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledServer$")
		cmd.Env = append(os.Environ(), port+"="+listenPort)
		stdin, err := cmd.StdinPipe()
		require.NoError(t, err)
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		kill = func() { cmd.Process.Kill(); cmd.Wait(); stdin.Close() }
		t.Cleanup(kill)
		line, err := bufio.NewReader(stdout).ReadString('\n')
		require.NoError(t, err)
		return line[:len(line)-1], kill
	}
	addr, kill := start("0")
	cli := newPeer(t, keyed, tp.PeerConfig{RedialTimes: -1, RedialInterval: 10 * time.Millisecond})
	sess := tptest.Dial(t, cli, addr)
	for range 2 {
		echo(t, sess, "before")
		kill()
		_, p, err := net.SplitHostPort(addr)
		require.NoError(t, err)
		_, kill = start(p)
		begun := time.Now()
		require.Eventually(t, func() bool {
			_, err := tp.Invoke[string](t.Context(), sess, "/echo", "after")
			return err == nil
		}, patience, time.Millisecond)
		require.Less(t, time.Since(begun), defaultIdleTimeout/2)
		t.Logf("a call succeeded %v after the restart", time.Since(begun))
	}
}
