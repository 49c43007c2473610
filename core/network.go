package tp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/teleport-go/teleport/core/internal/inherit"
)

// Network makes connections of one kind, such as tcp or quic. A peer uses the one with
// the name PeerConfig.Network, or the value PeerConfig.Net. The functions are called
// concurrently. A network that does not dial, or does not listen, leaves that nil.
type Network struct {
	// Name is the network's name in PeerConfig.Network and in log lines, such as "quic".
	Name string

	// OwnTLS says that the network encrypts by itself and uses the TLS
	// configuration, which may be nil. For other networks the engine runs TLS on
	// the connection, and Dial and Listen ignore the configuration.
	OwnTLS bool

	// ReusePort says that Listen can listen on one port several times; see ListenConfig.
	ReusePort bool

	// Dial connects. It ends when ctx does, or after d.Timeout. Peer.Dial puts the
	// address before the text of its error, and leaves it out of a *net.OpError's.
	Dial func(ctx context.Context, d DialConfig) (net.Conn, error)

	// Listen listens. ctx bounds the start only, not the life of the listener.
	// A listener that wraps one of another network should have a method
	// Unwrap() net.Listener that returns it, so that Reboot can hand it over. It may be a
	// [HandOverListener]: then Reboot also hands over sessions whose connections are no sockets themselves.
	// Accept must not wait for what a peer sends: a peer that sends nothing would keep
	// the others out. That is for Handshake, or for goroutines of the listener's own.
	// The engine calls Addr and Close once. A panic ends the listener with an error.
	Listen func(ctx context.Context, l ListenConfig) (net.Listener, error)

	// Handshake, if it is not nil, is what both sides do on each connection after TLS
	// and before the protocol and the hooks: on one that was dialled, on each redial, and
	// on one that was accepted. It runs on a goroutine of its own, within
	// PeerConfig.HandshakeTimeout; when ctx ends, the engine closes h.Conn. If Handshake
	// returns an error, the engine closes the connection. The error of [Rerror.Err] becomes
	// that of Dial, with its code; any other is the reason of a 105.
	Handshake func(ctx context.Context, h *Handshake) error

	// Resume, for a network with a Handshake, does what that does with Proto for an accepted
	// connection that a Reboot hands over: the old process has shaken hands, and state is what the
	// protocol that Handshake has made there says of itself; see [socket.Carrier]. It must
	// not read, write or replace h.Conn, nor wait. A network without it keeps its connections:
	// they end with the old process.
	Resume func(h *Handshake, state []byte) error
}

// DialConfig is the argument of Network.Dial.
type DialConfig struct {
	Network          string        // the Network's name
	Addr             string        // host:port, or the path of a unix socket
	LocalIP          string        // to connect from; "", 0.0.0.0 and :: leave it to the system
	LocalPort        uint16        // to connect from; 0 leaves it to the system
	TLS              *tls.Config   // for a network with OwnTLS
	Timeout          time.Duration // of the whole attempt; none if <= 0
	HandshakeTimeout time.Duration // of a handshake within it, as in PeerConfig; none if <= 0
	Logger           Logger        // the peer's; nil if no peer dials
}

// ClientTLS returns TLS, which is not nil, as a client needs it that runs TLS itself: with the
// host of Addr as ServerName, or localhost if there is none, unless it has one or
// InsecureSkipVerify is set. It does not change TLS.
func (d DialConfig) ClientTLS() *tls.Config {
	if d.TLS.ServerName != "" || d.TLS.InsecureSkipVerify {
		return d.TLS
	}
	host, _, err := net.SplitHostPort(d.Addr)
	if err != nil {
		host = d.Addr
	}
	c := d.TLS.Clone()
	c.ServerName = cmp.Or(host, "localhost")
	return c
}

