// Package tptest helps to test programs and modules that use tp. It has a network in
// memory, functions that make peers, and conformance suites for protocols, plugins and
// networks:
//
//	func TestSessions(t *testing.T) { tptest.RunProto(t, NewXProtoFunc()) }
//	func TestPlugin(t *testing.T)   { tptest.RunPlugin(t, func() tp.Plugin { return NewX() }) }
//	func TestNetwork(t *testing.T)  { tptest.RunNetwork(t, dial, listen) }
//
// A network over UDP is also tested on bad paths, by RunDatagrams.
//
// Two connected peers, closed at the end of the test:
//
//	srv, cli, sess := tptest.Peers(t)
//
// By default they use a small protocol and codec of the core's own tests, so that a test
// need not import any.
package tptest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/leak"
	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/poison"
)

// Conn is one end of a connection in memory. Besides the methods of a net.Conn it has
// some to cut, freeze and half close the connection, and to damage a byte.
type Conn = memnet.Conn

// Addr is an address in a Network: a name. Its network is "mem".
type Addr = memnet.Addr

// NetworkOption is a property of all connections of a Network or Pipe.
type NetworkOption = memnet.Option

// The errors of operations on a Conn and a Network; compare with errors.Is.
var (
	ErrReset      = memnet.ErrReset      // the connection was cut
	ErrBrokenPipe = memnet.ErrBrokenPipe // a write after the peer's Close
	ErrRefused    = memnet.ErrRefused    // no listener has the address, or Refuse
	ErrAddrInUse  = memnet.ErrAddrInUse  // another listener has the address
)

// Latency is how long a byte travels; Dial takes twice as long. Default 0.
func Latency(d time.Duration) NetworkOption { return memnet.Latency(d) }

// Bandwidth limits each direction to so many bytes a second. Default 0: no limit.
func Bandwidth(bytesPerSec int64) NetworkOption { return memnet.Bandwidth(bytesPerSec) }

// Buffer is how many bytes each direction holds that are not yet read. Default
// 64 KiB.
func Buffer(n int) NetworkOption { return memnet.Buffer(n) }

// Chunk is the most bytes that one Read returns. Default 0: no limit.
func Chunk(n int) NetworkOption { return memnet.Chunk(n) }

// Seed makes every Read return a random number of bytes up to Chunk, the same ones
// for the same seed.
func Seed(seed int64) NetworkOption { return memnet.Seed(seed) }

// Backlog is how many dials succeed before Accept takes them. Default 128.
func Backlog(n int) NetworkOption { return memnet.Backlog(n) }

// Pipe returns two connected ends that belong to no Network.
func Pipe(opts ...NetworkOption) (a, b *Conn) { return memnet.Pipe(opts...) }

// Network is a network in memory. Besides Dial and Listen it has CutAll, Find
// (the connection with a local address), Partition, Refuse and Conns. It belongs to the
// testing/synctest bubble it is made in. All methods may be called concurrently.
type Network struct {
	*memnet.Network

	once sync.Once
	name string
}

// NewNetwork returns an empty network.
func NewNetwork(opts ...NetworkOption) *Network {
	return &Network{Network: memnet.New(opts...)}
}

// Register registers the network, and returns its name for PeerConfig.Network, which is
// unique in the process. A peer listens on LocalIP:ListenPort, by default on a free
// address. After the end of the test, dialling and listening by that name fail. Further
// calls return the same name.
func (n *Network) Register(t testing.TB) string {
	n.once.Do(func() { n.name = register(t, n.dial, n.listen, nil) })
	return n.name
}

func (n *Network) dial(ctx context.Context, d tp.DialConfig) (net.Conn, error) {
	return n.Dial(ctx, d.Addr)
}

func (n *Network) listen(_ context.Context, l tp.ListenConfig) (net.Listener, error) {
	return n.Listen(l.LocalIP + ":" + strconv.Itoa(int(l.ListenPort)))
}

var registered atomic.Uint64

// way holds the functions of a registered name until the test's end.
type way struct {
	dial   func(context.Context, tp.DialConfig) (net.Conn, error)
	listen func(context.Context, tp.ListenConfig) (net.Listener, error)
}

// register registers a network under a new name. A registration cannot be removed, so
// its functions fail after the end of the test.
func register(t testing.TB, dial func(context.Context, tp.DialConfig) (net.Conn, error), listen func(context.Context, tp.ListenConfig) (net.Listener, error), handshake func(context.Context, *tp.Handshake) error) string {
	name := fmt.Sprintf("tptest:%d", registered.Add(1))
	var to atomic.Pointer[way]
	to.Store(&way{dial, listen})
	t.Cleanup(func() { to.Store(nil) })
	tp.RegisterNetwork(tp.Network{
		Name: name,
		Dial: func(ctx context.Context, d tp.DialConfig) (net.Conn, error) {
			w := to.Load()
			if w == nil {
				return nil, fmt.Errorf("tptest: dial %s: the test of %s has ended: %w", d.Addr, name, net.ErrClosed)
			}
			if d.Timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, d.Timeout)
				defer cancel()
			}
			return w.dial(ctx, d)
		},
		Listen: func(ctx context.Context, l tp.ListenConfig) (net.Listener, error) {
			w := to.Load()
			if w == nil {
				return nil, fmt.Errorf("tptest: listen: the test of %s has ended: %w", name, net.ErrClosed)
			}
			return w.listen(ctx, l)
		},
		Handshake: handshake,
	})
	return name
}

// Poison lets the test find code that keeps borrowed values too long: until the end of
// the test, using a context after its handler has returned panics with an explanation,
// and borrowed bytes are overwritten when their time is over. It affects the whole
// process, so the test must not run in parallel to others.
func Poison(t testing.TB) { t.Cleanup(poison.Switch()) }

// LeakCheck makes the test fail if, at its end, goroutines of this project still run
// that were started since this call; they have 2 seconds to end. Call it first, so that
// it checks last. It checks the whole process (in a testing/synctest bubble: the
// bubble), so the test must not run in parallel to others.
func LeakCheck(t testing.TB) {
	t.Helper()
	leak.LeakCheck(t)
}
