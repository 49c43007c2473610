package jsonproto

import "github.com/teleport-go/teleport/core/socket/framing"

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

var dialects = []framing.Dialect{V5: {Name: "v5"}, V7: {Name: "v7"}}

// String returns "v5" or "v7".
func (d Dialect) String() string { return framing.Text(dialects, d) }

// recognise tells JSON frames from those of the other protocols: a document
// begins with a brace.
func recognise(prefix []byte) (match bool, need int) {
	return framing.Recognise(prefix, func(payload []byte) bool { return payload[0] == '{' })
}

// begins reports whether a document can begin with this byte: others may write space
// before the brace.
func begins(first byte) bool {
	switch first {
	case '{', ' ', '\t', '\r', '\n':
		return true
	}
	return false
}
