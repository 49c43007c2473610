package thriftproto

import (
	"encoding/binary"
	"strconv"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// header is one of the project's headers.
type header byte

const (
	tpMeta   header = iota // the metadata
	tpStatus               // the outcome, of V7
	tpCodec                // one byte, of the binary form
	tpPipe                 // ids of filters, of the binary form
	tpType                 // "4" to "7", of AUTH_CALL, AUTH_REPLY, CONTROL and DATA: Thrift has no such types
	tpCount
)

var keys = [tpCount]string{"Tp-Meta", "Tp-Status", "Tp-BodyCodec", "Tp-XferPipe", "Tp-Mtype"}

// ours is how the keys begin.
const ours = "Tp-"

// orders are the headers of frames, as they stand in those that were captured
// from v5 and v7.
var orders = map[form][V7 + 1][]header{
	binaryForm: {V5: {tpMeta, tpCodec, tpPipe}, V7: {tpPipe, tpStatus, tpMeta, tpCodec}},
	structForm: {V5: {tpMeta}, V7: {tpStatus, tpMeta}},
}

const (
	keyValue = 1         // the kind of block that holds keys and values; 0 is padding
	maxWords = 1<<16 - 1 // four-byte words of headers
)

// appendHeaders appends the headers of a frame, and their size before them.
func appendHeaders(dst []byte, m socket.Message, order []header, d Dialect) ([]byte, error) {
	at := len(dst) + 2
	dst = append(dst, 0, 0, 0, 0, keyValue, byte(len(order))) // their size, binary protocol, no transforms
	for _, h := range order {
		dst = append(append(dst, byte(len(keys[h]))), keys[h]...)
		from := len(dst)
		dst = append(dst, 0)
		switch h {
		case tpMeta:
			if d == V7 {
				dst = m.Meta().AppendBytes(dst)
			} else {
				dst = framing.AppendMeta(dst, m)
			}
		case tpStatus:
			dst = framing.AppendStatus(dst, m)
		case tpCodec:
			dst = append(dst, m.BodyCodec())
		case tpPipe:
			dst = m.XferPipe().AppendIDs(dst)
		case tpType:
			dst = strconv.AppendUint(dst, uint64(m.Mtype()), 10)
		}
		dst = putLength(dst, from)
	}
	for (len(dst)-at)%4 != 0 {
		dst = append(dst, 0)
	}
	words := (len(dst) - at) / 4
	if words > maxWords {
		return dst, refused("headers", "of %d bytes are longer than %d", len(dst)-at, 4*maxWords)
	}
	binary.BigEndian.PutUint16(dst[at-2:], uint16(words))
	return dst, nil
}

// putLength makes dst[at] the length of what is behind it, and of one byte as
// many as that takes.
func putLength(dst []byte, at int) []byte {
	n := len(dst) - at - 1
	var length [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(length[:], uint64(n))
	if k > 1 {
		dst = append(dst, length[1:k]...) // room
		copy(dst[at+k:], dst[at+1:at+1+n])
	}
	copy(dst[at:], length[:k])
	return dst
}

// headers are those of a frame that was read. They are parts of the frame.
type headers struct {
	values [tpCount][]byte // nil: not there
	some   bool            // one of the project's is there
	others bool            // another one is there
	block  []byte          // the keys and values, from the first block of them on
}

// parse takes the headers apart. On an error the headers before it are set.
func (h *headers) parse(b []byte) error {
	*h = headers{}
	protocol, b, err := cutVarint(b, "protocol")
	if err != nil {
		return err
	}
	// A peer that sends one such frame sends no other: the connection ends.
	if protocol != 0 {
		return refused("headers", "name protocol %d: only Thrift's binary protocol is spoken", protocol)
	}
	transforms, b, err := cutVarint(b, "number of transforms")
	if err != nil {
		return err
	}
	if transforms != 0 {
		return refused("headers", "name %d transforms: none is supported", transforms)
	}
	h.block = b
	return eachHeader(b, func(key, value []byte) {
		for i, known := range keys {
			if string(key) == known {
				h.values[i], h.some = value, true
				return
			}
		}
		if len(key) >= len(ours) && string(key[:len(ours)]) == ours {
			h.some = true
			return
		}
		h.others = true
	})
}

// eachHeader calls f for each key and value; the value is never nil. It ignores blocks
// of another kind and what follows them.
func eachHeader(b []byte, f func(key, value []byte)) error {
	for len(b) > 0 {
		kind, rest, err := cutVarint(b, "kind of block")
		if err != nil {
			return err
		}
		if kind != keyValue {
			return nil
		}
		n, rest, err := cutVarint(rest, "number of keys")
		if err != nil {
			return err
		}
		b = rest
		for range n {
			var key, value []byte
			if key, b, err = cutText(b, "key"); err != nil {
				return err
			}
			if value, b, err = cutText(b, "value"); err != nil {
				return err
			}
			f(key, value)
		}
	}
	return nil
}

// cutVarint cuts an unsigned number of at most 32 bits off.
func cutVarint(b []byte, what string) (uint32, []byte, error) {
	n := uint32(0)
	for i, c := range b {
		if i == binary.MaxVarintLen32-1 && c > 0x0f {
			return 0, b, bad("headers", "have a %s of more than 32 bits", what)
		}
		n |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			return n, b[i+1:], nil
		}
	}
	return 0, b, bad("headers", "end in a %s", what)
}

func cutText(b []byte, what string) (text, rest []byte, err error) {
	n, b, err := cutVarint(b, "length")
	if err != nil {
		return nil, b, err
	}
	if uint64(n) > uint64(len(b)) {
		return nil, b, bad("headers", "have a %s of %d bytes, %d are left", what, n, len(b))
	}
	return b[:n:n], b[n:], nil
}
