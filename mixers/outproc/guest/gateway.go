package guest

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// Gateway is a part that listens and speaks a protocol of its own. Each of its
// connections, a foreign connection, has a session of its own with the host, on which it
// calls and pushes, and is called and pushed to. To the host that is a session from the
// foreign address. Both end together.
type Gateway interface {
	// Name has up to 64 letters, digits, - and _.
	Name() string
	// Listen returns the listener of foreign connections. With one of package tls the host
	// gets the TLS state of a connection. It is called when the host is ready.
	Listen() (net.Listener, error)
	// Routes registers the handlers of what the host calls and pushes. They find the
	// connection with Foreign, and run concurrently with Serve.
	Routes(r tp.Router)
	// Serve speaks the protocol until the connection or the session ends: then reads from
	// conn fail, and conn is closed a second later at the latest. When Serve returns both
	// are closed.
	Serve(conn net.Conn, host tp.Session)
}

// Refuser is a Gateway that tells a client why it is refused.
type Refuser interface {
	Gateway
	// Refuse is called with a connection that is over the host's limit of connections, and is
	// closed when Refuse returns. It may write a few words in the gateway's protocol; conn
	// has a deadline of 100 ms, since no other connection is accepted meanwhile. It is not
	// called for connections with TLS, which would need a handshake first.
	Refuse(conn net.Conn)
}

// Foreign returns the foreign connection of a gateway's session; nil for another one.
func Foreign(session tp.CtxSession) net.Conn {
	v, _ := session.Swap().Load(foreignKey{})
	conn, _ := v.(net.Conn)
	return conn
}

type foreignKey struct{}

var gatewayKind = kind{
	word:  contract.KindGateway,
	value: "guest.Gateway",
	describe: func(part any) (contract.Part, bool) {
		g, ok := part.(Gateway)
		if !ok {
			return contract.Part{}, false
		}
		return named(g.Name(), struct{}{}), true
	},
	serve: func(s *server, parts []any) {
		for _, part := range parts {
			g := &gateway{part: part.(Gateway)}
			s.gateways = append(s.gateways, g)
			s.handleItem(contract.GatewayRoute(g.part.Name()), func(_ tp.CallCtx, item []byte) ([]byte, error) {
				var o contract.GatewayOpen
				if err := json.Unmarshal(item, &o); err != nil {
					return nil, err
				}
				addr, err := g.listen(o)
				if err != nil {
					return nil, err
				}
				return json.Marshal(contract.GatewayOpened{Address: addr.String()})
			})
		}
	},
}

// gateway is a Gateway that serves.
type gateway struct {
	part    Gateway
	conns   sync.WaitGroup // goroutines
	open    atomic.Int64   // foreign connections
	refused atomic.Uint64  // because there were too many

	mu     sync.Mutex
	to     contract.GatewayOpen
	peer   tp.Peer      // of the sessions with the host
	lis    net.Listener // nil: not open
	closed bool
}

// How long a gateway waits: for a TLS handshake, for the host to take a connection, and,
// at the end, for what is under way.
const (
	foreignTime = 10 * time.Second
	lingerTime  = time.Second
	refuseTime  = 100 * time.Millisecond
)

// refusedEvery is how often the log says that connections are refused.
const refusedEvery = 10 * time.Second

// listen listens, unless that is done.
func (g *gateway) listen(to contract.GatewayOpen) (net.Addr, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return nil, errors.New("the gateway is closed")
	case g.lis != nil && g.to == to:
		return g.lis.Addr(), nil
	case g.lis != nil:
		return nil, errors.New("the gateway is open for another address of the host")
	}
	lis, err := g.part.Listen()
	if err != nil {
		return nil, fmt.Errorf("gateway %s: listen: %w", g.part.Name(), err)
	}
	peer, err := tp.Open(tp.PeerConfig{Protocol: rawproto.NewRawProtoFunc(), BusyPoll: -1, CloseTimeout: lingerTime, DefaultBodyCodec: "json"},
		&tp.PluginImpl{PluginName: "gateway", OnPostAccept: findForeign})
	if err != nil {
		lis.Close()
		return nil, err
	}
	g.part.Routes(peer)
	g.to, g.peer, g.lis = to, peer, lis
	g.conns.Go(func() { g.accept(lis) })
	return lis.Addr(), nil
}

