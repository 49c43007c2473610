package jsonproto

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// cost is the number of bytes by which each byte is longer in a JSON string. Bytes from
// 0x80 on stay as they are, even if they are not UTF-8: so bodies of any bytes
// arrive, and v5 and v7 read them.
var cost = func() (cost [256]byte) {
	for c := range 0x20 {
		cost[c] = 5 // \u00XX
	}
	for c := range short {
		if short[c] != 0 {
			cost[c] = 1
		}
	}
	return cost
}()

// short has the letters of the escapes of two bytes.
var short = [256]byte{'"': '"', '\\': '\\', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// specials is 0 if no byte of x has to be escaped. Otherwise the lowest bit that
// is set is in the first that has to be; higher bits mean nothing.
func specials(x uint64) uint64 {
	quote, slash := x^'"'*ones, x^'\\'*ones
	return ((x-0x20*ones)&^x | (quote-ones)&^quote | (slash-ones)&^slash) & highs
}

// others reports whether any byte of x but quotes has to be escaped.
func others(x uint64) bool {
	slash := x ^ '\\'*ones
	return ((x-0x20*ones)&^x|(slash-ones)&^slash)&highs != 0
}

// quotes is the number of quotes in x.
func quotes(x uint64) int {
	x ^= '"' * ones
	return bits.OnesCount64(^((x&^highs + 0x7f*ones) | x) & highs)
}

// clean reports whether nothing in b has to be escaped.
func clean(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if specials(binary.LittleEndian.Uint64(b)) != 0 {
			return false
		}
	}
	for _, c := range b {
		if cost[c] > 0 {
			return false
		}
	}
	return true
}

// measure returns the number of bytes by which escaping makes b longer, and whether
// anything but quotes has to be escaped.
func measure(b []byte) (extra int, more bool) {
	for ; len(b) >= 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		if !others(x) {
			extra += quotes(x)
			continue
		}
		more = true
		for _, c := range b[:8] {
			extra += int(cost[c])
		}
	}
	for _, c := range b {
		extra += int(cost[c])
		more = more || cost[c] > 0 && c != '"'
	}
	return extra, more
}

// escapeTail escapes what follows b[:at], which ends with a quote, and appends a quote.
// If more than quotes have to be escaped, it inserts a space before the first one: the
// mark by which a reader recognises that.
func escapeTail(b []byte, at int) []byte {
	extra, more := measure(b[at:])
	if extra == 0 {
		return append(b, '"')
	}
	if more {
		extra++
	}
	size := len(b)
	b = slices.Grow(b, extra+1)[:size+extra]
	from, to := at+extra, at
	copy(b[from:], b[at:size])
	if more {
		b[to-1], b[to] = ' ', '"'
		to++
	}
	for to < from { // afterwards all that is left is in its place
		if from-to >= 8 && len(b)-from >= 8 {
			x := binary.LittleEndian.Uint64(b[from:])
			binary.LittleEndian.PutUint64(b[to:], x)
			n := bits.TrailingZeros64(specials(x)) / 8
			from, to = from+n, to+n
			if n == 8 {
				continue
			}
		}
		c := b[from]
		from++
		if c == '"' {
			b[to], b[to+1] = '\\', c
			to += 2
			continue
		}
		to += putEscaped(b[to:], c)
	}
	return append(b, '"')
}

// putEscaped writes c as it stands in a string, and returns the length.
func putEscaped(b []byte, c byte) int {
	const hex = "0123456789abcdef"
	switch cost[c] {
	case 0:
		b[0] = c
	case 1:
		b[0], b[1] = '\\', short[c]
	default:
		copy(b, `\u00`)
		b[4], b[5] = hex[c>>4], hex[c&15]
	}
	return 1 + int(cost[c])
}

// appendEscaped appends s as it stands in a string.
func appendEscaped(dst []byte, s string) []byte {
	var long [6]byte
	for i := range len(s) {
		if c := s[i]; cost[c] == 0 {
			dst = append(dst, c)
		} else {
			dst = append(dst, long[:putEscaped(long[:], c)]...)
		}
	}
	return dst
}

