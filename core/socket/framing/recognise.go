package framing

import (
	"encoding/binary"
	"errors"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

// Recognise implements the Recognise of a [socket.Protocol] for frames of this
// layout: four bytes of size, big endian and without themselves, then what
// [Writer.Payload] appends. begins reports whether a payload of the protocol can
// begin like that; it is never empty.
//
// The filters are undone first. Where that is not possible the bytes are examined
// as they are: a filter that only appends something leaves the beginning as it was.
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
		// A raw frame ends four bytes earlier: a longer wait could be for bytes
		// that never come.
		plain, need, err := socket.FirstPayload(prefix, header, header+n, int(size))
		if need == 0 && err != nil && !errors.Is(err, xfer.ErrTooLarge) {
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
