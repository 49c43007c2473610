package framing

import (
	"io"
	"strconv"
	"sync/atomic"

	"github.com/teleport-go/teleport/core/socket"
)

// Dialect is one of the layouts of a protocol's frames. Dialects are numbered from
// 1 on; 0 is none of them.
type Dialect struct {
	Name string // "v5"
	// Mark is the byte between the size and the number of filters; 0: there is
	// none. See [Proto].
	Mark byte
}

// Text returns the name of dialect d of all, and "dialect 9" if there is none.
func Text[D ~uint8](all []Dialect, d D) string {
	if Has(all, d) {
		return all[d].Name
	}
	return "dialect " + strconv.Itoa(int(d))
}

// Has reports whether d is one of all, which is indexed by dialect.
func Has[D ~uint8](all []Dialect, d D) bool { return d != 0 && int(d) < len(all) }

// Named returns the dialect that a constructor was given: the first of its
// arguments, 0 if there is none.
func Named[D ~uint8](args []D) D {
	if len(args) == 0 {
		return 0
	}
	return args[0]
}

// Negotiation is the dialect of one connection, of a protocol that has several. A
// dialled connection that was given a dialect keeps to it. Any other writes the
// first dialect, or the one it was given, until a frame has arrived, and then the
// dialect of that frame.
//
// The zero value is not ready: Begin comes first.
type Negotiation[D ~uint8] struct {
	current atomic.Uint32 // Settle may change it once, beside Pack
	settled D             // 0: not yet
	dialed  bool
}

// Begin makes the Negotiation of the connection rw, which was given the dialect
// named, or 0; first is written where it was given none.
func (n *Negotiation[D]) Begin(rw io.ReadWriter, named, first D) {
	if side, ok := rw.(socket.Sider); ok {
		n.dialed = side.Dialed()
	}
	if n.dialed {
		n.settled = named
	}
	if named != 0 {
		first = named
	}
	n.current.Store(uint32(first))
}

// Current returns the dialect to write. It may be called concurrently.
func (n *Negotiation[D]) Current() D { return D(n.current.Load()) }

// Settled returns the dialect that was settled, 0 if none was. Only the goroutine
// that calls Unpack may call it.
func (n *Negotiation[D]) Settled() D { return n.settled }

// Settle makes d the dialect of the connection, unless one has been settled
// already. Only the goroutine that calls Unpack may call it.
func (n *Negotiation[D]) Settle(d D) {
	if n.settled == 0 {
		n.settled = d
		n.current.Store(uint32(d))
	}
}

// Dialed reports whether this side dialled. It may be called concurrently.
func (n *Negotiation[D]) Dialed() bool { return n.dialed }

// AppendDialect appends the dialect to the state of a protocol; see [socket.Carrier].
func (n *Negotiation[D]) AppendDialect(dst []byte) []byte {
	return append(dst, byte(n.Current()), byte(n.settled))
}

// RestoreDialect takes the dialect, one of all, from the beginning of a state, and returns
// the rest. ok is false if there is none.
func (n *Negotiation[D]) RestoreDialect(state []byte, all []Dialect) (rest []byte, ok bool) {
	if len(state) < 2 {
		return nil, false
	}
	current, settled := D(state[0]), D(state[1])
	if !Has(all, current) || settled != 0 && settled != current {
		return nil, false
	}
	n.current.Store(uint32(current))
	n.settled = settled
	return state[2:], true
}
