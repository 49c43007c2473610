package jsonproto

import (
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

// Dialect is a set of keys.
type Dialect byte

const (
	// V5 is the document of Teleport v5. An error of a reply travels as metadata
	// X-Reply-Error.
	V5 Dialect = 1 + iota
	// V7 is the document of eRPC v6 and v7, which has a key "status" for the
	// error of a reply.
	V7
)

func (d Dialect) valid() bool { return d == V5 || d == V7 }

// String returns "v5" or "v7".
func (d Dialect) String() string {
	switch d {
	case V5:
		return "v5"
	case V7:
		return "v7"
	}
	return "dialect " + strconv.Itoa(int(d))
}

// recognise tells JSON frames from those of the other protocols: behind the
// number of filters, 0 in most first frames, a document begins. Filters are undone
// to see it; where that cannot be done, one that only adds something behind still
// shows it.
func recognise(prefix []byte) (match bool, need int) {
	if len(prefix) < header {
		return false, header
	}
	size, n := binary.BigEndian.Uint32(prefix), int(prefix[4])
	if size >= 1<<28 || n > maxPipe || size < uint32(1+n+2) {
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
	return len(payload) > 0 && payload[0] == '{', 0
}