// mode is what unescape accepts besides the escapes of JSON.
type mode byte

const (
	strict mode = iota
	loose       // control characters as they are
	golang      // these, and the escapes of Go: \a \v \' \xff \U0001f600
)

// unescape appends the bytes that the string s, without its quotes, stands for.
// plain says that nothing but quotes was escaped. If s cannot be read, ok is false and
// dst is returned as it was.
func unescape(dst, s []byte, m mode) (_ []byte, plain, ok bool) {
	dst = slices.Grow(dst, len(s)+8)
	out, to := dst[len(dst):len(dst)+len(s)+8], 0
	plain = true
	for i := 0; i < len(s); {
		if len(s)-i >= 8 {
			x := binary.LittleEndian.Uint64(s[i:])
			binary.LittleEndian.PutUint64(out[to:], x)
			n := bits.TrailingZeros64(specials(x)) / 8
			i, to = i+n, to+n
			if n == 8 {
				continue
			}
		}
		c := s[i]
		switch {
		case c == '"', c < 0x20 && m == strict:
			return dst, false, false
		case c != '\\':
			out[to] = c
			i, to = i+1, to+1
		case i+1 < len(s) && s[i+1] == '"':
			out[to] = '"'
			i, to = i+2, to+1
		default:
			plain = false
			n, size := unescapeOne(out[to:], s[i:], m)
			if n == 0 {
				return dst, false, false
			}
			i, to = i+n, to+size
		}
	}
	return dst[:len(dst)+to], plain, true
}

// unescapeOne writes the bytes that the escape at the start of s stands for; n is the
// length of the escape, 0 if it is none, and size that of the bytes, which is never
// larger.
func unescapeOne(out, s []byte, m mode) (n, size int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case '"', '\\', '/':
		out[0] = s[1]
	case 'b':
		out[0] = '\b'
	case 'f':
		out[0] = '\f'
	case 'n':
		out[0] = '\n'
	case 'r':
		out[0] = '\r'
	case 't':
		out[0] = '\t'
	case 'u':
		r, ok := unhex(s[2:], 4)
		if !ok {
			return 0, 0
		}
		n = 6
		if utf16.IsSurrogate(r) {
			low, ok := rune(0), false
			if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
				low, ok = unhex(s[8:], 4)
			}
			if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
				n = 12
			}
		}
		return n, utf8.EncodeRune(out, r)
	default:
		if m != golang {
			return 0, 0
		}
		return unquoteOne(out, s)
	}
	return 2, 1
}

// unquoteOne is unescapeOne for the escapes of Go that JSON does not have.
func unquoteOne(out, s []byte) (n, size int) {
	switch s[1] {
	case 'a':
		out[0] = '\a'
	case 'v':
		out[0] = '\v'
	case '\'':
		out[0] = '\''
	case 'x':
		r, ok := unhex(s[2:], 2)
		if !ok {
			return 0, 0
		}
		out[0] = byte(r)
		return 4, 1
	case 'U':
		r, ok := unhex(s[2:], 8)
		if !ok {
			return 0, 0
		}
		return 10, utf8.EncodeRune(out, r)
	default:
		return 0, 0
	}
	return 2, 1
}

// unhex reads a number of hexadecimal digits at the start of s.
func unhex(s []byte, digits int) (r rune, ok bool) {
	if len(s) < digits {
		return 0, false
	}
	for _, c := range s[:digits] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unquote appends the bytes that v5 or v7 wrote as s: they put a backslash before each
// quote and leave all else, backslashes too, as it is. ok is false if a quote has none
// before it.
func unquote(dst, s []byte) (_ []byte, ok bool) {
	start := len(dst)
	for i, c := range s {
		if c == '"' {
			if i == 0 || s[i-1] != '\\' {
				return dst[:start], false
			}
			dst[len(dst)-1] = '"'
			continue
		}
		dst = append(dst, c)
	}
	return dst, true
}
