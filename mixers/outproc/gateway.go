package outproc

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// gateway is a Gateway that runs in a guest.
type gateway struct {
	h     *Handle
	name  string
	route string
	stop  chan struct{} // closed by finish

	refused atomic.Uint64 // connections, by the guest or here

	mu     sync.Mutex
	lis    net.Listener  // for the sessions of foreign connections; nil: not served
	slots  chan struct{} // holds a token for each foreign connection
	addr   string        // where the guest listens
	closed bool
}

// GatewayConfig says how a gateway is served.
type GatewayConfig struct {
	// MaxConns is how many foreign connections may be open at a time. The guest closes
	// those that are over it, with words of its protocol if it is a guest.Refuser;
	// Handle.GatewayStats counts them. Default 4096.
	MaxConns int
}

const defaultMaxConns = 4096

// GatewayStats are the foreign connections of a gateway.
type GatewayStats struct {
	Conns int // open now
	// Refused is how many were refused because there were GatewayConfig.MaxConns already.
	// The guest reports those that it has refused once a second.
	Refused uint64
}

// How long a guest may take to say what a connection is, and how long the session of an
// earlier one may take to end after its connection has ended in the guest.
const (
	foreignTime = 10 * time.Second
	slotTime    = time.Second
)

func newGateway(h *Handle, desc contract.Part) (part, error) {
	if err := contract.CheckRouteName(desc.Name); err != nil {
		return nil, fmt.Errorf("its gateway: %w", err)
	}
	if h.guest.Connect != "" {
		return nil, fmt.Errorf("its gateway %s opens sessions with the host that has started it: set Path in place of Connect", desc.Name)
	}
	return &gateway{h: h, name: desc.Name, route: contract.GatewayRoute(desc.Name), stop: make(chan struct{})}, nil
}

func (g *gateway) prepare(context.Context, *instance) error { return nil } // ServeGateway opens it
func (g *gateway) register(bool) error                      { return nil }

// ServeGateway opens the gateway with that name: its guest listens, and for each foreign
// connection peer gets a session of its own, with the foreign address and TLS state, as if
// it had accepted that. It returns when the guest listens; ctx bounds that alone. A
// process that takes the place of another one is opened too, when the port is free.
// Close ends all connections of the gateway.
func (h *Handle) ServeGateway(ctx context.Context, name string, peer tp.Peer, config ...GatewayConfig) error {
	var c GatewayConfig
	if n := len(config); n > 0 {
		c = config[n-1]
	}
	orDefault(&c.MaxConns, defaultMaxConns)
	g := h.gateway(name)
	if g == nil {
		return fmt.Errorf("outproc: guest %s has no gateway %q", h.name, name)
	}
	if err := g.serve(ctx, peer, c); err != nil {
		return fmt.Errorf("outproc: guest %s: gateway %s: %w", h.name, name, err)
	}
	return nil
}

// GatewayAddr returns the address at which the gateway listens, "" if it does not.
func (h *Handle) GatewayAddr(name string) string {
	g := h.gateway(name)
	if g == nil {
		return ""
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.addr
}

// GatewayStats returns the numbers of connections of the gateway with that name.
func (h *Handle) GatewayStats(name string) (s GatewayStats) {
	if g := h.gateway(name); g != nil {
		g.mu.Lock()
		s.Conns = len(g.slots)
		g.mu.Unlock()
		s.Refused = g.refused.Load()
	}
	return s
}

func (h *Handle) gateway(name string) *gateway {
	for _, p := range h.parts {
		if g, ok := p.part.(*gateway); ok && g.name == name {
			return g
		}
	}
	return nil
}

func (g *gateway) serve(ctx context.Context, peer tp.Peer, c GatewayConfig) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return errClosed
	case g.lis != nil:
		return errors.New("it is served already")
	}
	dir, done, err := useDir()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "gw-"+rand.Text()[:8])
	lis, err := net.Listen("unix", path)
	if err != nil {
		done()
		return err
	}
	open := contract.GatewayOpen{Address: path, Token: rand.Text(), MaxConns: c.MaxConns}
	slots := make(chan struct{}, c.MaxConns)
	g.h.owned.Go(func() {
		defer done()
		g.accept(lis, peer, open.Token, slots)
	})
	ctx, cancel := context.WithTimeout(ctx, g.h.guest.StartTimeout) // Close waits for it
	defer cancel()
	inst, err := g.h.next(ctx, nil)
	var addr string
	if err == nil {
		addr, err = g.open(ctx, inst, open)
	}
	if err != nil {
		lis.Close()
		return err
	}
	g.lis, g.slots, g.addr = lis, slots, addr
	g.h.owned.Go(func() { g.keepOpen(inst, open) })
	return nil
}

