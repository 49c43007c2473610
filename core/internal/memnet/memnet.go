// Package memnet implements a network in memory for tests, with latency, bandwidth and
// faults on demand.
//
// It is made for testing/synctest: operations wait only on channels and timers, so a
// bubble sees them as durably blocked and its clock advances. The package starts no
// goroutines. A Network, its listeners and connections belong to the bubble they are
// made in; outside of bubbles they use the real clock.
//
//	n := memnet.New(memnet.Latency(10 * time.Millisecond))
//	lis, err := n.Listen("")                      // "mem:1"
//	c, err := n.Dial(ctx, lis.Addr().String())    // one round trip later
//	c.(*memnet.Conn).CutAfter(7)                  // the peer gets 7 bytes, then a reset
//
// A run is as repeatable as the order in which the test's goroutines call: addresses are
// numbered, random numbers come from Seed, and no byte is lost, late or cut unless the
// test causes it.
package memnet

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The errors of operations, wrapped in a *net.OpError as in package net; compare with
// errors.Is. Others are io.EOF (not wrapped), net.ErrClosed, os.ErrDeadlineExceeded and
// the errors of a Dial's context.
var (
	ErrReset      error = syscall.ECONNRESET   // the connection was cut
	ErrBrokenPipe error = syscall.EPIPE        // a write after the peer's Close or the own CloseWrite
	ErrRefused    error = syscall.ECONNREFUSED // no listener has the address, or Refuse
	ErrAddrInUse  error = syscall.EADDRINUSE   // another listener has the address
)

const (
	defaultBuffer  = 64 << 10
	defaultBacklog = 128
)

type config struct {
	latency   time.Duration
	bandwidth int64
	buffer    int
	chunk     int
	backlog   int
	seed      int64
	seeded    bool
}

// timed reports whether bytes need time to arrive.
func (c *config) timed() bool { return c.latency > 0 || c.bandwidth > 0 }

// rng returns the random source for one direction of one connection, so that a
// connection does not depend on the traffic of others. It is nil without Seed.
func (c *config) rng(stream uint64) *rand.Rand {
	if !c.seeded {
		return nil
	}
	return rand.New(rand.NewPCG(uint64(c.seed), stream))
}

// Option sets a property of every connection of a Network or Pipe.
type Option func(*config)

// Latency is how long a byte, an end of stream or a Close travels to the other
// end; Dial takes twice as long. Default 0.
func Latency(d time.Duration) Option { return func(c *config) { c.latency = d } }

// Bandwidth limits each direction of a connection to so many bytes a second.
// They arrive in parcels of at most 1460 bytes. Default 0: no limit.
func Bandwidth(bytesPerSec int64) Option { return func(c *config) { c.bandwidth = bytesPerSec } }

// Buffer is how many bytes each direction may hold that are written and not yet
// read, whether they have arrived or not; a Write beyond that waits. Default
// 64 KiB, at least 1.
func Buffer(n int) Option { return func(c *config) { c.buffer = max(n, 1) } }

// Chunk is the most bytes that one Read returns. Default 0: no limit.
func Chunk(n int) Option { return func(c *config) { c.chunk = n } }

// Seed makes every Read return a random number of bytes between 1 and Chunk,
// the same ones for the same seed. Without Seed a Read returns as many as it
// can; without Chunk the seed changes nothing.
func Seed(seed int64) Option { return func(c *config) { c.seed, c.seeded = seed, true } }

// Backlog is how many dials succeed before Accept takes them; further ones wait. With 0
// a Dial returns when Accept takes it. Default 128.
func Backlog(n int) Option { return func(c *config) { c.backlog = max(n, 0) } }

func newConfig(opts []Option) *config {
	c := &config{buffer: defaultBuffer, backlog: defaultBacklog}
	for _, o := range opts {
		o(c)
	}
	return c
}

// Addr is an address of a Network: a name. Its network is "mem".
type Addr string

var _ net.Addr = Addr("")

// Network returns "mem".
func (Addr) Network() string { return "mem" }

// String returns the address as Listen and Dial take it.
func (a Addr) String() string { return string(a) }

// Network connects listeners and dialers by name. Its methods may be called
// concurrently.
type Network struct {
	cfg *config

	mu        sync.Mutex // guards the fields below; taken before a link's, never after
	listeners map[Addr]*listener
	links     map[uint64]*link // those with an open end
	open      int              // number of ends that are not closed
	refuse    map[Addr]int     // dials still to refuse; negative: all
	ports     int              // last number of a listener
	dials     uint64           // last number of a connection
	healed    chan struct{}    // not nil during a partition; closed at its end
}

// New returns an empty network.
func New(opts ...Option) *Network {
	return &Network{
		cfg:       newConfig(opts),
		listeners: make(map[Addr]*listener),
		links:     make(map[uint64]*link),
		refuse:    make(map[Addr]int),
	}
}

var pipes atomic.Uint64

// Pipe returns two connected ends that belong to no Network. No two ends of a
// process share an address.
func Pipe(opts ...Option) (a, b *Conn) {
	id := pipes.Add(1)
	l := newLink(newConfig(opts), nil, 0,
		Addr(fmt.Sprintf("mem:pipe:%d:a", id)), Addr(fmt.Sprintf("mem:pipe:%d:b", id)))
	return l.a, l.b
}

