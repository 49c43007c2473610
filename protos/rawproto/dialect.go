package rawproto

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
	"github.com/teleport-go/teleport/core/xfer"
)

// Dialect is a layout of the frame.
type Dialect byte

const (
	// Seed is the project's own layout, with a version byte 'r' behind the size.
	// An error of a reply travels as metadata X-Reply-Error.
	Seed Dialect = 1 + iota
	// V5 is the layout of Teleport v5: Seed without the version byte.
	V5
	// V7 is the layout of eRPC v6 and v7: V5 with a block for the error of a
	// reply, which is there in every frame.
	V7
)

var dialects = []framing.Dialect{Seed: {Name: "seed", Mark: version}, V5: {Name: "v5"}, V7: {Name: "v7"}}

// String returns "seed", "v5" or "v7".
func (d Dialect) String() string { return framing.Text(dialects, d) }

// header is the number of bytes before the filters' ids.
func (d Dialect) header() int {
	if d == Seed {
		return 4 + 1 + 1
	}
	return 4 + 1
}

// fiveOrSeven tells V5 from V7 by the first payload: V7's has a status where V5's has
// metadata. f becomes the payload as that dialect reads it.
//
// A V5 peer may have metadata that reads like a status. Therefore what follows, its
// codec and body, must also read as V7's metadata does for the payload to be
// taken for V7's. A block above 255 bytes is checked twice: in V5 the high byte of
// its length would be the codec.
func fiveOrSeven(payload []byte, f *framing.Fields) (Dialect, error) {
	var seven framing.Fields
	if parse(&seven, payload, V7) == nil && framing.IsStatus(seven.Mtype, seven.Status) && metaFits(seven.Meta) {
		var five framing.Fields
		if parse(&five, payload, V5) != nil || five.Codec == 0 ||
			!known(five.Codec) || seven.Codec == 0 || known(seven.Codec) {
			*f = seven
			return V7, nil
		}
		*f = five
		return V5, nil
	}
	return V5, parse(f, payload, V5)
}

func known(id byte) bool {
	_, err := codec.Get(id)
	return err == nil
}

// longKey is the length, in bytes, from which a key is not taken for one of metadata,
// so that a long text without a "=" does not pass for metadata.
const longKey = 1 << 10

// metaFits reports whether V7 would have written this metadata: every byte that
// may be escaped is, and no other.
func metaFits(b []byte) bool {
	for len(b) > 0 {
		var pair []byte
		pair, b, _ = bytes.Cut(b, []byte("&"))
		key, value, _ := bytes.Cut(pair, []byte("="))
		if len(key) >= longKey || !framing.IsEscaped(key) || !framing.IsEscaped(value) {
			return false
		}
	}
	return true
}

// maxSeqText is the longest text of a sequence number: "-zik0zk".
const maxSeqText = 7

// recognise tells raw frames of all dialects from those of the other protocols.
// Behind the size stands 'r', or the number of filters; if there are none, a
// short text follows, where JSON and protobuf have other bytes. The filters are undone
// first; where that is not possible, the frame is taken for raw unless it begins as
// one of those would.
func recognise(prefix []byte) (match bool, need int) {
	if len(prefix) < 5 {
		return false, 5
	}
	size, n := binary.BigEndian.Uint32(prefix), prefix[4]
	switch {
	case size >= 1<<28:
		return false, 0 // a TLS record, or text
	case n == version:
		return size > 6, 0
	case n > framing.MaxFilters || size <= 5+uint32(n):
		return false, 0
	case len(prefix) < 6+int(n):
		return false, 6 + int(n)
	case n == 0:
		return beginsText(prefix[5:]), 0
	}
	payload, need, err := socket.FirstPayload(prefix, 5, 5+int(n), int(size))
	switch {
	case need > 0:
		return false, need
	case errors.Is(err, xfer.ErrUnsupported), errors.Is(err, socket.ErrSizeLimit):
		c := prefix[5+int(n)]
		return c != '{' && c != 1<<3 && c != 2<<3, 0
	}
	return err == nil && beginsText(payload), 0
}

// beginsText reports whether a payload can begin with a sequence number.
func beginsText(payload []byte) bool {
	return len(payload) > 0 && payload[0] >= 1 && payload[0] <= maxSeqText
}
