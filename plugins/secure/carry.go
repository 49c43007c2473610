package secure

import (
	"encoding/binary"
	"errors"
	"fmt"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
)

// This file holds what crosses when a Reboot hands a connection to the new process: its
// nonce, what it has sealed, and what it has received, so that nothing can be replayed. The
// keys are those that the new process has; a peer whose key it does not know is refused
// as ever.

// Save saves nothing: the state is that of the protocol.
func (p *plugin) Save(tp.BaseSession) ([]byte, error) { return nil, nil }

// Restore seals the connection as PostAccept does, and the protocol then gets its state.
func (p *plugin) Restore(s tp.PreSession, _ []byte) *tp.Rerror {
	p.seal(s, &hop{keys: p.keys, out: fromAcceptor, in: fromDialler})
	return nil
}

const (
	carryVersion = 1
	carrySize    = 1 + nonceSize + 1 + 1 + 8 + 8 + windowSize/8
)

var errNoCarrier = errors.New("secure: the protocol below cannot be handed over")

// AppendState is that of a [socket.Carrier]: the hop's, and then that of the protocol below.
func (p *proto) AppendState(dst []byte) ([]byte, error) {
	inner, ok := p.inner.(socket.Carrier)
	if !ok {
		return dst, errNoCarrier
	}
	h := p.hop
	dst = append(dst, carryVersion)
	dst = append(dst, h.nonce[:]...)
	dst = append(dst, h.out, h.in)
	dst = binary.BigEndian.AppendUint64(dst, h.sent.Load())
	dst = binary.BigEndian.AppendUint64(dst, h.received.highest)
	for _, w := range h.received.seen {
		dst = binary.BigEndian.AppendUint64(dst, w)
	}
	return inner.AppendState(dst)
}

// Restore takes the state of AppendState.
func (p *proto) Restore(state []byte) error {
	inner, ok := p.inner.(socket.Carrier)
	h := p.hop
	switch {
	case !ok:
		return errNoCarrier
	case len(state) < carrySize || state[0] != carryVersion:
		return fmt.Errorf("secure: the state of a connection, of %d bytes, is not known here", len(state))
	case state[1+nonceSize] != h.out || state[1+nonceSize+1] != h.in:
		return errors.New("secure: the state is that of the other side of a connection")
	}
	copy(h.nonce[:], state[1:])
	rest := state[1+nonceSize+2:]
	h.sent.Store(binary.BigEndian.Uint64(rest))
	h.received.highest = binary.BigEndian.Uint64(rest[8:])
	for i := range h.received.seen {
		h.received.seen[i] = binary.BigEndian.Uint64(rest[16+8*i:])
	}
	return inner.Restore(state[carrySize:])
}
