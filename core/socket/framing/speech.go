package framing

import (
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

// Speech is the dialect of one connection, of a protocol that has several; 0 is
// none of them. A dialled connection that was given one keeps to it. Any other
// speaks the first until it has heard something, then what it heard.
//
// The zero value is not ready: Begin comes first.
type Speech[D ~uint8] struct {
	speaks atomic.Uint32 // Settle may change it once, beside Pack
	reads  D             // 0: not settled yet
	dialed bool
}

// Begin makes the Speech of the connection rw, which was given the dialect named,
// or 0, and speaks first where it was given none.
func (s *Speech[D]) Begin(rw io.ReadWriter, named, first D) {
	if side, ok := rw.(socket.Sider); ok {
		s.dialed = side.Dialed()
	}
	if s.dialed {
		s.reads = named
	}
	if named != 0 {
		first = named
	}
	s.speaks.Store(uint32(first))
}

// Speaks returns the dialect to write. It may be called concurrently.
func (s *Speech[D]) Speaks() D { return D(s.speaks.Load()) }

// Reads returns the dialect that was settled, 0 if none was. It belongs to who
// calls Unpack.
func (s *Speech[D]) Reads() D { return s.reads }

// Settle makes d what the connection speaks, if nothing has been settled yet. It
// belongs to who calls Unpack.
func (s *Speech[D]) Settle(d D) {
	if s.reads == 0 {
		s.reads = d
		s.speaks.Store(uint32(d))
	}
}

// Dialed tells whether this is the side that dialled. It may be called
// concurrently.
func (s *Speech[D]) Dialed() bool { return s.dialed }

// Recognise is the [socket.Protocol]'s, for frames of this layout: four bytes of size,
// big endian and without themselves, then what [Writer.Payload] appends. begins
// tells whether a payload of the protocol can begin like that; it is never empty.
//
// Filters are undone to see it; where that cannot be done, one that only adds
// something behind still shows it.
func Recognise(prefix []byte, begins func(payload []byte) bool) (match bool, need int) {
	const header = 4 + 1
	if len(prefix) < header {
		return false, header
	}
	size, n := binary.BigEndian.Uint32(prefix), int(prefix[4])
	if size >= 1<<28 || n > MaxFilters || size < uint32(1+n+2) {
		return false, 0
	}
	if len(prefix) < header+n+1 {
		return false, header + n + 1
	}
	payload := prefix[header+n:]
	if n > 0 {
		// A raw frame ends four bytes earlier: asking for more at once would wait
		// for what never comes.
		plain, need, err := socket.FirstPayload(prefix, header, header+n, int(size))
		if need == 0 && err != nil {
			plain, need, err = socket.FirstPayload(prefix, header, header+n, 4+int(size))
		}
		switch {
		case need > 0:
			return false, need
		case !errors.Is(err, xfer.ErrUnsupported) && !errors.Is(err, socket.ErrSizeLimit):
			payload = plain
		}
	}
	return len(payload) > 0 && begins(payload), 0
}
