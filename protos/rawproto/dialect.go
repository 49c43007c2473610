package rawproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"

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

func (d Dialect) valid() bool { return d >= Seed && d <= V7 }

// String returns "seed", "v5" or "v7".
func (d Dialect) String() string {
	switch d {
	case Seed:
		return "seed"
	case V5:
		return "v5"
	case V7:
		return "v7"
	}
	return "dialect " + strconv.Itoa(int(d))
}

// header is how many bytes come before the filters' ids.
func (d Dialect) header() int {
	if d == Seed {
		return 4 + 1 + 1
	}
	return 4 + 1
}

// older tells the two older ages apart by their first payload: V7's has a
// status where V5's has metadata. f is the payload taken apart in that dialect.
//
// A V5 peer may have metadata that reads like a status. Then what follows, its
// codec and body, must also read as V7's metadata does for the payload to be
// taken for V7's, and a block above 255 bytes is looked at twice: there the
// high byte of its length would be a V5 codec.
func older(payload []byte, f *framing.Fields) (Dialect, error) {
	var seven framing.Fields
	if parse(&seven, payload, V7) == nil && statusFits(&seven) && metaFits(seven.Meta) {
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

// statusFits tells whether V7 would have written this status.
func statusFits(f *framing.Fields) bool {
	if string(f.Status) == framing.StatusOK {
		return true
	}
	if !framing.IsReply(f.Mtype) {
		return false
	}
	b, ok := bytes.CutPrefix(f.Status, []byte("code="))
	if !ok {
		return false
	}
	code, b, more := bytes.Cut(b, []byte("&"))
	if _, err := strconv.ParseInt(string(code), 10, 32); err != nil {
		return false
	}
	for _, key := range []string{"msg=", "cause="} {
		if !more {
			return true
		}
		if v, ok := bytes.CutPrefix(b, []byte(key)); ok {
			v, b, more = bytes.Cut(v, []byte("&"))
			if !escaped(v) {
				return false
			}
		}
	}
	return !more
}

// longKey is the length, in bytes, from which a metadata key is taken for none,
// so that a long text without a "=" does not pass for metadata.
const longKey = 1 << 10

// metaFits tells whether V7 would have written this metadata: every byte that
// may be escaped is, and no other.
func metaFits(b []byte) bool {
	for len(b) > 0 {
		var pair []byte
		pair, b, _ = bytes.Cut(b, []byte("&"))
		key, value, _ := bytes.Cut(pair, []byte("="))
		if len(key) >= longKey || !escaped(key) || !escaped(value) {
			return false
		}
	}
	return true
}

func escaped(b []byte) bool {
	for i := 0; i < len(b); i++ {
		if literal(b[i]) {
			continue
		}
		if b[i] != '%' || i+2 >= len(b) {
			return false
		}
		hi, lo := unhex(b[i+1]), unhex(b[i+2])
		if hi > 15 || lo > 15 || literal(hi<<4|lo) {
			return false
		}
		i += 2
	}
	return true
}

func literal(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '*' || c == '-' || c == '.' || c == '_'
}

// unhex returns the value of an upper-case hexadecimal digit, above 15 for none.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// maxSeqText is the longest text of a sequence number: "-zik0zk".
const maxSeqText = 7

// recognise tells raw frames of all dialects from those of the other protocols.
// Behind the size stands 'r', or the number of filters; if there are none, a
// short text follows, where JSON and protobuf put other bytes. Filters are undone
// to see it; where that cannot be done, raw takes the frame unless it begins as
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

// beginsText tells whether a payload can begin with a sequence number.
func beginsText(payload []byte) bool {
	return len(payload) > 0 && payload[0] >= 1 && payload[0] <= maxSeqText
}
