package tp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func listen(t *testing.T, l ListenConfig) (net.Listener, error) {
	t.Helper()
	n, err := LookupNetwork(l.Network)
	if err != nil {
		t.Fatal(err)
	}
	lis, err := n.Listen(t.Context(), l)
	if err == nil {
		t.Cleanup(func() { lis.Close() })
	}
	return lis, err
}

// connect dials and accepts, and returns both ends.
func connect(t *testing.T, lis net.Listener, d DialConfig) (client, server net.Conn) {
	t.Helper()
	n, err := LookupNetwork(d.Network)
	if err != nil {
		t.Fatal(err)
	}
	d.Timeout = 10 * time.Second
	client, err = n.Dial(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err = lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

func wantError(t *testing.T, err error, want ...string) {
	t.Helper()
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error is %v; want %q in it", err, w)
		}
	}
}

func TestLookupNetwork(t *testing.T) {
	for _, name := range []string{"tcp", "tcp4", "tcp6", "unix", "unixpacket"} {
		if n, err := LookupNetwork(name); n.Name != name || n.OwnTLS || err != nil {
			t.Errorf("LookupNetwork(%q) = %q, OwnTLS %v, %v; want itself", name, n.Name, n.OwnTLS, err)
		}
	}
	if n, err := LookupNetwork(""); n.Name != "tcp" || err != nil {
		t.Errorf(`LookupNetwork("") = %q, %v; want tcp`, n.Name, err)
	}
	networks.RLock()
	names := slices.Sorted(maps.Keys(networks.byName)) // other tests add theirs
	networks.RUnlock()
	known := `Invalid network config, refer to the following: ` + strings.Join(names, ", ")
	if !strings.Contains(known, "tcp, tcp4, tcp6, unix, unixpacket") {
		t.Errorf("registered are %s; want tcp, tcp4, tcp6, unix, unixpacket among them", known)
	}
	for _, test := range []struct{ name, want string }{
		{"tpc", `tp: network "tpc": ` + known},
		{"quic", `tp: network "quic": ` + known + `; forgotten import? import _ "github.com/teleport-go/teleport/mixers/quic"`},
		{"kcp", `tp: network "kcp": ` + known + `; forgotten import? import _ "github.com/teleport-go/teleport/mixers/kcp"`},
		{"ws", `tp: network "ws": ` + known + `; forgotten import? import _ "github.com/teleport-go/teleport/mixers/websocket"`},
	} {
		_, err := LookupNetwork(test.name)
		if !errors.Is(err, ErrInvalidNetwork) || err.Error() != test.want {
			t.Errorf("LookupNetwork(%q): %v; want %s", test.name, err, test.want)
		}
	}
}

func TestRegisterNetwork(t *testing.T) {
	t.Cleanup(func() {
		networks.Lock()
		defer networks.Unlock()
		delete(networks.byName, "void")
	})
	RegisterNetwork(Network{Name: "void", OwnTLS: true})
	n, err := LookupNetwork("void")
	if err != nil || !n.OwnTLS {
		t.Fatalf("LookupNetwork: OwnTLS %v, %v; want true", n.OwnTLS, err)
	}
	if _, err := n.Dial(t.Context(), DialConfig{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Dial without a function: %v; want ErrUnsupported", err)
	}
	if _, err := n.Listen(t.Context(), ListenConfig{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Listen without a function: %v; want ErrUnsupported", err)
	}
	for _, name := range []string{"tcp", "void", ""} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "tp: register network") {
					t.Errorf("RegisterNetwork(%q) panics with %q; want words", name, got)
				}
			}()
			RegisterNetwork(Network{Name: name})
		}()
	}
}