// open makes one process listen, and returns its address.
func (g *gateway) open(ctx context.Context, inst *instance, open contract.GatewayOpen) (string, error) {
	body, err := json.Marshal(open)
	if err != nil {
		return "", err
	}
	answer, err := inst.ask(ctx, g.route, body)
	if err != nil {
		return "", err
	}
	var opened contract.GatewayOpened
	if err := json.Unmarshal(answer, &opened); err != nil || opened.Address == "" {
		return "", fmt.Errorf("the answer %.100q has no address", answer)
	}
	return opened.Address, nil
}

// keepOpen opens the gateway in each process that takes the place of last.
func (g *gateway) keepOpen(last *instance, open contract.GatewayOpen) {
	pause := 50 * time.Millisecond
	for {
		inst := g.h.await(g.stop, last)
		if inst == nil {
			return
		}
		addr, err := g.open(context.Background(), inst, open)
		if err == nil {
			g.mu.Lock()
			g.addr = addr
			g.mu.Unlock()
			last, pause = inst, 50*time.Millisecond
			continue
		}
		if pause > time.Second { // at a Reload the old process has the port for a while
			g.h.guest.Logger.Warn("outproc: a gateway cannot be opened in the guest's new process; it is tried again", "guest", g.h.name, "gateway", g.name, "error", err)
		}
		select {
		case <-time.After(pause):
		case <-g.stop:
			return
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// finish ends the gateway: no more connections are taken. Those that there are end with
// the guest.
func (g *gateway) finish() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.closed, g.addr = true, ""
	close(g.stop)
	if g.lis != nil {
		g.lis.Close()
	}
}

// accept serves the connections of the guest on peer, each with a token in slots.
func (g *gateway) accept(lis net.Listener, peer tp.Peer, token string, slots chan struct{}) {
	for {
		conn, err := lis.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files
			g.h.guest.Logger.Warn("outproc: accept a connection of a gateway", "guest", g.h.name, "gateway", g.name, "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-g.stop:
			}
			continue
		}
		if !g.takeSlot(slots) {
			g.refused.Add(1)
			conn.Close()
			g.h.guest.Logger.Warn("outproc: a connection of a gateway was refused: the guest has opened more than GatewayConfig.MaxConns", "guest", g.h.name, "gateway", g.name, "max_conns", cap(slots))
			continue
		}
		g.h.owned.Go(func() {
			defer func() { <-slots }()
			sess, err := serveForeign(conn, peer, token)
			if err != nil {
				g.h.guest.Logger.Warn("outproc: a connection of a gateway was refused", "guest", g.h.name, "gateway", g.name, "error", err)
				return
			}
			<-sess.CloseNotify()
		})
	}
}

// takeSlot takes a slot for a connection. A guest that keeps to the limit has ended one
// connection before it begins the next, but not yet its session here.
func (g *gateway) takeSlot(slots chan<- struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
	}
	t := time.NewTimer(slotTime)
	defer t.Stop()
	select {
	case slots <- struct{}{}:
		return true
	case <-t.C:
	case <-g.stop:
	}
	return false
}

// serveForeign starts the session of a foreign connection.
func serveForeign(conn net.Conn, peer tp.Peer, token string) (tp.Session, error) {
	facts, err := readFacts(conn, token)
	if err != nil {
		conn.Close()
		return nil, err
	}
	sess, r := peer.ServeConnWith(conn, facts, rawproto.NewRawProtoFunc())
	return sess, r.Err()
}

// readFacts reads what the guest says of the connection.
func readFacts(conn net.Conn, token string) (facts tp.ConnFacts, err error) {
	if unix, ok := conn.(*net.UnixConn); ok {
		if err := checkPeer(unixConn{unix}, 0); err != nil {
			return facts, err
		}
	}
	conn.SetReadDeadline(time.Now().Add(foreignTime))
	f, err := contract.ReadForeign(conn)
	if err != nil {
		return facts, err
	}
	conn.SetReadDeadline(time.Time{})
	if subtle.ConstantTimeCompare([]byte(f.Token), []byte(token)) != 1 {
		return facts, errors.New("wrong token")
	}
	facts.Remote = f.Addr()
	if f.TLS != nil {
		facts.TLS, err = f.TLS.State()
	}
	return facts, err
}

// unixConn is a unix socket as a fdOwner.
type unixConn struct{ *net.UnixConn }

func (c unixConn) ControlFD(f func(fd uintptr)) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(f)
}
