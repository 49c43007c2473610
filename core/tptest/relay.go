package tptest

import (
	"bytes"
	"cmp"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// Faults says what a Relay does to datagrams, in both directions. The zero value
// forwards all of them at once.
type Faults struct {
	Loss      float64       // part of the datagrams that is lost, 0 to 1
	Duplicate float64       // part that arrives twice
	Reorder   float64       // part that arrives Jitter later than it would
	Delay     time.Duration // how long all of them travel
	Jitter    time.Duration // default 10ms
}

const defaultJitter = 10 * time.Millisecond

// A Relay forwards datagrams (UDP) between clients and a server as a bad network does:
// it loses, delays, repeats and reorders them, and gives the clients new addresses. The
// server sees a client as a port of the relay. All methods may be called concurrently.
type Relay struct {
	t      testing.TB
	front  *net.UDPConn
	server *net.UDPAddr

	mu      sync.Mutex // guards the fields below
	faults  Faults
	random  *rand.Rand
	clients map[string]*relayed
	closed  bool
	way     []datagram // what travels, the next one first
	passed  int        // datagrams that the relay has read

	wake  chan struct{} // way or closed has changed
	tasks sync.WaitGroup
}

// datagram is on its way.
type datagram struct {
	due   time.Time
	bytes []byte
	send  func([]byte)
}

// relayed is a client of a Relay.
type relayed struct {
	addr *net.UDPAddr
	back *net.UDPConn // the server sees its address
}

// NewRelay makes a relay on a free port of the loopback, in front of the server at the
// address. It is closed at the end of the test.
func NewRelay(t testing.TB, server string) *Relay {
	t.Helper()
	addr, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		t.Fatalf("relay to %s: %v", server, err)
	}
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatalf("relay to %s: %v", server, err)
	}
	r := &Relay{t: t, front: front, server: addr, random: rand.New(rand.NewPCG(1, 2)), clients: map[string]*relayed{}, wake: make(chan struct{}, 1)}
	t.Cleanup(r.close)
	r.tasks.Go(r.forward)
	r.tasks.Go(r.deliver)
	return r
}

// Addr is the address that clients dial.
func (r *Relay) Addr() string { return r.front.LocalAddr().String() }

// Set replaces the faults.
func (r *Relay) Set(f Faults) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = f
}

// Rebind gives all clients new addresses, as a router does that has forgotten them. It
// returns how many clients there are. What the server sends to the old addresses is lost.
func (r *Relay) Rebind() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.clients {
		c.back.Close()
		r.connect(c)
	}
	return len(r.clients)
}

// connect makes a socket for what the client sends. The caller holds r.mu.
func (r *Relay) connect(c *relayed) {
	back, err := net.DialUDP("udp", nil, r.server)
	if err != nil {
		r.t.Errorf("relay to %s: %v", r.server, err)
		return
	}
	c.back = back
	r.tasks.Go(func() { r.reply(c, back) })
}

const datagramSize = 64 << 10

// forward passes on what clients send.
func (r *Relay) forward() {
	room := make([]byte, datagramSize)
	for {
		n, from, err := r.front.ReadFromUDP(room)
		if err != nil {
			return
		}
		r.mu.Lock()
		c := r.clients[from.String()]
		if c == nil && !r.closed {
			c = &relayed{addr: from}
			r.connect(c)
			r.clients[from.String()] = c
		}
		if c != nil && c.back != nil {
			r.pass(room[:n], func(b []byte) { r.backOf(c).Write(b) })
		}
		r.mu.Unlock()
	}
}

func (r *Relay) backOf(c *relayed) *net.UDPConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.back
}

// reply passes on what the server sends to a client, until back is closed.
func (r *Relay) reply(c *relayed, back *net.UDPConn) {
	room := make([]byte, datagramSize)
	for {
		n, err := back.Read(room)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // the server's port is closed: a client sees nothing of that
		}
		r.mu.Lock()
		r.pass(room[:n], func(b []byte) { r.front.WriteToUDP(b, c.addr) })
		r.mu.Unlock()
	}
}

// pass lets a copy of b arrive by send, as the faults say. The caller holds r.mu.
func (r *Relay) pass(b []byte, send func([]byte)) {
	f := r.faults
	r.passed++
	if r.closed || r.random.Float64() < f.Loss {
		return
	}
	copies := 1
	if r.random.Float64() < f.Duplicate {
		copies = 2
	}
	b = bytes.Clone(b)
	for range copies {
		due := time.Now().Add(f.Delay)
		if r.random.Float64() < f.Reorder {
			due = due.Add(cmp.Or(f.Jitter, defaultJitter))
		}
		i, _ := slices.BinarySearchFunc(r.way, due, func(d datagram, due time.Time) int {
			if d.due.After(due) {
				return 1
			}
			return -1 // behind those that are due at the same time
		})
		r.way = slices.Insert(r.way, i, datagram{due, b, send})
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// deliver sends the datagrams when they are due, until the relay is closed.
func (r *Relay) deliver() {
	for {
		r.mu.Lock()
		closed, next := r.closed, time.Hour
		var due []datagram
		for len(r.way) > 0 {
			if next = time.Until(r.way[0].due); next > 0 {
				break
			}
			due, r.way = append(due, r.way[0]), r.way[1:]
		}
		r.mu.Unlock()
		if closed {
			return
		}
		for _, d := range due {
			d.send(d.bytes)
		}
		if len(due) > 0 {
			continue
		}
		select {
		case <-r.wake:
		case <-time.After(next):
		}
	}
}

func (r *Relay) close() {
	r.mu.Lock()
	r.closed = true
	r.front.Close()
	for _, c := range r.clients {
		if c.back != nil {
			c.back.Close()
		}
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	r.tasks.Wait()
}
