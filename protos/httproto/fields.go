package httproto

import (
	"github.com/teleport-go/teleport/core/socket"
)

// validToken tells whether b can be a method or the name of a header.
func validToken(b []byte) bool {
	for _, c := range b {
		if !tokenByte[c] {
			return false
		}
	}
	return len(b) > 0
}

var tokenByte = byteSet("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

// targetByte are those of a request's target that are not escaped.
var targetByte = byteSet("!$%&'()*+,-./0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~")

func byteSet(text string) (set [256]bool) {
	for i := range len(text) {
		set[text[i]] = true
	}
	return set
}

// validValue tells whether b can be the value of a header.
func validValue(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func trimBlank(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// appendCanonical appends a header's name with a capital letter at its beginning
// and behind each "-", all others small.
func appendCanonical[T string | []byte](dst []byte, name T) []byte {
	upper := true
	for i := range len(name) {
		c := name[i]
		switch {
		case upper && c >= 'a' && c <= 'z':
			c -= 'a' - 'A'
		case !upper && c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		}
		dst = append(dst, c)
		upper = c == '-'
	}
	return dst
}

// metaKey is the metadata key of a header by its canonical name: that name, but
// for keys which programs know in another spelling.
func metaKey(canonical []byte) []byte {
	switch string(canonical) {
	case "X-Real-Ip":
		return realIP
	case "Hb_":
		return heartbeat
	}
	return canonical
}

var (
	realIP    = []byte(socket.MetaRealIP)
	heartbeat = []byte("hb_")
)

// field is a header that the protocol understands itself.
type field int

const (
	fieldNone    field = iota // metadata
	fieldDropped              // for the connection, or not to be set from outside
	fieldLength
	fieldTransfer
	fieldType
	fieldEncoding
	fieldFilter
	fieldSeq
	fieldMtype
	fieldConnection
	fieldExpect
	fieldHost
	fieldAgent
	fieldAccept
)

// fieldOf returns what a canonical name stands for.
func fieldOf(canonical []byte) field {
	switch string(canonical) {
	case "Content-Length":
		return fieldLength
	case "Transfer-Encoding":
		return fieldTransfer
	case "Content-Type":
		return fieldType
	case "Content-Encoding":
		return fieldEncoding
	case "X-Content-Encoding":
		return fieldFilter
	case "X-Seq":
		return fieldSeq
	case "X-Mtype":
		return fieldMtype
	case "Connection":
		return fieldConnection
	case "Expect":
		return fieldExpect
	case "Host":
		return fieldHost
	case "User-Agent":
		return fieldAgent
	case "Accept-Encoding":
		return fieldAccept
	case socket.MetaReplyError, "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Upgrade":
		return fieldDropped
	}
	return fieldNone
}

// fromMeta tells whether metadata of this name is written. The others are the
// protocol's own, or the connection's: they are left out.
func fromMeta(canonical []byte, request bool) bool {
	const content = "Content-"
	switch {
	case len(canonical) >= len(content) && string(canonical[:len(content)]) == content:
		return false
	case request:
		return fieldOf(canonical) == fieldNone || fieldOf(canonical) == fieldHost
	case string(canonical) == "Date":
		return false
	}
	return fieldOf(canonical) == fieldNone
}

// equalFold compares with a text in small letters, in ASCII.
func equalFold(b []byte, small string) bool {
	if len(b) != len(small) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != small[i] {
			return false
		}
	}
	return true
}

// eachItem calls f for the elements of a list with commas.
func eachItem(b []byte, f func(item []byte)) {
	for len(b) > 0 {
		i := 0
		for i < len(b) && b[i] != ',' {
			i++
		}
		if item := trimBlank(b[:i]); len(item) > 0 {
			f(item)
		}
		b = b[min(i+1, len(b)):]
	}
}

// acceptsGzip tells whether an Accept-Encoding takes gzip: it, or "*", with a
// weight that is not 0.
func acceptsGzip(list []byte) (ok bool) {
	star := false
	named := false
	eachItem(list, func(item []byte) {
		i := 0
		for i < len(item) && item[i] != ';' {
			i++
		}
		weight := trimBlank(item[min(i+1, len(item)):])
		good := !zeroWeight(weight)
		switch coding := trimBlank(item[:i]); {
		case equalFold(coding, "gzip"), equalFold(coding, "x-gzip"):
			named, ok = true, good
		case len(coding) == 1 && coding[0] == '*':
			star = good
		}
	})
	if !named {
		return star
	}
	return ok
}

// zeroWeight reads "q=0", with any number of zeros behind a point.
func zeroWeight(b []byte) bool {
	if len(b) < 3 || b[0]|0x20 != 'q' || b[1] != '=' {
		return false
	}
	for _, c := range b[2:] {
		if c != '0' && c != '.' {
			return false
		}
	}
	return true
}