// Listen listens on the address addr. An empty host in ":0" is "mem", and the port
// 0 is replaced by the next free number, so "" and ":0" give "mem:1" first. The error is
// ErrAddrInUse if another listener has the address.
func (n *Network) Listen(addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.pick(addr)
	if n.listeners[a] != nil {
		return nil, &net.OpError{Op: "listen", Net: a.Network(), Addr: a, Err: ErrAddrInUse}
	}
	l := &listener{net: n, addr: a}
	n.listeners[a] = l
	return l, nil
}

// pick replaces an empty address and a port 0. The caller holds n.mu.
func (n *Network) pick(addr string) Addr {
	if addr == "" {
		addr = ":0"
	}
	host, ok := strings.CutSuffix(addr, ":0")
	if !ok {
		return Addr(addr)
	}
	if host == "" {
		host = "mem"
	}
	for {
		n.ports++
		if a := Addr(fmt.Sprintf("%s:%d", host, n.ports)); n.listeners[a] == nil {
			return a
		}
	}
}

// Dial connects to the listener at addr, after one round trip of Latency. The
// connection is a *Conn with the local address "mem:client:1", 2 and so on. The error is
// ErrRefused if no listener has the address, and the context's error if that ends first.
// During a partition Dial waits.
func (n *Network) Dial(ctx context.Context, addr string) (net.Conn, error) {
	p, err := n.dial(ctx, Addr(addr))
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: Addr(addr), Err: err}
	}
	return p.link.a, nil
}

func (n *Network) dial(ctx context.Context, addr Addr) (*pending, error) {
	p, err := n.knock(ctx, addr)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.ready:
		return p, p.err
	case <-ctx.Done():
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.resolved { // at the same moment: the connection counts
		return p, p.err
	}
	p.lis.queue = slices.DeleteFunc(p.lis.queue, func(q *pending) bool { return q == p })
	return nil, ctx.Err()
}

// knock waits for the round trip to the listener and joins its queue.
func (n *Network) knock(ctx context.Context, addr Addr) (*pending, error) {
	for {
		if err := n.roundTrip(ctx); err != nil {
			return nil, err
		}
		n.mu.Lock()
		if n.healed == nil {
			break
		}
		n.mu.Unlock() // a partition has begun meanwhile
	}
	defer n.mu.Unlock()
	if left := n.refuse[addr]; left != 0 {
		if left > 0 {
			n.refuse[addr]--
		}
		return nil, ErrRefused
	}
	lis := n.listeners[addr]
	if lis == nil {
		return nil, ErrRefused
	}
	n.dials++
	l := newLink(n.cfg, n, n.dials, Addr(fmt.Sprintf("mem:client:%d", n.dials)), addr)
	p := &pending{lis: lis, link: l, ready: make(chan struct{})}
	lis.push(p)
	return p, nil
}

// roundTrip waits for the end of a partition, then for twice the latency.
func (n *Network) roundTrip(ctx context.Context) error {
	n.mu.Lock()
	healed := n.healed
	n.mu.Unlock()
	if healed != nil {
		select {
		case <-healed:
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil || n.cfg.latency <= 0 {
		return err
	}
	t := time.NewTimer(2 * n.cfg.latency)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// Refuse makes the next times dials to addr fail with ErrRefused, although there is a
// listener; negative: all of them, 0: none any more.
func (n *Network) Refuse(addr string, times int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refuse[Addr(addr)] = times
}

// Partition(true) stops all connections as Freeze does, and makes dials wait.
// Partition(false) ends that; connections that the test froze by themselves stay frozen.
func (n *Network) Partition(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if on == (n.healed != nil) {
		return
	}
	for _, l := range n.all() {
		l.part(on)
	}
	if on {
		n.healed = make(chan struct{})
		return
	}
	close(n.healed)
	n.healed = nil
}

// CutAll cuts every connection, as Conn.Cut does. Listeners stay open.
func (n *Network) CutAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.all() {
		l.cut()
	}
}

// Conns returns the number of ends that are not closed: two for a connection in use,
// also when it is cut or waits for Accept.
func (n *Network) Conns() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open
}

// Find returns the open end whose local address is addr, or nil: the connection of a
// session whose address is known. Each client has its own address; the accepted ends of
// a listener share its address, and Find returns the oldest (for another one use
// Conn.Peer of the client's end).
func (n *Network) Find(addr string) *Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.all() {
		for _, c := range []*Conn{l.a, l.b} {
			if string(c.local) == addr && !c.isClosed() {
				return c
			}
		}
	}
	return nil
}

// all returns the links, oldest first. The caller holds n.mu.
func (n *Network) all() []*link {
	ls := make([]*link, 0, len(n.links))
	for _, id := range slices.Sorted(maps.Keys(n.links)) {
		ls = append(ls, n.links[id])
	}
	return ls
}

// left notes that an end was closed; last says that the other one was before.
func (n *Network) left(l *link, last bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open--
	if last {
		delete(n.links, l.id)
	}
}
