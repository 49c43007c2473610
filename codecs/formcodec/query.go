package formcodec

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/teleport-go/teleport/core/codec"
)

// tooMany is the error of a form with n pairs or more.
func tooMany(n int) error {
	return &codec.LimitError{What: "pairs", Limit: maxPairs, Found: n}
}

// maxQuoted is how many bytes of a foreign text an error quotes.
const maxQuoted = 32

func quote[T string | []byte](text T) string {
	return fmt.Sprintf("%q", text[:min(len(text), maxQuoted)])
}

const upperHex = "0123456789ABCDEF"

// appendEscaped appends text as url.QueryEscape writes it.
func appendEscaped[T string | []byte](dst []byte, text T) []byte {
	for i := range len(text) {
		switch c := text[i]; {
		case plain(c):
			dst = append(dst, c)
		case c == ' ':
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return dst
}

// plain reports whether a byte needs no escape.
func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '_' || c == '.' || c == '~'
}

// pairs reads the pairs of a form one by one. The results of next are valid until the
// next call, and must not be modified.
type pairs struct {
	rest []byte
	n    int // number of pairs so far
	// Buffers for an unescaped key and value.
	keyBuf, valueBuf []byte
}

// next returns the next pair; ok is false at the end.
func (p *pairs) next() (key, value []byte, ok bool, err error) {
	var pair []byte
	for len(pair) == 0 { // "a=1&&b=2" has two pairs
		if len(p.rest) == 0 {
			return nil, nil, false, nil
		}
		pair, p.rest, _ = bytes.Cut(p.rest, []byte{'&'})
	}
	if p.n++; p.n > maxPairs {
		return nil, nil, false, tooMany(p.n)
	}
	key, value, _ = bytes.Cut(pair, []byte{'='})
	if key, err = unescape(key, &p.keyBuf); err != nil {
		return nil, nil, false, fmt.Errorf("key %s: %w", quote(key), err)
	}
	if value, err = unescape(value, &p.valueBuf); err != nil {
		return nil, nil, false, fmt.Errorf("key %s: %s: %w", quote(key), quote(value), err)
	}
	return key, value, true, nil
}

var errEscape = errors.New("invalid escape")

// unescape returns text itself if nothing in it is escaped, otherwise the unescaped
// text in buf. If it fails it returns text.
func unescape(text []byte, buf *[]byte) ([]byte, error) {
	at := bytes.IndexAny(text, "%+")
	if at < 0 {
		return text, nil
	}
	b := append(slices.Grow((*buf)[:0], len(text)), text[:at]...)
	for i := at; i < len(text); i++ {
		switch c := text[i]; c {
		case '+':
			b = append(b, ' ')
		case '%':
			if i+2 >= len(text) {
				return text, errEscape
			}
			high, ok1 := unhex(text[i+1])
			low, ok2 := unhex(text[i+2])
			if !ok1 || !ok2 {
				return text, errEscape
			}
			b = append(b, high<<4|low)
			i += 2
		default:
			b = append(b, c)
		}
	}
	*buf = b
	return b, nil
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
