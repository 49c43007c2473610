package tp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/teleport-go/teleport/core/socket"
)

// link is one connection of a session. A session that redials has several, one
// after the other; epoch counts them.
type link struct {
	// Callers look at what comes first, and the reader changes what is behind it: they
	// share no cache line.
	sess    *session
	env     *env
	sock    *socket.Conn
	shut    atomic.Bool // this side has closed conn
	epoch   uint32
	trusted bool     // the peer may say X-Real-IP
	conn    net.Conn // until the link is ready hooks may replace it, under mu and the session's
	pf      ProtoFunc
	local   net.Addr
	remote  net.Addr
	ip      string // of the remote address, as text

	killed atomic.Pointer[CloseReason] // set before this side closes conn on an error
	over   event                       // nothing is read any more
	gone   event                       // the calls of a link that was ready have been resolved
	passed []Plugin                    // whose PostDial, PostRedial or PostAccept has passed

	_ [64]byte
	reader

	mu    sync.Mutex  // guards what follows
	timed *handlerCtx // handlers with a context or an age, a list
	dead  error       // cause for contexts made from now on; nil while alive
}

func newLink(s *session, conn net.Conn, pf ProtoFunc, epoch uint32) *link {
	e := s.env
	e.cfg.Tuning.Apply(conn)
	l := new(link)
	l.sess, l.env, l.epoch, l.cadence.wait = s, e, epoch, longWait
	l.local, l.remote = conn.LocalAddr(), conn.RemoteAddr()
	l.ip = addrText(l.remote)
	l.trusted = trusts(e.cfg.trusted, l.remote)
	l.open(conn, pf)
	return l
}

// open makes the socket of the link.
func (l *link) open(conn net.Conn, pf ProtoFunc) {
	e := l.env
	l.mu.Lock()
	l.conn, l.pf = conn, pf
	l.mu.Unlock()
	l.sock = socket.NewConn(conn, pf, socket.Options{
		Dialed:           l.sess.plan != nil,
		Limit:            e.cfg.MessageSizeLimit,
		Bound:            e.cfg.WriteBound,
		WriteTimeout:     e.cfg.WriteTimeout,
		Memory:           e.memory,
		Recognise:        e.cfg.HandshakeTimeout,
		BeforeWait:       l.mayBlock,
		OnMemoryExceeded: func(err error) { l.kill(SideLocal, err, "reading a frame") },
		Fail:             func(err error) { l.kill(SideNetwork, err, "writing") },
	})
}

func addrText(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
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

// kill closes the connection because of an error. The reader then notices, and
// cleans up.
func (l *link) kill(side Side, cause error, act string) {
	l.killed.CompareAndSwap(nil, &CloseReason{side, cause, act})
	l.close()
}

var errEnded = errors.New("the protocol has finished")

// closeIfEnded begins the end of the session when its protocol asks for that.
func (l *link) closeIfEnded() {
	if l.sock.Ended() {
		l.sess.beginClose(&CloseReason{SideLocal, errEnded, "closing"}, l.sess.env.cfg.CloseTimeout)
	}
}

// writeRerror makes the caller's error of what Enqueue said. Where the connection
// was at fault it says why that has ended, as far as it is known.
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

// enlist adds a handler to those whose contexts end with the link. Called with mu.
func (l *link) enlist(c *handlerCtx) {
	if c.listed {
		return
	}
	c.listed, c.prev, c.next = true, nil, l.timed
	if l.timed != nil {
		l.timed.prev = c
	}
	l.timed = c
}

// delist is the end of a handler: its context ends too.
func (l *link) delist(c *handlerCtx) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.listed {
		return
	}
	c.listed = false
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.timed = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
	if c.cancel != nil {
		c.cancel(context.Canceled)
	}
}

// cancelHandlers ends the contexts of all handlers, and of those to come.
func (l *link) cancelHandlers(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead != nil {
		return
	}
	l.dead = cause
	for c := l.timed; c != nil; c = c.next {
		if c.cancel != nil {
			c.cancel(cause)
		}
	}
}

// expireHandlers answers 408 for the handlers whose age is over, and ends their
// contexts. It is called by the sweep.
func (l *link) expireHandlers(now int64) (next int64) {
	type late struct {
		seq  int32
		pipe []byte
	}
	var lates []late
	l.mu.Lock()
	for c := l.timed; c != nil; c = c.next {
		if c.ageAt == 0 {
			continue
		}
		if c.ageAt > now {
			next = earlier(next, c.ageAt)
			continue
		}
		c.ageAt = 0
		if c.cancel != nil {
			c.cancel(context.DeadlineExceeded)
		}
		if c.answeredBy.CompareAndSwap(answerOpen, answerSweep) {
			lates = append(lates, late{c.ageSeq, append([]byte(nil), c.agePipe...)})
		}
	}
	l.mu.Unlock()
	for _, x := range lates {
		if x.seq != 0 {
			l.answerLate(x.seq, x.pipe)
		}
	}
	return next
}

func (l *link) answerLate(seq int32, pipe []byte) {
	var m socket.Envelope
	m.SetMtype(TypeReply)
	m.SetSeq(seq)
	m.XferPipe().Append(pipe...)
	m.SetRerror(NewRerror(CodeHandleTimeout, CodeText(CodeHandleTimeout), "the handler's context age is over"))
	err := l.sock.EnqueueNow(&m)
	if isPackError(err) { // a filter's, then
		m.XferPipe().Reset()
		err = l.sock.EnqueueNow(&m)
	}
	if err != nil {
		l.kill(SideNetwork, err, "writing")
		return
	}
	l.sock.Flush(socket.NoBlock)
	l.closeIfEnded()
}