// ListenConfig is the argument of Network.Listen.
type ListenConfig struct {
	Network          string        // the Network's name
	LocalIP          string        // to listen on; "" is 0.0.0.0, all addresses; for unix the path of the socket, or an abstract name (@name)
	ListenPort       uint16        // 0: the system chooses a free one
	ReusePort        bool          // let other listeners of this user have the same port: the system spreads connections among them
	UnixMode         os.FileMode   // permissions of a unix socket's file; 0 is 0600
	TLS              *tls.Config   // for a network with OwnTLS
	HandshakeTimeout time.Duration // of handshakes before Accept returns a connection, as in PeerConfig; none if <= 0
	Logger           Logger        // the peer's; nil if no peer listens

	// HandBack, for a [HandOverListener], offers what the listener has accepted to the
	// processes before this one, which Reboots have replaced, the last one first, because it
	// belongs to a connection that may still be there; nil if there is no such process. state says which
	// connection that is. If conn is a *net.TCPConn or *net.UnixConn, its descriptor
	// crosses; any other is not handed back, and an old process only says whether the
	// connection is there. Without an error it is: the caller closes conn, as this process's
	// descriptor of what an old one has, or so that the other side connects again.
	// ctx bounds the wait for other offers, and two seconds that for each answer; nothing is
	// handed back when ctx has ended. It may be called concurrently.
	HandBack func(ctx context.Context, state []byte, conn net.Conn) error
}

// Handshake is the argument of Network.Handshake, which may change Conn, Proto and Facts.
type Handshake struct {
	// Conn is the connection, encrypted if the engine runs TLS. What Handshake reads
	// beyond the handshake it leaves in Facts.Read. It may replace Conn by a connection that
	// wraps it; sessions over a *net.TCPConn or *net.UnixConn itself are faster, and have no
	// goroutine while they are idle, so the better way is to leave it, and to wrap Proto.
	Conn net.Conn

	// Proto makes the protocol of the connection: what Dial or Listen was given.
	Proto ProtoFunc

	// Facts is empty at first.
	Facts ConnFacts

	Peer    Peer   // that listens or dials
	Dialed  bool   // this side has dialled
	Addr    string // that was dialled
	Trusted bool   // the connection was accepted from one of PeerConfig.TrustedProxies

	loop int // number of the event loop whose listener has accepted it, from 1 on; 0: any
}

// ErrInvalidNetwork is the error for an unknown network name.
//
//lint:ignore ST1005 the text is that of v5 and v7, which users search for
var ErrInvalidNetwork = errors.New("Invalid network config")

var networks = struct {
	sync.RWMutex
	byName map[string]Network
}{byName: map[string]Network{}}

// networkModules holds the modules of the networks that need an import.
var networkModules = map[string]string{"quic": "quic", "kcp": "kcp", "ws": "websocket", "wss": "websocket", "websocket": "websocket", "resume+tcp": "resume", "resume+unix": "resume"}

func init() {
	for _, name := range []string{"tcp", "tcp4", "tcp6"} {
		RegisterNetwork(Network{Name: name, ReusePort: canReusePort, Dial: dialTCP, Listen: listenTCP})
	}
	for _, name := range []string{"unix", "unixpacket"} {
		RegisterNetwork(Network{Name: name, Dial: dialUnix, Listen: listenUnix})
	}
}

// RegisterNetwork registers a network by its name. It is meant for init, and panics
// if the name is empty or taken.
func RegisterNetwork(n Network) {
	networks.Lock()
	defer networks.Unlock()
	if n.Name == "" {
		panic("tp: register network: the name is empty")
	}
	if _, taken := networks.byName[n.Name]; taken {
		panic(fmt.Sprintf("tp: register network %q: the name is taken", n.Name))
	}
	networks.byName[n.Name] = n.complete()
}

// complete returns n with functions in place of nil, which return errors.
func (n Network) complete() Network {
	if n.Dial == nil {
		n.Dial = func(context.Context, DialConfig) (net.Conn, error) {
			return nil, fmt.Errorf("network %q does not dial: %w", n.Name, errors.ErrUnsupported)
		}
	}
	if n.Listen == nil {
		n.Listen = func(context.Context, ListenConfig) (net.Listener, error) {
			return nil, fmt.Errorf("tp: listen %s: the network does not listen: %w", n.Name, errors.ErrUnsupported)
		}
	}
	return n
}

