package transcode

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"unicode/utf8"
)

// parse decodes one value, of the types that encoding/json gives an any, but for
// numbers: an integer is an int64, a uint64 or a *big.Int, so that it stays exact.
//
// encoding/json takes several calls for each byte, and a call takes long in WebAssembly: there
// it needs four times as long for a record of 600 bytes.
func parse(text []byte) (any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("JSON that is not UTF-8")
	}
	p := parser{text: text}
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if p.skip(); p.at < len(text) {
		return nil, p.unexpected("the end")
	}
	return v, nil
}

// mostLevels is how many lists and objects may be in each other, as in codec.Limits.
const mostLevels = 1000

// parser reads JSON as RFC 8259 defines it.
type parser struct {
	text []byte
	at   int
}

func (p *parser) unexpected(want string) error {
	if p.at >= len(p.text) {
		return fmt.Errorf("JSON ends after %d bytes; want %s", p.at, want)
	}
	return fmt.Errorf("JSON has %q at byte %d; want %s", p.text[p.at], p.at, want)
}

// skip passes white space.
func (p *parser) skip() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// next passes white space, and c if it follows.
func (p *parser) next(c byte) bool {
	p.skip()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) value(levels int) (any, error) {
	p.skip()
	if p.at >= len(p.text) {
		return nil, p.unexpected("a value")
	}
	if levels > mostLevels {
		return nil, fmt.Errorf("JSON of more than %d levels", mostLevels)
	}
	switch c := p.text[p.at]; c {
	case '{':
		p.at++
		return p.object(levels + 1)
	case '[':
		p.at++
		return p.list(levels + 1)
	case '"':
		return p.string()
	case 't':
		return true, p.word("true")
	case 'f':
		return false, p.word("false")
	case 'n':
		return nil, p.word("null")
	default:
		return p.number()
	}
}

func (p *parser) word(word string) error {
	if !bytes.HasPrefix(p.text[p.at:], []byte(word)) {
		return p.unexpected(word)
	}
	p.at += len(word)
	return nil
}

func (p *parser) list(levels int) (any, error) {
	list := []any{}
	if p.next(']') {
		return list, nil
	}
	for {
		v, err := p.value(levels)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		if p.next(']') {
			return list, nil
		}
		if !p.next(',') {
			return nil, p.unexpected("a comma or ]")
		}
	}
}

func (p *parser) object(levels int) (any, error) {
	object := map[string]any{}
	if p.next('}') {
		return object, nil
	}
	for {
		p.skip()
		key, err := p.string()
		if err != nil {
			return nil, err
		}
		if !p.next(':') {
			return nil, p.unexpected("a colon")
		}
		if object[key], err = p.value(levels); err != nil {
			return nil, err
		}
		if p.next('}') {
			return object, nil
		}
		if !p.next(',') {
			return nil, p.unexpected("a comma or }")
		}
	}
}

// string reads a string. One with escapes or control characters is left to encoding/json.
func (p *parser) string() (string, error) {
	if p.at >= len(p.text) || p.text[p.at] != '"' {
		return "", p.unexpected("a string")
	}
	rest := p.text[p.at+1:]
	end := bytes.IndexByte(rest, '"')
	if end < 0 {
		return "", fmt.Errorf("JSON with a string at byte %d that does not end", p.at)
	}
	if isPlain(rest[:end]) {
		p.at += end + 2
		return string(rest[:end]), nil
	}
	for escaped(rest[:end]) {
		more := bytes.IndexByte(rest[end+1:], '"')
		if more < 0 {
			return "", fmt.Errorf("JSON with a string at byte %d that does not end", p.at)
		}
		end += more + 1
	}
	var s string
	if err := json.Unmarshal(p.text[p.at:p.at+end+2], &s); err != nil {
		return "", fmt.Errorf("JSON with a string at byte %d: %w", p.at, err)
	}
	p.at += end + 2
	return s, nil
}

// isPlain reports whether the text of a string means itself: it has no backslash, and no
// character below space, which 8 bytes at a time are looked at for.
func isPlain(text []byte) bool {
	if bytes.IndexByte(text, '\\') >= 0 {
		return false
	}
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; len(text) >= 8; text = text[8:] {
		if v := binary.LittleEndian.Uint64(text); (v-' '*ones)&^v&high != 0 {
			return false
		}
	}
	for _, c := range text {
		if c < ' ' {
			return false
		}
	}
	return true
}

// escaped reports whether the quote behind text is part of the string.
func escaped(text []byte) bool {
	n := len(text)
	for n > 0 && text[n-1] == '\\' {
		n--
	}
	return (len(text)-n)%2 == 1
}

// mostDigits bounds an integer, since reading one takes the square of its digits.
const mostDigits = 1000

func (p *parser) number() (any, error) {
	n, whole := numberSize(p.text[p.at:])
	if n == 0 {
		return nil, p.unexpected("a value")
	}
	text := string(p.text[p.at : p.at+n])
	p.at += n
	if whole {
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return i, nil
		}
		if u, err := strconv.ParseUint(text, 10, 64); err == nil {
			return u, nil
		}
		if n <= mostDigits {
			if i, ok := new(big.Int).SetString(text, 10); ok {
				return i, nil
			}
		}
	}
	return strconv.ParseFloat(text, 64)
}

// numberSize returns how many bytes at the beginning of b are a number, 0 if none are, and
// whether it is an integer.
func numberSize(b []byte) (n int, whole bool) {
	digits := func() bool {
		from := n
		for n < len(b) && '0' <= b[n] && b[n] <= '9' {
			n++
		}
		return n > from
	}
	has := func(set string) bool {
		if n < len(b) && bytes.IndexByte([]byte(set), b[n]) >= 0 {
			n++
			return true
		}
		return false
	}
	has("-")
	if !has("0") && !digits() {
		return 0, false
	}
	whole = true
	if has(".") {
		if whole = false; !digits() {
			return 0, false
		}
	}
	if has("eE") {
		whole = false
		has("+-")
		if !digits() {
			return 0, false
		}
	}
	return n, whole
}