// close ends the gateway when its sessions have answered what is under way.
func (g *gateway) close() {
	g.mu.Lock()
	g.closed = true
	peer, lis := g.peer, g.lis
	g.mu.Unlock()
	if lis == nil {
		return
	}
	lis.Close()
	peer.Close()
	ended := make(chan struct{})
	go func() { g.conns.Wait(); close(ended) }() // ends with the process at the latest
	select {
	case <-ended:
	case <-time.After(2 * lingerTime): // a Serve that does not return
	}
}

// accept serves foreign connections until the listener is closed.
func (g *gateway) accept(lis net.Listener) {
	pause := 5 * time.Millisecond
	var logged time.Time
	for {
		conn, err := lis.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // too many open files
			slog.Warn("gateway: accept a connection", "gateway", g.part.Name(), "error", err)
			time.Sleep(pause)
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		if most := int64(g.to.MaxConns); most > 0 && g.open.Load() >= most {
			g.refuse(conn)
			if time.Since(logged) > refusedEvery {
				logged = time.Now()
				slog.Warn("gateway: connections are refused, because there are as many as GatewayConfig.MaxConns of the host allows",
					"gateway", g.part.Name(), "max_conns", most, "refused", g.refused.Load(), "remote", conn.RemoteAddr().String())
			}
			continue
		}
		g.open.Add(1)
		g.conns.Go(func() {
			defer g.open.Add(-1)
			defer conn.Close()
			if err := g.serve(conn); err != nil {
				slog.Warn("gateway: a connection was closed", "gateway", g.part.Name(), "remote", conn.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// refuse closes a connection that is one too many.
func (g *gateway) refuse(conn net.Conn) {
	defer conn.Close()
	g.refused.Add(1)
	r, ok := g.part.(Refuser)
	if _, secure := conn.(*tls.Conn); secure || !ok {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			slog.Error("gateway: panic in Refuse", "gateway", g.part.Name(), "panic", v, "stack", string(debug.Stack()))
		}
	}()
	conn.SetDeadline(time.Now().Add(refuseTime))
	r.Refuse(conn)
}

// serve serves one foreign connection.
func (g *gateway) serve(conn net.Conn) error {
	facts := contract.Foreign{Token: g.to.Token, Network: conn.RemoteAddr().Network(), Address: conn.RemoteAddr().String()}
	if t, ok := conn.(*tls.Conn); ok {
		conn.SetDeadline(time.Now().Add(foreignTime))
		if err := t.Handshake(); err != nil {
			return err
		}
		conn.SetDeadline(time.Time{})
		facts.TLS = contract.ForeignTLSOf(t.ConnectionState())
	}
	lane, err := net.DialTimeout("unix", g.to.Address, foreignTime)
	if err != nil {
		return fmt.Errorf("open a session with the host: %w", err)
	}
	lane.SetWriteDeadline(time.Now().Add(foreignTime))
	if err := contract.WriteForeign(lane, &facts); err != nil {
		lane.Close()
		return fmt.Errorf("open a session with the host: %w", err)
	}
	lane.SetWriteDeadline(time.Time{})
	host := g.peer.ServeConn(&foreignLane{lane, conn})
	if host == nil {
		return errors.New("the session with the host was not opened")
	}
	defer host.Close()
	defer conn.Close()
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		defer func() {
			if v := recover(); v != nil {
				slog.Error("gateway: panic in Serve", "gateway", g.part.Name(), "panic", v, "stack", string(debug.Stack()))
			}
		}()
		g.part.Serve(conn, host)
	}()
	select {
	case <-returned:
	case <-host.CloseNotify():
		conn.SetReadDeadline(time.Unix(1, 0)) // the last reply can still be written
		select {
		case <-returned:
		case <-time.After(lingerTime):
		}
	}
	return nil
}

// foreignLane is the connection to the host for a foreign one.
type foreignLane struct {
	net.Conn
	foreign net.Conn
}

// findForeign stores the foreign connection of a new session where Foreign finds it.
func findForeign(sess tp.PreSession) *tp.Rerror {
	sess.ModifySocket(func(conn net.Conn) (net.Conn, tp.ProtoFunc) {
		if l, ok := conn.(*foreignLane); ok {
			sess.Swap().Store(foreignKey{}, l.foreign)
		}
		return nil, nil
	})
	return nil
}
