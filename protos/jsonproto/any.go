package jsonproto

import (
	"fmt"
	"math"

	"github.com/teleport-go/teleport/core/socket/framing"
)

// maxDepth is the largest depth to which values of unknown keys may be nested.
const maxDepth = 64

// Keys of the document.
const (
	keySeq = iota
	keyMtype
	keyMethod
	keyStatus
	keyMeta
	keyCodec
	keyBody
	keyPipe // of unframed documents alone
	keyUnknown
)

var keys = [...]string{"seq", "mtype", "serviceMethod", "status", "meta", "bodyCodec", "body", "xferPipe"}

// parseAny reads an object with keys in any order. Unknown ones are skipped, and of a
// repeated one the first counts, as in v5 and v7; one that is missing or null is zero.
func (d *document) parseAny(b []byte) error {
	s := scanner{b: b}
	if s.next() != '{' {
		return s.unexpected("want {")
	}
	s.i++
	if s.next() == '}' {
		s.i++
		return s.end()
	}
	var seen [keyUnknown + 1]bool
	for {
		key, err := d.key(&s)
		if err != nil {
			return err
		}
		if s.next() != ':' {
			return s.unexpected("want :")
		}
		s.i++
		if key == keyUnknown || seen[key] {
			err = s.skip()
		} else {
			seen[key] = true
			err = d.value(&s, key)
		}
		if err != nil {
			return err
		}
		switch s.next() {
		case ',':
			s.i++
		case '}':
			s.i++
			return s.end()
		default:
			return s.unexpected("want , or }")
		}
	}
}

// key reads a key, one of the constants.
func (d *document) key(s *scanner) (int, error) {
	text, escaped, err := s.text()
	if err != nil {
		return keyUnknown, err
	}
	if escaped {
		at, ok := len(d.text), false
		if text, ok = d.unescape(text, loose); !ok {
			return keyUnknown, s.unexpected("a key with an escape that is none")
		}
		d.text = d.text[:at]
	}
	for i, key := range keys {
		if string(text) == key && (i != keyPipe || d.piped) {
			return i, nil
		}
	}
	return keyUnknown, nil
}

// value reads the value of a known key.
func (d *document) value(s *scanner, key int) error {
	field := keys[key]
	if key == keyPipe {
		return d.parsePipe(s)
	}
	switch c := s.next(); {
	case c == 'n':
		d.HasStatus = d.HasStatus || key == keyStatus
		return s.word("null")
	case c == '"' && key != keySeq && key != keyMtype && key != keyCodec:
		text, escaped, err := s.text()
		if err != nil {
			return err
		}
		m := golang
		if key == keyBody {
			m = loose
			d.unescaped = escaped
		}
		if escaped {
			var ok bool
			if text, ok = d.unescape(text, m); !ok {
				return bad(field, "has an escape that is none")
			}
		}
		switch key {
		case keyMethod:
			d.ServiceMethod = text
		case keyStatus:
			d.Status, d.HasStatus = text, true
		case keyMeta:
			d.Meta = text
		default:
			d.Body = text
		}
		return nil
	case key != keySeq && key != keyMtype && key != keyCodec:
		return bad(field, "is no string")
	case c != '-' && (c < '0' || c > '9'):
		return bad(field, "is no number")
	}
	token := s.token()
	if key == keySeq {
		v, err := whole(field, token, math.MinInt32, math.MaxInt32)
		d.Seq = int32(v)
		return err
	}
	v, err := whole(field, token, 0, math.MaxUint8)
	if key == keyMtype {
		d.Mtype = byte(v)
	} else {
		d.Codec = byte(v)
	}
	return err
}

// parsePipe reads the ids of the filters.
func (d *document) parsePipe(s *scanner) error {
	field := keys[keyPipe]
	switch s.next() {
	case 'n':
		return s.word("null")
	case '[':
		s.i++
	default:
		return bad(field, "is no list")
	}
	for s.next() != ']' {
		if len(d.pipe) > 0 {
			if s.next() != ',' {
				return s.unexpected("want , or ]")
			}
			s.i++
			s.next()
		}
		id, err := whole(field, s.token(), 0, math.MaxUint8)
		if err != nil {
			return err
		}
		d.pipe = append(d.pipe, byte(id))
		if len(d.pipe) > framing.MaxFilters {
			return bad(field, fmt.Sprintf("has more than %d filters", framing.MaxFilters))
		}
	}
	s.i++
	return nil
}

// scanner walks over a JSON text.
type scanner struct {
	b []byte
	i int
}

// next skips white space and returns the byte that comes then, 0 at the end.
func (s *scanner) next() byte {
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) unexpected(want string) error {
	if s.i >= len(s.b) {
		return badAt(s.i, "ends, "+want)
	}
	return badAt(s.i, fmt.Sprintf("has %q, %s", s.b[s.i], want))
}

// end checks that nothing is left.
func (s *scanner) end() error {
	if s.next(); s.i < len(s.b) {
		return s.unexpected("want its end")
	}
	return nil
}

// text reads a string, and returns what is between its quotes.
func (s *scanner) text() (text []byte, escaped bool, err error) {
	if s.next() != '"' {
		return nil, false, s.unexpected(`want "`)
	}
	rest := s.b[s.i+1:]
	n, escaped := textEnd(rest)
	if n < 0 {
		return nil, false, badAt(s.i, "has a string that does not end")
	}
	s.i += n + 2
	return rest[:n], escaped, nil
}

func (s *scanner) word(word string) error {
	if rest := s.b[s.i:]; len(rest) < len(word) || string(rest[:len(word)]) != word {
		return s.unexpected("want " + word)
	}
	s.i += len(word)
	return nil
}

// token reads a number or a word.
func (s *scanner) token() []byte {
	start := s.i
	for s.i < len(s.b) {
		c := s.b[s.i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' {
			s.i++
			continue
		}
		break
	}
	return s.b[start:s.i]
}

// skip skips any value. Of the contents of objects and lists it checks that brackets
// match and strings end.
func (s *scanner) skip() error {
	var open [maxDepth]byte // the brackets that close what is open
	depth := 0
	for {
		switch c := s.next(); c {
		case '{', '[':
			if depth == maxDepth {
				return badAt(s.i, fmt.Sprintf("is nested deeper than %d", maxDepth))
			}
			open[depth] = c + 2 // } or ]
			depth++
			s.i++
		case '}', ']':
			if depth == 0 || open[depth-1] != c {
				return s.unexpected("want a value")
			}
			depth--
			s.i++
		case ',', ':':
			if depth == 0 {
				return s.unexpected("want a value")
			}
			s.i++
			continue
		case '"':
			if _, _, err := s.text(); err != nil {
				return err
			}
		default:
			if len(s.token()) == 0 {
				return s.unexpected("want a value")
			}
		}
		if depth == 0 {
			return nil
		}
	}
}