// LookupNetwork returns the network of this name; "" is tcp. The error for an
// unknown name wraps ErrInvalidNetwork and lists the known names.
func LookupNetwork(name string) (Network, error) {
	if name == "" {
		name = "tcp"
	}
	networks.RLock()
	defer networks.RUnlock()
	if n, ok := networks.byName[name]; ok {
		return n, nil
	}
	hint := ""
	if module, ok := networkModules[name]; ok {
		hint = fmt.Sprintf(`; forgotten import? import _ "github.com/teleport-go/teleport/mixers/%s"`, module)
	}
	known := strings.Join(slices.Sorted(maps.Keys(networks.byName)), ", ")
	return Network{}, fmt.Errorf("tp: network %q: %w, refer to the following: %s%s", name, ErrInvalidNetwork, known, hint)
}

// isWildcard reports whether an IP leaves the choice to the system.
func isWildcard(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }

func joinPort(ip string, port uint16) string {
	return net.JoinHostPort(ip, strconv.Itoa(int(port)))
}

func dialTCP(ctx context.Context, d DialConfig) (net.Conn, error) {
	dialer := net.Dialer{Timeout: max(d.Timeout, 0)}
	switch wild := isWildcard(d.LocalIP); {
	case wild && d.LocalPort != 0:
		dialer.LocalAddr = &net.TCPAddr{Port: int(d.LocalPort)} // fits both IPv4 and IPv6
	case !wild:
		addr, err := net.ResolveTCPAddr(d.Network, joinPort(d.LocalIP, d.LocalPort))
		if err != nil {
			return nil, fmt.Errorf("local address: %w", err)
		}
		dialer.LocalAddr = addr
	}
	if d.LocalPort != 0 {
		dialer.Control = reuseAddr // else a redial fails until the system has forgotten the old connection
	}
	return dialer.DialContext(ctx, d.Network, d.Addr)
}

// A bareError is a *net.OpError whose text leaves out the operation, the network and the
// addresses, for texts that begin with them.
type bareError struct{ *net.OpError }

func (e bareError) Error() string { return e.Err.Error() }
func (e bareError) Unwrap() error { return e.OpError }

// bare returns err, as a bareError if it is a *net.OpError.
func bare(err error) error {
	if op, ok := err.(*net.OpError); ok && op.Err != nil {
		return bareError{op}
	}
	return err
}

// tlsError is the error of a handshake, whose text says once that it is about TLS.
func tlsError(err error) error {
	if text := err.Error(); strings.HasPrefix(text, "tls: ") || strings.HasPrefix(text, "remote error: tls: ") {
		return err
	}
	return fmt.Errorf("tls: %w", bare(err))
}

// listenTCP listens on LocalIP:ListenPort, or takes over the parent's listener.
func listenTCP(ctx context.Context, l ListenConfig) (net.Listener, error) {
	switch {
	case l.Network == "tcp6" && isWildcard(l.LocalIP):
		l.LocalIP = "::"
	case l.LocalIP == "":
		l.LocalIP = "0.0.0.0"
	}
	addr := joinPort(l.LocalIP, l.ListenPort)
	reportInherited()
	lis, err := inherit.Listen(l.Network, addr, func() (net.Listener, error) {
		var lc net.ListenConfig
		if l.ReusePort {
			lc.Control = reusePort
		}
		lc.SetMultipathTCP(false) // a listener that is handed to a child or polled by a mixer must be plain TCP
		return lc.Listen(ctx, l.Network, addr)
	})
	if err != nil {
		return nil, listenError(l.Network, addr, err)
	}
	return lis, nil
}

// reportInherited logs the errors of taking over the parent's listeners, which occur
// before the logger is set.
var reportInherited = sync.OnceFunc(func() {
	inherit.Report(func(err error) { Warnf("tp: reboot: %v", err) })
})

// listenError adds hints for the usual mistakes.
func listenError(network, addr string, err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err // without operation, network and address, which we add ourselves
	}
	if call := (*os.SyscallError)(nil); errors.As(err, &call) {
		err = call.Err
	}
	hint := ""
	switch {
	case isAddrInUse(err):
		hint = ": another process holds this port; stop it, or set ListenPort (0 picks a free one)"
	case isAddrNotAvailable(err):
		hint = ": this machine has no such address; set LocalIP (0.0.0.0 is all addresses)"
	case errors.Is(err, fs.ErrPermission):
		hint = ": this user may not listen there; set ListenPort to 1024 or more"
	}
	return fmt.Errorf("tp: listen %s %s: %w%s", network, addr, err, hint)
}

