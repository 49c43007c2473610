package tp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// moveRecord is what crosses of a session, beside its connection and the bytes that have
// arrived and were not read. It is JSON, so that two versions of a program understand each
// other as far as they know the same fields: one that is zero may be left out, and a record
// with a field that the new process does not know is refused, since the session would not be
// the same without it.
type moveRecord struct {
	Version  int    `json:"version"`  // recordVersion
	Network  string `json:"network"`  // of the peer
	Listener string `json:"listener"` // the address that the connection was accepted on: its network, a space, and the address
	Protocol string `json:"protocol"` // its name
	State    []byte `json:"state"`    // of socket.Conn

	Conn *moveConn `json:"conn,omitempty"` // of a HandOverConn; nil: the connection is the one that has come

	ID         string        `json:"id"`
	Epoch      uint32        `json:"epoch"`
	Seq        int32         `json:"seq"`             // the number given last
	Taken      int32         `json:"taken,omitempty"` // of the peer's, the last that was taken; below 0 over HTTP
	Hello      uint32        `json:"hello,omitempty"`
	PeerWindow int32         `json:"peer_window,omitempty"`
	PushPolicy PushPolicy    `json:"push_policy,omitempty"` // that SetPushPolicy has set
	Silent     bool          `json:"silent,omitempty"`      // no message has come yet
	SessionAge time.Duration `json:"session_age,omitempty"`
	AgeLeft    time.Duration `json:"age_left,omitempty"` // 0: no end
	ContextAge time.Duration `json:"context_age,omitempty"`
	Remote     *moveAddr     `json:"remote,omitempty"` // of ConnFacts
	RealIP     string        `json:"real_ip,omitempty"`

	Plugins []moveState `json:"plugins,omitempty"` // in their order
	Swap    [][]byte    `json:"swap,omitempty"`    // of PeerConfig.CarrySwap
}

// moveConn says what has come of a HandOverConn.
type moveConn struct {
	State int  `json:"state"` // so many bytes, behind those that were not read
	Below bool `json:"below"` // a descriptor
}

// split divides what has come behind the record into the bytes that were not read, and the
// state of the connection. It returns an error if that, or the descriptor, is not what the
// record says.
func (r *moveRecord) split(rest []byte, conn net.Conn) (unread, state []byte, err error) {
	c := r.Conn
	if c == nil {
		c = &moveConn{Below: true}
	}
	switch {
	case c.State < 0 || c.State > len(rest):
		return nil, nil, fmt.Errorf("the state of its connection has %d bytes, of the %d that have come", c.State, len(rest))
	case c.Below && conn == nil:
		return nil, nil, errors.New("no descriptor has arrived: most likely this process may not open more files")
	case !c.Below && conn != nil:
		return nil, nil, errors.New("a descriptor has arrived, and its record says that there is none")
	}
	switch conn.(type) {
	case nil, *net.TCPConn, *net.UnixConn:
	default:
		return nil, nil, fmt.Errorf("its connection is a %T", conn)
	}
	at := len(rest) - c.State
	return rest[:at:at], rest[at:], nil
}

// moveState is the state of a plugin for the session.
type moveState struct {
	Plugin string `json:"plugin"`
	State  []byte `json:"state"`
}

const recordVersion = 1

// parseRecord reads a record, which may have been written by another version of the
// program.
func parseRecord(b []byte) (*moveRecord, error) {
	r := new(moveRecord)
	if err := readRecord(b, r); err != nil {
		return nil, err
	}
	switch {
	case r.Version != recordVersion:
		return nil, fmt.Errorf("its record is of version %d, not %d", r.Version, recordVersion)
	case r.ID == "" || r.Epoch == 0 || r.Seq < 0 || r.SessionAge < 0 || r.AgeLeft < 0 || r.ContextAge < 0:
		return nil, errors.New("its record has no id or epoch, or a number below 0")
	}
	return r, nil
}