func TestTCP(t *testing.T) {
	lis, err := listen(t, ListenConfig{Network: "tcp"})
	if err != nil {
		t.Fatal(err)
	}
	port := lis.Addr().(*net.TCPAddr).Port
	for _, test := range []struct {
		name string
		d    DialConfig
		want string // local address of the client without port; "" for any
	}{
		{"empty host", DialConfig{Addr: fmt.Sprintf(":%d", port)}, ""},
		{"host", DialConfig{Addr: fmt.Sprintf("127.0.0.1:%d", port)}, "127.0.0.1"},
		{"wildcard local IP", DialConfig{Addr: fmt.Sprintf("127.0.0.1:%d", port), LocalIP: "0.0.0.0"}, "127.0.0.1"},
		{"local IP", DialConfig{Addr: fmt.Sprintf("127.0.0.1:%d", port), LocalIP: "127.0.0.1"}, "127.0.0.1"},
		{"tcp4", DialConfig{Network: "tcp4", Addr: fmt.Sprintf("127.0.0.1:%d", port)}, "127.0.0.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.d.Network == "" {
				test.d.Network = "tcp"
			}
			client, server := connect(t, lis, test.d)
			if _, err := client.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			var b [1]byte
			if _, err := server.Read(b[:]); err != nil || b[0] != 'x' {
				t.Errorf("read %q, %v; want x", b, err)
			}
			if ip := client.LocalAddr().(*net.TCPAddr).IP.String(); test.want != "" && ip != test.want {
				t.Errorf("client connects from %s; want %s", ip, test.want)
			}
		})
	}
}

