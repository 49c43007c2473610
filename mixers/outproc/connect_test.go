//go:build unix

package outproc

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
)

const envListen, envCert, envKey = "OUTPROC_TEST_LISTEN", "OUTPROC_TEST_CERT", "OUTPROC_TEST_KEY"

func init() {
	roles["daemon"] = func() {
		c := guest.Config{Name: "daemon", Listen: os.Getenv(envListen)}
		if pemCert := os.Getenv(envCert); pemCert != "" {
			cert, err := tls.X509KeyPair([]byte(pemCert), []byte(os.Getenv(envKey)))
			if err != nil {
				panic(err)
			}
			c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		}
		c.Serve(reverse{200, "reverse"})
	}
}

// startDaemon starts a guest that listens, and returns its address when it does.
func startDaemon(t *testing.T, role string, args []string, env ...string) (cmd *exec.Cmd, address string) {
	cmd = exec.Command(self(t), args...)
	cmd.Env = append(os.Environ(), append(env, envRole+"="+role, "GORACE=atexit_sleep_ms=0")...)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(stderr).ReadBytes('\n')
	require.NoError(t, err)
	var record struct{ Msg, Address string }
	require.NoError(t, json.Unmarshal(line, &record), "%s", line)
	require.Equal(t, "guest: hosts can connect", record.Msg)
	return cmd, record.Address
}

func reversed(t *testing.T, h *Handle) {
	t.Helper()
	out, err := filterOf(t).OnPack([]byte("ab"))
	require.NoError(t, err)
	require.Equal(t, "ba", string(out))
}

func connectTo(t *testing.T, g Guest) (*Handle, error) {
	g.Logger = tptest.Logger(t)
	h, err := Load(t.Context(), g)
	if err == nil {
		t.Cleanup(func() { require.NoError(t, h.Close()) })
	}
	return h, err
}

// A guest that runs already serves any number of hosts, and is dialled again when it was
// away.
func TestConnect(t *testing.T) {
	tptest.LeakCheck(t)
	path := shortDir(t) + "/daemon"
	const token = "TELEPORT_GUEST_TOKEN=secret"
	cmd, _ := startDaemon(t, "parts", []string{"serve", "unix://" + path}, token)
	h, err := connectTo(t, Guest{Connect: "unix://" + path, Token: "secret", Timeout: 20 * time.Second})
	require.NoError(t, err)
	await(t, h, Ready)
	reversed(t, h)
	require.Zero(t, h.Health().Processes[0].PID)

	_, err = connectTo(t, Guest{Connect: "unix://" + path, Token: "wrong"})
	require.ErrorContains(t, err, "outproc: guest unix://"+path+": open its lane: 401 Unauthorized: wrong token")
	_, err = connectTo(t, Guest{Connect: "unix://" + path + ".none"})
	require.ErrorContains(t, err, "no such file or directory")

	require.NoError(t, cmd.Process.Kill())
	cmd.Wait()
	await(t, h, Starting)
	startDaemon(t, "parts", []string{"serve", "unix://" + path}, token)
	reversed(t, h)
	require.Equal(t, 1, h.Restarts())

	// Reload is another connection to the same guest.
	require.NoError(t, h.Reload(t.Context()))
	reversed(t, h)
	require.NoError(t, h.Close())
	again, err := connectTo(t, Guest{Connect: "unix://" + path, Token: "secret"})
	require.NoError(t, err, "the guest goes on when a host has closed its lane")
	reversed(t, again)
}

// A daemon ends by a signal, and answers first what is under way.
func TestDaemonEnds(t *testing.T) {
	path := shortDir(t) + "/daemon"
	cmd, _ := startDaemon(t, "daemon", nil, envListen+"=unix://"+path)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
	require.NoFileExists(t, path)
}

func TestConnectTLS(t *testing.T) {
	tptest.LeakCheck(t)
	cert, key, pool := newCert(t)
	_, address := startDaemon(t, "daemon", nil, envListen+"=tcp+tls://127.0.0.1:0", envCert+"="+cert, envKey+"="+key, "TELEPORT_GUEST_TOKEN=secret")
	h, err := connectTo(t, Guest{Connect: "tcp+tls://" + address, Token: "secret", TLS: &tls.Config{RootCAs: pool, ServerName: "localhost"}})
	require.NoError(t, err)
	reversed(t, h)
	_, err = connectTo(t, Guest{Connect: "tcp+tls://" + address, Token: "secret", TLS: &tls.Config{ServerName: "localhost"}})
	require.ErrorContains(t, err, "certificate")
}

func newCert(t *testing.T) (certPEM, keyPEM string, pool *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	pool = x509.NewCertPool()
	certPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	require.True(t, pool.AppendCertsFromPEM([]byte(certPEM)))
	return certPEM, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})), pool
}

func TestConnectRefuses(t *testing.T) {
	for _, test := range []struct {
		g     Guest
		words string
	}{
		{Guest{Connect: "tcp://127.0.0.1:1"}, "a lane over TCP is encrypted: use tcp+tls://"},
		{Guest{Connect: "tcp+tls://127.0.0.1:1"}, "set TLS if Connect begins with tcp+tls://"},
		{Guest{Connect: "unix:///x", TLS: new(tls.Config)}, "and only then"},
		{Guest{Connect: "/x"}, `"/x" is neither unix:///path nor tcp+tls://host:port`},
		{Guest{Connect: "unix:x"}, "is neither"},
		{Guest{Connect: "unix:///x", Path: "y"}, "with Connect the host starts no process"},
		{Guest{Connect: "unix:///x", MaxRSS: 1}, "with Connect the host starts no process"},
		{Guest{Connect: "://"}, "missing protocol scheme"},
	} {
		_, err := Load(t.Context(), test.g)
		require.ErrorContains(t, err, test.words)
	}
}
