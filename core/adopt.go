package tp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/teleport-go/teleport/core/internal/inherit"
	"github.com/teleport-go/teleport/core/socket"
)

// This file holds the new process's side of a Reboot that keeps connections: it makes
// sessions of the connections that the old process offers; see move.go.

// adoptInherited takes over the sessions of the old process, if there is one.
func adoptInherited() {
	line := inherit.TakeLine()
	if line == nil {
		return
	}
	go func() { // ends when the old process has moved its sessions, or has ended; a peer that closes waits for its own
		if err := line.Adopt(graceful.adopt); err != nil {
			graceful.log().Errorf("tp: reboot: taking over sessions has ended: %v", err)
		}
	}()
}

// adopt prepares a session; see inherit.Adopter.
func (g *grace) adopt(head, rest []byte, conn net.Conn) (settle func(mine bool), err error) {
	return adopt(head, rest, conn, g.listening)
}

// adopt is grace.adopt for the peer, and its listener, that find returns.
func adopt(head, rest []byte, conn net.Conn, find func(*moveRecord) (*peer, listener)) (settle func(mine bool), err error) {
	defer func() {
		if err != nil && conn != nil {
			conn.Close()
		}
	}()
	r, err := parseRecord(head)
	if err != nil {
		return nil, err
	}
	p, lis := find(r)
	if p == nil {
		return nil, fmt.Errorf("no peer of the network %s listens on %s", r.Network, r.Listener)
	}
	if !p.admitAccepted() {
		return nil, errPeerClosed
	}
	a := &adoption{p: p, r: r}
	ok := false
	defer func() {
		if !ok {
			a.drop()
		}
	}()
	if err := a.prepare(conn, lis, rest); err != nil {
		return nil, err
	}
	ok = true
	return a.settle, nil
}

// listening returns the peer that listens where the session was accepted, and the listener.
func (g *grace) listening(r *moveRecord) (*peer, listener) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, q := range g.peers {
		p, ok := q.(*peer)
		if !ok || p.cfg.Network != r.Network {
			continue
		}
		p.mu.Lock()
		for _, lis := range p.listeners {
			if in, ok := unwrapListener(lis.Listener); ok && addrKey(in.Addr()) == r.Listener {
				p.mu.Unlock()
				return p, lis
			}
		}
		p.mu.Unlock()
	}
	return nil, listener{}
}

// adoption is a session that is being taken over.
type adoption struct {
	p    *peer
	r    *moveRecord
	conn HandOverConn // nil: the connection is one itself
	s    *session
	l    *link
}

// prepare does all that can fail.
func (a *adoption) prepare(conn net.Conn, lis listener, rest []byte) error {
	p, r := a.p, a.r
	rest, state, err := r.split(rest, conn)
	if err != nil {
		return err
	}
	if r.Conn == nil && p.runsTLS() != nil { // a HandOverListener knows about its connections
		return errors.New("its peer uses TLS here")
	}
	if r.Conn != nil {
		if a.conn, err = restoreConn(lis.Listener, state, conn); err != nil {
			return err
		}
		conn = a.conn
	}
	h := Handshake{Conn: conn, Proto: lis.proto, Peer: p, Trusted: trusts(p.cfg.trusted, conn.RemoteAddr())}
	if r.Remote != nil {
		h.Facts.Remote = r.Remote
	}
	h.Facts.RealIP, h.Facts.Read = r.RealIP, rest
	if p.env.network.Handshake != nil {
		if err := p.resume(&h, r.State); err != nil {
			return err
		}
	}
	s := newSession(p.env, nil)
	l := newLink(s, &h, r.Epoch)
	a.s, a.l = s, l
	l.taken, l.silent = r.Taken, r.Silent
	l.hello.Store(r.Hello)
	l.peerWindow.Store(r.PeerWindow)
	if r.Hello&peerSpeaks != 0 {
		l.greeted.Fire()
	}
	if r.PushPolicy != "" {
		if err := s.SetPushPolicy(r.PushPolicy); err != nil {
			return err
		}
	}
	s.pending.SetNext(max(r.Seq, 0) + 1)
	s.contextAge.Store(int64(r.ContextAge))
	s.mu.Lock()
	s.wantID, s.prep, s.sessionAge = &r.ID, l, r.SessionAge
	s.mu.Unlock()
	if other := p.env.hub.get(r.ID); other != nil {
		return fmt.Errorf("its id %.64q is taken by a session with %s", r.ID, other.partner())
	}
	if err := a.restoreSwap(); err != nil {
		return err
	}
	if err := a.restorePlugins(); err != nil {
		return err
	}
	if reason := s.CloseReason(); reason != nil {
		return reason
	}
	if l.conn != conn {
		return errors.New("a plugin has replaced its connection")
	}
	if _, name := l.sock.Proto().Version(); name != r.Protocol {
		return fmt.Errorf("its protocol is %.64q, and that of the listener %s is %s", r.Protocol, r.Listener, name)
	}
	if err := l.sock.Restore(r.State); err != nil {
		return err
	}
	l.sock.SetLimit(p.cfg.MessageSizeLimit)
	l.sock.SetFrameTimeout(p.cfg.FrameTimeout)
	return nil
}