func TestTCPLocalPort(t *testing.T) {
	lis, err := listen(t, ListenConfig{Network: "tcp4", LocalIP: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range []string{"", "127.0.0.1"} {
		client, port := dialFromFreePort(t, DialConfig{Network: "tcp", Addr: lis.Addr().String(), LocalIP: ip, Timeout: 10 * time.Second})
		if got := client.LocalAddr().(*net.TCPAddr).Port; got != port {
			t.Errorf("local IP %q: client connects from port %d; want %d", ip, got, port)
		}
	}
}

// dialFromFreePort dials from a port that was free a moment before. Others may take it
// meanwhile: then it tries another one.
func dialFromFreePort(t *testing.T, d DialConfig) (client net.Conn, port int) {
	t.Helper()
	for range 20 {
		probe, err := listen(t, ListenConfig{Network: "tcp4", LocalIP: "127.0.0.1"})
		if err != nil {
			t.Fatal(err)
		}
		port = probe.Addr().(*net.TCPAddr).Port
		probe.Close()
		d.LocalPort = uint16(port)
		client, err = dialTCP(t.Context(), d)
		if err == nil {
			t.Cleanup(func() { client.Close() })
			return client, port
		}
		if !isAddrInUse(err) {
			t.Fatal(err)
		}
	}
	t.Fatal("each free port was taken at once")
	return nil, 0
}

func TestTCPErrors(t *testing.T) {
	lis, err := listen(t, ListenConfig{Network: "tcp", LocalIP: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	port := lis.Addr().(*net.TCPAddr).Port
	_, err = listen(t, ListenConfig{Network: "tcp", LocalIP: "127.0.0.1", ListenPort: uint16(port)})
	if runtime.GOOS == "linux" {
		want := fmt.Sprintf("tp: listen tcp 127.0.0.1:%d: address already in use: another process holds this port; stop it, or set ListenPort (0 picks a free one)", port)
		if err == nil || err.Error() != want {
			t.Errorf("taken port: %v; want %s", err, want)
		}
	}
	wantError(t, err, "another process holds this port")
	if !isAddrInUse(err) {
		t.Errorf("the cause of %v is lost", err)
	}
	_, err = listen(t, ListenConfig{Network: "tcp", LocalIP: "192.0.2.1"})
	wantError(t, err, "tp: listen tcp 192.0.2.1:0: ", "set LocalIP")
	_, err = listen(t, ListenConfig{Network: "tcp", LocalIP: "no.such.host.invalid"})
	wantError(t, err, "tp: listen tcp no.such.host.invalid:0: ")

	client, _ := connect(t, lis, DialConfig{Network: "tcp", Addr: lis.Addr().String()})
	nobody := client.LocalAddr().String() // where nobody else can listen
	_, err = dialTCP(t.Context(), DialConfig{Network: "tcp", Addr: nobody})
	wantError(t, err, "dial tcp "+nobody+": ")
	if !isRefused(err) {
		t.Errorf("the cause of %v is lost", err)
	}
	_, err = dialTCP(t.Context(), DialConfig{Network: "tcp", Addr: lis.Addr().String(), LocalIP: "nonsense:::"})
	wantError(t, err, "local address: ")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = dialTCP(ctx, DialConfig{Network: "tcp", Addr: lis.Addr().String()}); err == nil {
		t.Error("dial with a cancelled context succeeds")
	}
}

func TestUnixPath(t *testing.T) {
	for _, test := range []struct {
		ip   string
		port uint16
		want string // "": refused
	}{
		{"", 0, ""},
		{"0.0.0.0", 0, ""},
		{"::", 0, ""},
		{"", 9090, "0.0.0.0:9090"},
		{"0.0.0.0", 9090, "0.0.0.0:9090"},
		{"localhost", 9090, "localhost:9090"},
		{"app.sock", 0, "app.sock"},
		{"0.0.0.0:9090", 0, "0.0.0.0:9090"},
		{"::1", 9090, "[::1]:9090"},
		{"/run/x.sock", 9090, "/run/x.sock"},
		{"./x.sock", 0, "./x.sock"},
		{`C:\x.sock`, 0, `C:\x.sock`},
		{"@x", 9090, "@x"},
	} {
		if got, err := unixPath(test.ip, test.port); got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("unixPath(%q, %d) = %q, %v; want %q", test.ip, test.port, got, err, test.want)
		}
	}
	_, err := listen(t, ListenConfig{Network: "unix"})
	wantError(t, err, "tp: listen unix: no path", "set LocalIP")
}

func TestUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	lis, err := listen(t, ListenConfig{Network: "unix", LocalIP: path})
	if err != nil {
		t.Fatal(err)
	}
	// Two clients, neither of which has a name that could be taken.
	for range 2 {
		_, server := connect(t, lis, DialConfig{Network: "unix", Addr: path, LocalIP: "0.0.0.0"})
		if name := server.RemoteAddr().String(); name != "" && name != "@" {
			t.Errorf("client has the name %q; want none", name)
		}
	}
	_, err = listen(t, ListenConfig{Network: "unix", LocalIP: path})
	wantError(t, err, "tp: listen unix "+path+": ", "a process answers there")
	if err := lis.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close the file is there: %v", err)
	}
	if err := lis.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	_, err = dialUnix(t.Context(), DialConfig{Network: "unix", Addr: path})
	wantError(t, err, "dial unix "+path)
}

func TestUnixInWorkingDirectory(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	lis, err := listen(t, ListenConfig{Network: "unix", LocalIP: "0.0.0.0", ListenPort: 9090})
	if err != nil {
		t.Fatal(err)
	}
	connect(t, lis, DialConfig{Network: "unix", Addr: "0.0.0.0:9090"})
	t.Chdir("/") // the file is found all the same
	lis.Close()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("after Close the directory has %v", left)
	}
}

func TestUnixFilesOfOthers(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	dead, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	lis, err := listen(t, ListenConfig{Network: "unix", LocalIP: stale})
	if err != nil {
		t.Fatalf("listen where a dead process has left its file: %v", err)
	}
	connect(t, lis, DialConfig{Network: "unix", Addr: stale})

	// A later listener owns the name.
	if err := os.Remove(stale); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(t, ListenConfig{Network: "unix", LocalIP: stale}); err != nil {
		t.Fatal(err)
	}
	lis.Close()
	if _, err := os.Lstat(stale); err != nil {
		t.Errorf("Close removed the file of another listener: %v", err)
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = listen(t, ListenConfig{Network: "unix", LocalIP: file})
	wantError(t, err, "tp: listen unix "+file+": ", "not a socket")
	if got, _ := os.ReadFile(file); string(got) != "precious" {
		t.Errorf("the file is now %q", got)
	}

	_, err = listen(t, ListenConfig{Network: "unix", LocalIP: filepath.Join(dir, "no", "s")})
	wantError(t, err, "make its directory first")
	_, err = listen(t, ListenConfig{Network: "unix", LocalIP: filepath.Join(dir, strings.Repeat("x", 120))})
	wantError(t, err, "at most 103 are allowed")
}
