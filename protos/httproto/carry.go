package httproto

import (
	"errors"
	"fmt"
)

// carryVersion begins the state of a connection.
const carryVersion = 1

var errInFlight = errors.New("http: a request waits for its response, or the connection is about to end")

// AppendState is that of a [socket.Carrier]: what the peer is. A connection on which a request
// waits for its response keeps it.
func (p *httpProto) AppendState(dst []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, own := p.in.(*peeker) // that may have read ahead
	if own || p.closing || p.ended.Load() || len(p.turns.open) > 0 || p.turns.expects || p.calls.pending > 0 && !p.calls.echo {
		return dst, errInFlight
	}
	return append(dst, carryVersion, byte(p.dialect.Load()), byte(p.peer.Load()), flag(p.heard.Load()), flag(p.calls.echo)), nil
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// Restore takes the state of AppendState.
func (p *httpProto) Restore(state []byte) error {
	if len(state) != 5 || state[0] != carryVersion || !Dialect(state[1]).valid() || state[2] != 0 && !Dialect(state[2]).valid() || state[3] > 1 || state[4] > 1 {
		return fmt.Errorf("http: the state %.32x of a connection is not known here", state)
	}
	p.dialect.Store(uint32(state[1]))
	p.peer.Store(uint32(state[2]))
	p.heard.Store(state[3] == 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls.echo = state[4] == 1
	return nil
}