// restoreConn makes the HandOverConn of the state that has crossed.
func restoreConn(lis net.Listener, state []byte, below net.Conn) (conn HandOverConn, err error) {
	l := handOverListener(lis)
	if l == nil {
		return nil, errors.New("its connection is of a network that the listener does not have here")
	}
	err = protected("it", func() (err error) { conn, err = l.Restore(state, below); return err })
	if err == nil && conn == nil {
		err = errors.New("there is none")
	}
	if err != nil {
		return nil, fmt.Errorf("its connection: %w", err)
	}
	return conn, nil
}

func (a *adoption) restoreSwap() error {
	if len(a.r.Swap) == 0 {
		return nil
	}
	restore := a.p.cfg.RestoreSwap
	if restore == nil {
		return errors.New("its Swap is not empty, and PeerConfig.RestoreSwap is not set")
	}
	for _, saved := range a.r.Swap {
		if err := protected("it", func() error { return restore(a.s.Swap(), saved) }); err != nil {
			return fmt.Errorf("PeerConfig.RestoreSwap: %w", err)
		}
	}
	return nil
}

// restorePlugins runs the Restore hooks. All plugins with a PostAccept must have one: what
// that has checked must not be left out because the new program checks something else.
func (a *adoption) restorePlugins() error {
	saved := make(map[string][]byte)
	for _, x := range a.r.Plugins {
		saved[x.Plugin] = x.State
	}
	plugins := a.p.env.hooks().connection
	for i, p := range plugins {
		h, ok := takesPart[HandOverPlugin](p)
		state, known := saved[p.Name()]
		switch {
		case ok && known:
			delete(saved, p.Name())
			r := guard{log: a.s.logger}.run(p, func() *Rerror { return h.Restore(a.s, state) })
			if r.HasError() {
				return fmt.Errorf("plugin %s: %w", p.Name(), r.Err())
			}
		case has[PostAcceptPlugin](p):
			return fmt.Errorf("plugin %s has not accepted it in the old process", p.Name())
		}
		a.l.passed = plugins[:i+1]
	}
	for name := range saved {
		return fmt.Errorf("there is no plugin %.64q here", name)
	}
	return nil
}

// drop undoes prepare: the connection stays the old process's.
func (a *adoption) drop() {
	defer a.p.donePreparing()
	if a.conn != nil {
		a.conn.Settle(false)
	}
	if a.s == nil {
		a.p.env.sessions.Done()
		return
	}
	s, l := a.s, a.l
	defer s.release()
	reason := &CloseReason{SideLocal, errors.New("not taken over"), "taking over"}
	s.mu.Lock()
	s.state, s.link, s.prep = closed, l, nil
	if s.reason == nil {
		s.reason = reason
	}
	s.leaving.Store(true)
	s.closeNotify.Fire()
	s.mu.Unlock()
	l.shut.Store(true)
	if a.conn == nil {
		l.conn.Close()
	}
	l.sock.Stop(reason)
	l.sock.Join()
	l.sock.Release()
	l.over.Fire()
	s.postDisconnect(l)
	s.done.Fire()
}

// settle ends the adoption: the session begins, or is dropped.
func (a *adoption) settle(mine bool) {
	if !mine {
		a.drop()
		return
	}
	defer a.p.donePreparing()
	if a.conn != nil {
		a.conn.Settle(true)
	}
	if _, r := a.s.begin(a.l); r != nil {
		a.p.log.Warnf("tp: reboot: the session %q with %s has ended as it was taken over: %s", a.r.ID, a.l.ip, r)
		a.s.release()
		return
	}
	if a.r.AgeLeft > 0 {
		a.s.expireIn(a.r.AgeLeft)
	}
}

// resume lets the network prepare a connection on which it has shaken hands in the old
// process.
func (p *peer) resume(h *Handshake, state []byte) error {
	if p.env.network.Resume == nil {
		return fmt.Errorf("its network %s cannot take up a connection of another process", p.cfg.Network)
	}
	conn := h.Conn
	err := protected("it", func() error { return p.env.network.Resume(h, socket.ProtoState(state)) })
	if err == nil && (h.Conn != conn || h.Proto == nil) {
		err = errors.New("it has replaced the connection, or has left no protocol")
	}
	if err != nil {
		return fmt.Errorf("network %s: %w", p.cfg.Network, err)
	}
	return nil
}

func init() { inherit.Rehearse = rehearse }

// rehearse moves the sessions of one peer to another, which listens, in one process.
func rehearse(ctx context.Context, from, to any) (moved int, stayed map[string]int) {
	near, far, err := inherit.NewLines()
	if err != nil {
		return 0, map[string]int{err.Error(): 1}
	}
	old, new := from.(*peer), to.(*peer)
	old.mu.Lock()
	listeners := slices.Clone(old.listeners)
	old.mu.Unlock()
	new.mu.Lock()
	for _, l := range listeners { // a new process has the same
		l.again = true
		new.listeners = append(new.listeners, l)
	}
	new.mu.Unlock()
	done := make(chan error)
	go func() {
		done <- far.Adopt(func(head, rest []byte, conn net.Conn) (func(bool), error) {
			return adopt(head, rest, conn, func(*moveRecord) (*peer, listener) {
				new.mu.Lock()
				defer new.mu.Unlock()
				if len(new.listeners) == 0 {
					return nil, listener{}
				}
				return new, new.listeners[0]
			})
		})
	}()
	moved, stayed = old.moveSessions(ctx, near)
	near.Close()
	if err := <-done; err != nil {
		stayed["the line: "+err.Error()]++
	}
	return moved, stayed
}
