package memnet

import (
	"net"
)

// listener holds the dials to one address in the order of their arrival. The
// first cfg.backlog of them are connected already, the others wait.
type listener struct {
	net  *Network
	addr Addr

	// Guarded by net.mu.
	closed bool
	queue  []*pending
	wake   chan struct{} // made by a waiting Accept
}

// pending is a dial that waits for Accept.
type pending struct {
	lis   *listener
	link  *link
	ready chan struct{} // closed when resolved

	// Guarded by net.mu; err may also be read after ready.
	resolved bool // connected or refused
	err      error
}

// push appends a dial. The caller holds net.mu.
func (l *listener) push(p *pending) {
	l.queue = append(l.queue, p)
	l.promote()
	l.signal()
}

// promote connects the dials that are within the backlog. The caller holds
// net.mu.
func (l *listener) promote() {
	for _, p := range l.queue[:min(len(l.queue), l.net.cfg.backlog)] {
		p.connect()
	}
}

// connect makes the dial succeed, once. The caller holds net.mu.
func (p *pending) connect() {
	if p.resolved {
		return
	}
	p.resolved = true
	n := p.lis.net
	n.links[p.link.id] = p.link
	n.open += 2
	p.link.part(n.healed != nil)
	close(p.ready)
}

// signal wakes the goroutines in Accept. The caller holds net.mu.
func (l *listener) signal() {
	if l.wake != nil {
		close(l.wake)
		l.wake = nil
	}
}

// Accept returns the next connection, a *Conn. After Close it fails with
// net.ErrClosed.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, wake := l.pop()
		if c != nil {
			return c, nil
		}
		if wake == nil {
			return nil, l.opError("accept")
		}
		<-wake
	}
}

// pop returns the next connection, or a channel to wait on, or nil for both if the
// listener is closed.
func (l *listener) pop() (*Conn, <-chan struct{}) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if l.closed {
		return nil, nil
	}
	if len(l.queue) == 0 {
		if l.wake == nil {
			l.wake = make(chan struct{})
		}
		return nil, l.wake
	}
	p := l.queue[0]
	l.queue = l.queue[1:]
	p.connect()
	l.promote()
	return p.link.b, nil
}

// Close frees the address. It refuses waiting dials and cuts connections that were not
// accepted; accepted connections stay.
func (l *listener) Close() error {
	queue, ok := l.shut()
	if !ok {
		return l.opError("close")
	}
	for _, p := range queue {
		p.link.cut()
		p.link.b.Close()
	}
	return nil
}

// shut closes the listener and returns the connections that will not be accepted.
func (l *listener) shut() (orphans []*pending, ok bool) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if l.closed {
		return nil, false
	}
	l.closed = true
	delete(l.net.listeners, l.addr)
	for _, p := range l.queue {
		if p.resolved {
			orphans = append(orphans, p)
			continue
		}
		p.resolved, p.err = true, ErrRefused
		close(p.ready)
	}
	l.queue = nil
	l.signal()
	return orphans, true
}

// Addr returns the address as Dial takes it.
func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) opError(op string) error {
	return &net.OpError{Op: op, Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
}
