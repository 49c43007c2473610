package quic

import (
	"bufio"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// A server that was killed and is back is found again: it answers the packets of the old
// connection with a stateless reset, long before the idle timeout of 30 seconds.
func TestKilledServer(t *testing.T) {
	const files, port = "TELEPORT_QUIC_TEST_FILES", "TELEPORT_QUIC_TEST_PORT"
	if dir := os.Getenv(files); dir != "" { // the server
		n, err := strconv.Atoi(os.Getenv(port))
		require.NoError(t, err)
		srv := tptest.NewPeer(t, tp.PeerConfig{Network: "quic", LocalIP: "127.0.0.1", ListenPort: uint16(n)})
		require.NoError(t, srv.SetTLSConfigFromFile(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")))
		tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
		os.Stdout.WriteString(tptest.Listen(t, srv) + "\n")
		io.Copy(io.Discard, os.Stdin) // until the parent kills it, or ends
		return
	}

	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(serverConf.Certificates[0].PrivateKey)
	require.NoError(t, err)
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: serverConf.Certificates[0].Certificate[0]},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: key},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
	start := func(listenPort string) (addr string, kill func()) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledServer$")
		cmd.Env = append(os.Environ(), files+"="+dir, port+"="+listenPort)
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
	cli := newPeer(t, Options{}, tp.PeerConfig{RedialTimes: -1, RedialInterval: 10 * time.Millisecond})
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
