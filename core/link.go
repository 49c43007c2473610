package tp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/teleport-go/teleport/core/internal/throttle"
	"github.com/teleport-go/teleport/core/socket"
)

func newLink(s *session, h *Handshake, epoch uint32) *link {
	e := s.env
	e.cfg.Tuning.Apply(h.Conn)
	l := new(link)
	l.sess, l.env, l.epoch, l.cadence.wait = s, e, epoch, longWait
	if f := &h.Facts; f.Remote != nil || f.RealIP != "" || f.TLS != nil {
		l.facts = &ConnFacts{Remote: f.Remote, RealIP: f.RealIP, TLS: f.TLS}
	}
	for key, value := range h.Facts.Swap {
		s.Swap().Store(key, value)
	}
	l.open(h.Conn, h.Proto)
	l.sock.Unread(h.Facts.Read)
	return l
}

// open makes the socket of the link.
func (l *link) open(conn net.Conn, pf ProtoFunc) {
	e := l.env
	l.mu.Lock()
	l.conn, l.pf = conn, pf
	l.mu.Unlock()
	remote := l.remoteAddr()
	l.ip, l.trusted = addrText(remote), trusts(e.cfg.trusted, remote)
	l.sock = socket.NewConn(conn, pf, socket.Options{
		Dialed:       l.sess.plan != nil,
		Limit:        e.cfg.MessageSizeLimit,
		Bound:        e.cfg.WriteBound,
		WriteTimeout: e.cfg.WriteTimeout,
		Pipe:         e.cfg.pipe,
		PipeMin:      e.cfg.XferPipeMin,
		Memory:       e.memory,
		Recognise:    e.cfg.HandshakeTimeout,
		BeforeWait:   l.mayBlock,
		AwaitMemory:  l.awaitMemory,
		Fail:         l.fail,
	})
}

// fail ends a link whose socket has failed.
func (l *link) fail(err error) {
	if errors.Is(err, socket.ErrMemory) {
		l.kill(SideLocal, fmt.Errorf("PeerConfig.ReadMemory: %w", err), readingFrame)
		return
	}
	l.kill(SideNetwork, err, "writing")
}

func (s *session) ConnectionState() *tls.ConnectionState {
	return s.currentLink().connectionState()
}

// connectionState is documented at PreCtx.
func (l *link) connectionState() *tls.ConnectionState {
	if l.facts != nil && l.facts.TLS != nil {
		return l.facts.TLS
	}
	return connectionState(l.netConn())
}

// trusts reports whether the address is in one of the networks.
func trusts(networks []netip.Prefix, a net.Addr) bool {
	if len(networks) == 0 || a == nil {
		return false
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return false
	}
	ip := ap.Addr().Unmap()
	for _, n := range networks {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}

// Flags of link.hello.
const (
	helloSaid   uint32 = 1 << iota // by this side
	peerCancels                    // the peer takes cancel
	peerStreams                    // the peer has streams
	peerSpeaks                     // the peer has said hello
)

// carriesControl reports whether CONTROL may be sent: the protocol shows that the peer reads
// it, or the configuration says so, or the peer has sent some.
func (l *link) carriesControl() bool {
	return l.sock.CarriesControl() || l.env.cfg.Extensions || l.hello.Load()&peerSpeaks != 0
}

// kill is killFor a reason of these parts.
func (l *link) kill(side Side, cause error, act string) { l.killFor(&CloseReason{side, cause, act}) }

// killFor closes the connection and records why; the first reason stays. The reader then
// notices, and cleans up.
func (l *link) killFor(reason *CloseReason) {
	l.killed.CompareAndSwap(nil, reason)
	l.close()
}

// logAccepted says that a session has begun. What is accepted and hangs up without a
// message, as the probes of load balancers do, leaves no such line.
func (l *link) logAccepted() {
	l.sess.Infof("accept ok (network:%s, addr:%s, id:%s)", l.env.cfg.Network, l.ip, l.sess.idText())
}

// refusedFirst logs that the first bytes of the peer are not a message.
func (l *link) refusedFirst(err error) {
	l.env.stats.refusedConnections.Add(1)
	l.env.throttled(&l.env.firstErrors, throttle.Burst, WARNING, "refused what %s sent first: %v", l.ip, err)
}

// writeRerror turns an error of Enqueue into the caller's error. If the connection was
// at fault, the error says why the connection has ended, if that is known.
func (l *link) writeRerror(ctx context.Context, err error) *Rerror {
	r := writeRerror(ctx, err)
	if k := (*CloseReason)(nil); r.Code != CodeConnClosed || errors.As(err, &k) {
		return r
	}
	if k := l.killed.Load(); k != nil {
		return k.rerror()
	}
	if k := l.sess.CloseReason(); k != nil {
		return k.rerror()
	}
	return (&CloseReason{SideNetwork, err, "writing"}).rerror()
}

// leave lists a handler that goes on without the reader. Called with mu.
func (l *link) leave(c *handlerCtx) {
	l.enlist(c)
	c.left = true
}

// handlerNames returns the handlers that run, but for one that the reader runs.
func (l *link) handlerNames() string {
	count := make(map[string]int)
	l.mu.Lock()
	for c := l.calls.first; c != nil; c = c.next {
		switch {
		case !c.left:
		case c.handler == nil:
			count["the hooks of a refused call"]++
		default:
			count[c.handler.name]++
		}
	}
	l.mu.Unlock()
	names := slices.Sorted(maps.Keys(count))
	for i, name := range names {
		if n := count[name]; n > 1 {
			names[i] = fmt.Sprintf("%s (%d times)", name, n)
		}
	}
	return strings.Join(names, ", ")
}

// enlist adds a handler to those whose contexts end with the link. Called with mu.
func (l *link) enlist(c *handlerCtx) {
	if c.listed {
		return
	}
	c.listed = true
	l.calls.add(c)
}

// delist removes a handler that has ended, and ends its context.
func (l *link) delist(c *handlerCtx) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.listed {
		return
	}
	c.listed, c.left = false, false
	l.calls.remove(c)
	if c.cancel != nil {
		c.cancel(context.Canceled)
	}
}

// cancelHandlers ends the contexts of all handlers, present and future.
func (l *link) cancelHandlers(cause *CloseReason) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead != nil {
		return
	}
	l.dead = cause
	for c := l.calls.first; c != nil; c = c.next {
		if c.cancel != nil {
			c.cancel(cause)
		}
	}
}

// manyHandlers is how many handlers are looked through for one call.
const manyHandlers = 32

func (h *handlerList) add(c *handlerCtx) {
	c.prev, c.next = nil, h.first
	if h.first != nil {
		h.first.prev = c
	}
	h.first = c
	if h.bySeq != nil && c.seq != 0 {
		h.bySeq[c.seq] = c
	}
}

func (h *handlerList) remove(c *handlerCtx) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		h.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
	switch {
	case h.first == nil:
		h.bySeq = nil
	case h.bySeq[c.seq] == c:
		delete(h.bySeq, c.seq)
	}
}

// find returns the call with this number; nil: it is not in the list.
func (h *handlerList) find(seq int32) *handlerCtx {
	if h.bySeq == nil {
		n := 0
		for c := h.first; c != nil && n < manyHandlers; c, n = c.next, n+1 {
			if c.seq == seq {
				return c
			}
		}
		if n < manyHandlers {
			return nil
		}
		h.bySeq = make(map[int32]*handlerCtx)
		for c := h.first; c != nil; c = c.next {
			if c.seq != 0 {
				h.bySeq[c.seq] = c
			}
		}
	}
	return h.bySeq[seq]
}
