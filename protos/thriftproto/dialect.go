package thriftproto

import (
	"encoding/binary"
	"strings"

	"github.com/teleport-go/teleport/core/socket/framing"
)

// Dialect is the place of a reply's error.
type Dialect byte

const (
	// V5 is that of Teleport v5: the error is metadata X-Reply-Error.
	V5 Dialect = 1 + iota
	// V7 is that of eRPC v7: each frame has a header Tp-Status.
	V7
)

var dialects = []framing.Dialect{V5: {Name: "v5"}, V7: {Name: "v7"}}

// String returns "v5" or "v7".
func (d Dialect) String() string { return framing.Text(dialects, d) }

// recogniseMost is the largest number of bytes by which a frame is recognised.
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
