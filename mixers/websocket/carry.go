package websocket

import (
	"bytes"
	"errors"
	"fmt"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
)

// This file holds what crosses of a connection that a Reboot hands to the new process: its
// side, the name of its sub-protocol, and the state of that.

// carryVersion begins the state of a connection; its side is next, with what is set of
// carriesControl and carriesStream.
const (
	carryVersion   = 1
	carriesControl = 4
	carriesStream  = 8
)

var (
	errNoCarrier = errors.New("websocket: the sub-protocol cannot be handed over")
	errOneStream = errors.New("websocket: only one of the state and the connection is of a stream of Options.Resume")
	errFragments = errors.New("websocket: a message in fragments has arrived in part")
	errOver      = errors.New("websocket: a close frame was sent, or has arrived")
)

// AppendState is that of a [socket.Carrier].
func (p *wsProto) AppendState(dst []byte) ([]byte, error) {
	sub, ok := p.sub.(socket.Carrier)
	switch {
	case !ok:
		return dst, errNoCarrier
	case p.left.Load() || p.ended != nil:
		return dst, errOver
	case p.total > 0:
		return dst, errFragments
	}
	side := p.side()
	if p.link.control {
		side |= carriesControl
	}
	if p.link.stream {
		side |= carriesStream
	}
	dst = append(dst, carryVersion, side)
	return sub.AppendState(append(append(dst, p.link.name...), '\n'))
}

// side is the side of the connection: 1 the server's, 2 the client's, 0 neither.
func (p *wsProto) side() byte {
	switch {
	case p.server:
		return 1
	case p.client:
		return 2
	}
	return 0
}

// parseState takes a state apart.
func parseState(state []byte) (side byte, l link, sub []byte, err error) {
	if len(state) >= 2 && state[0] == carryVersion {
		if name, sub, ok := bytes.Cut(state[2:], []byte("\n")); ok {
			l = link{string(name), state[1]&carriesControl != 0, state[1]&carriesStream != 0}
			return state[1] &^ (carriesControl | carriesStream), l, sub, nil
		}
	}
	return 0, link{}, nil, fmt.Errorf("websocket: the state %.32x of a connection is not known here", state)
}

// Restore takes the state of AppendState.
func (p *wsProto) Restore(state []byte) error {
	side, l, rest, err := parseState(state)
	if err != nil {
		return err
	}
	sub, ok := p.sub.(socket.Carrier)
	switch {
	case !ok:
		return errNoCarrier
	case side != p.side():
		return fmt.Errorf("websocket: the state is of side %d of a connection, this is side %d", side, p.side())
	case l.name != p.link.name:
		return fmt.Errorf("websocket: the state is of the sub-protocol %.64q, this is %q", l.name, p.link.name)
	case l.stream != p.link.stream:
		return errOneStream
	}
	p.link.control = l.control
	return sub.Restore(rest)
}

// resume is what the handshake of a server does with the protocol, for a connection on which
// the old process has shaken hands.
func (n *network) resume(h *tp.Handshake, state []byte) error {
	_, l, _, err := parseState(state)
	if err != nil {
		return err
	}
	if _, ok := h.Conn.(tp.HandOverConn); ok != l.stream {
		return errOneStream
	}
	o, own := n.ownSubProtocols(h)
	u := upgrade{resumes: l.stream}
	if l.name != "" {
		var ok bool
		if u.sub, _, ok = o.find([]string{l.name}); !ok {
			return fmt.Errorf("websocket: the sub-protocol %.64q is not known here, but %s", l.name, o.known())
		}
	}
	if u.sub != nil || own {
		h.Proto = u.proto(o.Proto)
	}
	return nil
}
