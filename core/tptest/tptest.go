// Package tptest is for tests of programs and modules that stand on tp: a network
// in memory, peers that are quickly made, and the conformance suites of
// protocols, plugins and networks:
//
//	func TestSessions(t *testing.T) { tptest.RunProto(t, NewXProtoFunc()) }
//	func TestPlugin(t *testing.T)   { tptest.RunPlugin(t, func() tp.Plugin { return NewX() }) }
//	func TestNetwork(t *testing.T)  { tptest.RunNetwork(t, dial, listen) }
//
// Two peers that talk, closed at the end of the test:
//
//	srv, cli, sess := tptest.Peers(t)
//
// By default they speak a small protocol and codec of the core's own tests, so
// that nothing has to be imported.
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

// Conn is one end of a connection in memory. Besides what a net.Conn has it can be
// cut, frozen, half closed, and made to damage a byte.
type Conn = memnet.Conn

// Addr is an address in a Network: a name. Its network is "mem".
type Addr = memnet.Addr

// NetworkOption is a property of all connections of a Network or Pipe.
type NetworkOption = memnet.Option

// What operations on a Conn fail with; ask with errors.Is.
var (
	ErrReset      = memnet.ErrReset      // the connection was cut
	ErrBrokenPipe = memnet.ErrBrokenPipe // a write after the peer's Close
	ErrRefused    = memnet.ErrRefused    // nobody listens, or Refuse
	ErrAddrInUse  = memnet.ErrAddrInUse  // somebody else listens
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

// Backlog is how many dials succeed ahead of Accept. Default 128.
func Backlog(n int) NetworkOption { return memnet.Backlog(n) }

// Pipe returns two connected ends that belong to no Network.
func Pipe(opts ...NetworkOption) (a, b *Conn) { return memnet.Pipe(opts...) }

// Network is a network in memory. Besides Dial and Listen it has CutAll, Find
// (the connection with this local address), Partition, Refuse and Conns. It
// belongs to the testing/synctest bubble it is made in. Its methods may be called
// concurrently.
type Network struct {
	*memnet.Network

	once sync.Once
	name string
}

// NewNetwork returns an empty network.
func NewNetwork(opts ...NetworkOption) *Network {
	return &Network{Network: memnet.New(opts...)}
}

// Register makes the network known to peers, and returns the name for
// PeerConfig.Network, which no other network has had or will have. A peer listens
// on LocalIP:ListenPort, by default on an address that is free. When the test has
// ended nothing can be dialled by that name any more. Further calls return the
// same name.
func (n *Network) Register(t testing.TB) string {
	n.once.Do(func() { n.name = register(t, n.dial, n.listen) })
	return n.name
}

func (n *Network) dial(ctx context.Context, d tp.DialConfig) (net.Conn, error) {
	return n.Dial(ctx, d.Addr)
}

func (n *Network) listen(_ context.Context, l tp.ListenConfig) (net.Listener, error) {
	return n.Listen(l.LocalIP + ":" + strconv.Itoa(int(l.ListenPort)))
}

var registered atomic.Uint64

// way is what a registered name leads to until the test's end.
type way struct {
	dial   func(context.Context, tp.DialConfig) (net.Conn, error)
	listen func(context.Context, tp.ListenConfig) (net.Listener, error)
}

// register gives a network a name. A registration stays for ever, so what it
// leads to is taken away at the end.
func register(t testing.TB, dial func(context.Context, tp.DialConfig) (net.Conn, error), listen func(context.Context, tp.ListenConfig) (net.Listener, error)) string {
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
	})
	return name
}

// Poison lets the test find out who keeps what he was only lent: until its end,
// using a context after its handler has returned panics with words, and lent
// bytes are overwritten when they are used up. It works on the whole process, so
// the test must not run in parallel to others.
func Poison(t testing.TB) { t.Cleanup(poison.Switch()) }

// LeakCheck makes the test fail when at its end goroutines of this project still
// run that were started since this call; they are given 2 seconds. Call it first,
// so that it looks last. It sees the whole process (in a testing/synctest bubble:
// the bubble), so the test must not run in parallel to others.
func LeakCheck(t testing.TB) {
	t.Helper()
	leak.LeakCheck(t)
}
