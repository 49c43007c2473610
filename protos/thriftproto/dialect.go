package thriftproto

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// Dialect says where a reply's error travels.
type Dialect byte

const (
	// V5 is what Teleport v5 speaks: the error is metadata X-Reply-Error.
	V5 Dialect = 1 + iota
	// V7 is what eRPC v7 speaks: each frame has a header Tp-Status.
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

// recogniseMost is how many bytes of a frame are looked at, at most.
const recogniseMost = 60 << 10

// recognises returns the function that tells the form's frames from those of
// other protocols, and of the other form: that one header is the binary form's.
func recognises(f form) func(prefix []byte) (match bool, need int) {
	return func(prefix []byte) (match bool, need int) {
		const head = 4 + 2
		if n := min(len(prefix), head); n > 4 && !strings.HasPrefix(magic, string(prefix[4:n])) {
			return false, 0
		}
		if len(prefix) > 0 && prefix[0] > maxLength>>24 {
			return false, 0
		}
		if len(prefix) < start {
			return false, start
		}
		words := int(binary.BigEndian.Uint16(prefix[start-2:]))
		if need := min(start+4*words, recogniseMost); len(prefix) < need {
			return false, need
		}
		var h headers
		h.parse(prefix[start:min(len(prefix), start+4*words)]) // what there is of it
		return (h.values[tpCodec] != nil) == (f == binaryForm), 0
	}
}