// unixPath returns the name of the socket: LocalIP if that is a path or an abstract
// name. With a ListenPort, an IP address or a name without slashes is the first part of
// a file name in the working directory, as in v5 and v7: 0.0.0.0:9090.
func unixPath(localIP string, port uint16) (string, error) {
	_, err := netip.ParseAddr(localIP)
	switch isPath := strings.ContainsAny(localIP, `/\`) || strings.HasPrefix(localIP, "@"); {
	case port == 0 && (localIP == "" || err == nil):
		return "", errNoUnixPath
	case port == 0 || isPath:
		return localIP, nil
	}
	return joinPort(cmp.Or(localIP, "0.0.0.0"), port), nil
}

var errNoUnixPath = errors.New("no path: set LocalIP to that of the socket, such as /run/app.sock")

func dialUnix(ctx context.Context, d DialConfig) (net.Conn, error) {
	// The client's socket gets no name: it would be a file that must be removed.
	dialer := net.Dialer{Timeout: max(d.Timeout, 0)}
	return dialer.DialContext(ctx, d.Network, d.Addr)
}

// listenUnix listens on a socket file that only its owner can connect to,
// unless UnixMode says otherwise, and that Close removes. It replaces the file of a
// process that has ended. An abstract name (@name, Linux only) has no file and so no
// permissions: all processes of the machine can connect.
func listenUnix(ctx context.Context, l ListenConfig) (net.Listener, error) {
	path, err := unixPath(l.LocalIP, l.ListenPort)
	if err != nil {
		return nil, fmt.Errorf("tp: listen %s: %w", l.Network, err)
	}
	mode := l.UnixMode.Perm()
	if mode == 0 {
		mode = 0o600
	}
	reportInherited()
	lis, err := inherit.Listen(l.Network, path, func() (net.Listener, error) {
		if !strings.HasPrefix(path, "@") {
			if err := removeStale(ctx, l.Network, path); err != nil {
				return nil, err
			}
			return listenUnixFile(ctx, l.Network, path, mode)
		}
		if runtime.GOOS != "linux" {
			return nil, fmt.Errorf("abstract names exist on linux only: %w", errors.ErrUnsupported)
		}
		var lc net.ListenConfig
		return lc.Listen(ctx, l.Network, path)
	})
	if err != nil {
		return nil, unixError(l.Network, path, err)
	}
	return lis, nil
}

func unixError(network, path string, err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	hint := ""
	switch {
	case isAddrInUse(err):
		hint = ": another process listens there; stop it, or set LocalIP to another path"
	case errors.Is(err, fs.ErrNotExist):
		hint = ": make its directory first"
	case len(path) > maxUnixPath:
		hint = fmt.Sprintf(": the path has %d bytes, at most %d are allowed", len(path), maxUnixPath)
	}
	return fmt.Errorf("tp: listen %s %s: %w%s", network, path, err, hint)
}

// maxUnixPath is the length in bytes that all systems allow, without the final zero.
const maxUnixPath = 103

// staleProbe bounds the dial that finds out whether a process listens on a socket file.
const staleProbe = time.Second

var errAnswers = errors.New("a process answers there; stop it, or set LocalIP to another path")

// removeStale removes the socket file of a process that has ended. It returns an error
// for a file that is not a socket, and for a socket whose owner may be alive.
func removeStale(ctx context.Context, network, path string) error {
	before, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if before.Mode()&fs.ModeSocket == 0 {
		return errors.New("a file that is not a socket has this name; remove it, or set LocalIP to another path")
	}
	dialer := net.Dialer{Timeout: staleProbe}
	conn, err := dialer.DialContext(ctx, network, path)
	if err == nil {
		conn.Close()
		return errAnswers
	}
	if !isRefused(err) {
		return fmt.Errorf("a socket has this name, and its owner may be alive: %w", err)
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(before, now) {
		return nil // another process has replaced the file: let bind decide
	}
	return os.Remove(path)
}

func addrText(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}