// record returns what crosses of the session. The caller holds the reading.
func (s *session) record(l *link) (r *moveRecord, rest []byte, err error) {
	state, err := l.sock.AppendState(nil)
	if err != nil {
		return nil, nil, err
	}
	_, name := l.sock.Proto().Version()
	r = &moveRecord{
		Version: recordVersion, Network: s.env.cfg.Network, Listener: s.env.listenerOf(l),
		Protocol: name, State: state, ID: s.ID(), Epoch: l.epoch, Seq: s.pending.Last(),
		Taken: l.taken, Hello: l.hello.Load(), PeerWindow: l.peerWindow.Load(), Silent: l.silent, ContextAge: s.ContextAge(),
	}
	if p := s.pushing.Load(); p != nil && p.policy.Load() != nil {
		r.PushPolicy = *p.policy.Load()
	}
	if f := l.facts; f != nil {
		r.RealIP = f.RealIP
		if f.Remote != nil {
			r.Remote = &moveAddr{f.Remote.Network(), f.Remote.String()}
		}
	}
	s.mu.Lock()
	r.SessionAge = s.sessionAge
	if s.expireAt != 0 {
		r.AgeLeft = max(time.Duration(s.expireAt-s.env.sweeper.Now()), 1)
	}
	s.mu.Unlock()
	if r.Plugins, err = s.savePlugins(); err != nil {
		return nil, nil, err
	}
	if r.Swap, err = s.saveSwap(); err != nil {
		return nil, nil, err
	}
	return r, l.sock.AppendUnread(nil), nil
}

// listenerOf returns the key of the listener that has accepted the connection, "" for none.
func (e *env) listenerOf(l *link) string {
	p, ok := e.peer.(*peer)
	if !ok {
		return ""
	}
	local := l.conn.LocalAddr()
	for _, lis := range p.inheritable() {
		in, ok := unwrapListener(lis)
		if ok && accepts(in.Addr(), local) {
			return addrKey(in.Addr())
		}
	}
	return ""
}

// saveConn returns the connection whose descriptor crosses, nil for none, and puts the state
// of a HandOverConn behind rest.
func (l *link) saveConn(r *moveRecord, rest []byte) (below net.Conn, all []byte, err error) {
	c, ok := l.conn.(HandOverConn)
	if !ok {
		return l.conn, rest, nil
	}
	var state []byte
	if err := protected("it", func() (err error) { state, below, err = c.Save(); return err }); err != nil {
		return nil, nil, fmt.Errorf("its connection: %w", err)
	}
	r.Conn = &moveConn{State: len(state), Below: below != nil}
	return below, append(rest, state...), nil
}

// savePlugins returns what the plugins know of the session.
func (s *session) savePlugins() (states []moveState, err error) {
	for _, p := range s.env.hooks().connection {
		h, ok := takesPart[HandOverPlugin](p)
		if !ok {
			continue
		}
		var state []byte
		r := guard{log: s.logger}.run(p, func() *Rerror { state, err = h.Save(s); return nil })
		if err = errors.Join(err, r.Err()); err != nil {
			return nil, fmt.Errorf("plugin %s: %w", p.Name(), err)
		}
		states = append(states, moveState{p.Name(), state})
	}
	return states, nil
}

// saveSwap returns what is in the session's Swap, but for what plugins save.
func (s *session) saveSwap() (saved [][]byte, err error) {
	swap := s.swap.Load()
	if swap == nil {
		return nil, nil
	}
	swap.Range(func(key, value any) bool {
		for _, p := range s.env.hooks().connection {
			if o, ok := p.(SwapOwner); ok && o.OwnsSwap(key) {
				return true
			}
		}
		b, ok := []byte(nil), false
		if carry := s.env.cfg.CarrySwap; carry != nil {
			err = protected("it", func() error { b, ok = carry(key, value); return nil })
		}
		if err != nil || !ok {
			err = errors.Join(fmt.Errorf("its Swap has a %T under the key %v, which PeerConfig.CarrySwap does not save", value, key), err)
			return false
		}
		saved = append(saved, b)
		return true
	})
	slices.SortFunc(saved, bytes.Compare) // Range has no order
	return saved, err
}
