package tptest

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// The environment of a process that is a server of RunDatagrams: its port, and where its
// certificate is.
const (
	envPort = "TELEPORT_TPTEST_PORT"
	envCert = "TELEPORT_TPTEST_CERT"
)

// serveAsChild is the server if this process is one, until its standard input ends, and
// returns false otherwise.
func (n DatagramNetwork) serveAsChild(t *testing.T) bool {
	port := os.Getenv(envPort)
	if port == "" {
		return false
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv(envCert); n.ServerTLS != nil {
		cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		n.ServerTLS = n.ServerTLS.Clone()
		n.ServerTLS.Certificates = []tls.Certificate{cert}
	}
	srv, addr := n.Server(t, tp.PeerConfig{ListenPort: uint16(p)})
	tp.HandleCall(srv, "/pid", func(tp.CallCtx, *string) (int, error) { return os.Getpid(), nil })
	os.Stdout.WriteString(addr + "\n")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); { // until the parent kills it, or ends
		go tp.Reboot(patience)
	}
	return true
}

// checkKilled: a server that was killed and is back is found again, long before the idle
// timeout.
func (n DatagramNetwork) checkKilled(t *testing.T) {
	dir := t.TempDir()
	if n.ServerTLS != nil { // it has the same certificate when it is back
		n.writeCert(t, dir)
	}
	port := freePort(t)
	addr, _, kill := startServer(t, dir, port)
	cli := n.Peer(t, tp.PeerConfig{RedialTimes: -1, RedialInterval: 10 * time.Millisecond})
	sess := Dial(t, cli, addr)
	for range 2 {
		Echo(t, sess, "before")
		kill()
		_, _, kill = startServer(t, dir, port)
		n.echoes(t, sess)
	}
}

// checkReboot: a server that reboots gives its port to the new process when it has ended, and
// clients redial.
func (n DatagramNetwork) checkReboot(t *testing.T) {
	dir := t.TempDir()
	if n.ServerTLS != nil {
		n.writeCert(t, dir)
	}
	addr, reboot, _ := startServer(t, dir, freePort(t)) // the new process gets the same arguments
	cli := n.Peer(t, tp.PeerConfig{RedialTimes: -1, RedialInterval: 10 * time.Millisecond})
	sess := Dial(t, cli, addr)
	pid := func() int {
		pid, err := tp.Invoke[int](t.Context(), sess, "/pid", "")
		if err != nil {
			t.Errorf("a call of a session with a server that reboots: %v", err)
		}
		return pid
	}
	old := pid()
	reboot()
	for begun := time.Now(); pid() == old; time.Sleep(time.Millisecond) {
		if took := time.Since(begun); t.Failed() || took > patience {
			t.Fatalf("the old process serves %v after the reboot", took)
		}
	}
	Echo(t, Dial(t, cli, addr), "a new session")
}

func (n DatagramNetwork) writeCert(t *testing.T, dir string) {
	t.Helper()
	cert := n.ServerTLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// startServer runs the test that has called RunDatagrams in another process, which is a
// server.
func startServer(t *testing.T, certDir string, port uint16) (addr string, reboot, kill func()) {
	t.Helper()
	test, _, _ := strings.Cut(t.Name(), "/")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), envPort+"="+strconv.Itoa(int(port)), envCert+"="+certDir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reboot = func() { io.WriteString(stdin, "reboot\n") }
	kill = func() { cmd.Process.Kill(); cmd.Wait(); stdin.Close() } // a process of a reboot ends with stdin
	t.Cleanup(kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the server in another process has not started: %v", err)
	}
	return line[:len(line)-1], reboot, kill
}
