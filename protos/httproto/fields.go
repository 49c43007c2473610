package httproto

import (
	"bytes"

	"github.com/teleport-go/teleport/core/socket"
)

// validToken reports whether b can be a method or the name of a header.
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

// validValue reports whether b can be the value of a header.
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
	fieldDropped              // for the connection, or not to be set by a client
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
	fieldEncodings // Accept-Encoding
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
	case "Accept":
		return fieldAccept
	case "Accept-Encoding":
		return fieldEncodings
	case socket.MetaReplyError, "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Upgrade":
		return fieldDropped
	}
	return fieldNone
}

// fromMeta reports whether metadata of this name is written. The others are the
// protocol's own, or the connection's: they are left out. Of the headers that begin with
// Content- those about a page are written: its disposition, language, security policy.
func fromMeta(canonical []byte, request bool) bool {
	const content = "Content-"
	if len(canonical) >= len(content) && string(canonical[:len(content)]) == content {
		switch string(canonical[len(content):]) {
		case "Disposition", "Language", "Location", "Security-Policy", "Security-Policy-Report-Only":
			return !request
		}
		return false
	}
	switch fieldOf(canonical) {
	case fieldNone, fieldAccept:
		return request || string(canonical) != "Date"
	case fieldHost:
		return request
	}
	return false
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

// acceptsGzip reports whether an Accept-Encoding takes gzip: it, or "*", with a
// weight that is not 0.
func acceptsGzip(list []byte) (ok bool) {
	star := false
	named := false
	eachItem(list, func(item []byte) {
		coding, weight := cutWeight(item)
		switch {
		case equalFold(coding, "gzip"), equalFold(coding, "x-gzip"):
			named, ok = true, weight > 0
		case len(coding) == 1 && coding[0] == '*':
			star = weight > 0
		}
	})
	if !named {
		return star
	}
	return ok
}

// fullWeight is that of an element of a list that says none.
const fullWeight = 1000

// cutWeight returns the element of a list without its parameters, and the weight
// among these ("q=0.5") in thousandths.
func cutWeight(item []byte) (name []byte, weight int) {
	name, params, _ := bytes.Cut(item, []byte(";"))
	weight = fullWeight
	for len(params) > 0 {
		var param []byte
		param, params, _ = bytes.Cut(params, []byte(";"))
		if param = trimBlank(param); len(param) > 2 && param[0]|0x20 == 'q' && param[1] == '=' {
			weight = parseWeight(param[2:])
		}
	}
	return trimBlank(name), weight
}

// parseWeight reads "0", "0.25", "1"; what begins with no 0 is 1.
func parseWeight(b []byte) int {
	if b[0] != '0' {
		return fullWeight
	}
	if len(b) > 1 && b[1] != '.' {
		return 0
	}
	weight := 0
	for i, unit := 2, fullWeight/10; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		weight += int(b[i]-'0') * unit
		unit /= 10
	}
	return weight
}
