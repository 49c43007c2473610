package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/teleport-go/teleport/core/codec/measure"
)

// ID is the id of the codec, which both sides agree on.
const ID byte = 'm'

// Codec encodes bodies as MessagePack. Its values are those of JSON: maps with strings as
// keys, lists, strings, numbers, booleans and nil. Its methods may be called concurrently.
type Codec struct{}

// ID returns ID.
func (Codec) ID() byte { return ID }

// Name returns "msgpack".
func (Codec) Name() string { return "msgpack" }

// Marshal returns v as MessagePack, with the keys of maps in order, so that equal values have
// equal bytes. An integer that does not fit 64 bits is an error.
func (Codec) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := msgpack.NewEncoder(&b)
	e.SetSortMapKeys(true)
	e.UseCompactInts(true)
	err := fits(v)
	if err == nil {
		err = e.Encode(v)
	}
	if err != nil {
		return nil, fmt.Errorf("msgpack: encode %T: %w", v, err)
	}
	return b.Bytes(), nil
}

// fits returns an error if there is an integer in v that MessagePack has no form for.
func fits(v any) error {
	switch v := v.(type) {
	case *big.Int:
		return fmt.Errorf("the integer %.40s does not fit 64 bits", v)
	case []any:
		for _, x := range v {
			if err := fits(x); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, x := range v {
			if err := fits(x); err != nil {
				return err
			}
		}
	}
	return nil
}

// Unmarshal decodes one value into the any that v points to, or into another value that
// the library decodes into. Bytes behind it, more than 64 levels, text that is not UTF-8, keys
// that are no text and a value over codec.Limits are errors.
func (Codec) Unmarshal(data []byte, v any) error {
	c := checker{measure.NewBudget(len(data))}
	rest, err := c.value(data, 0)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes behind the value", len(rest))
	}
	if err == nil {
		d := msgpack.NewDecoder(bytes.NewReader(data))
		d.UseLooseInterfaceDecoding(true) // int64, uint64, float64
		err = d.Decode(v)
	}
	if err != nil {
		return fmt.Errorf("msgpack: decode into %T: %w", v, err)
	}
	return nil
}

const mostLevels = 64

var errShort = errors.New("the value ends too early")

// checker finds what the library would take memory or stack for without a bound: every list or
// map that it accepts has as many elements as it says, and all of them together take at most
// what codec.Limits allow, since an element of one byte becomes an any of 16 bytes with a
// number outside. Source: https://github.com/msgpack/msgpack/blob/master/spec.md.
type checker struct{ measure.Budget }

// What the library makes of elements, in bytes.
const (
	anySize   = 16
	boxSize   = 16 // of a text or a number in an any
	boxedList = 24
	boxedMap  = 48
	textSize  = 16 // of a key
)

// value passes one value, and returns what is behind it.
func (k *checker) value(b []byte, levels int) (rest []byte, err error) {
	if levels > mostLevels {
		return nil, fmt.Errorf("more than %d levels", mostLevels)
	}
	if len(b) == 0 {
		return nil, errShort
	}
	c, b := b[0], b[1:]
	switch {
	case c <= 0x7f, c >= 0xe0, c == 0xc0, c == 0xc2, c == 0xc3: // small integers, nil, booleans
		return b, k.Take(1, boxSize)
	case c <= 0x8f:
		return k.mapping(b, int(c&0x0f), levels)
	case c <= 0x9f:
		return k.list(b, int(c&0x0f), levels)
	case c <= 0xbf:
		return k.text(b, int(c&0x1f))
	case c >= 0xcc && c <= 0xcf: // uint8 to uint64
		return k.skip(b, 1<<(c-0xcc))
	case c >= 0xd0 && c <= 0xd3: // int8 to int64
		return k.skip(b, 1<<(c-0xd0))
	case c == 0xca, c == 0xcb: // float32, float64
		return k.skip(b, 4<<(c-0xca))
	}
	size, what := 0, c
	switch c {
	case 0xd9, 0xc4:
		size = 1
	case 0xda, 0xc5, 0xdc, 0xde:
		size = 2
	case 0xdb, 0xc6, 0xdd, 0xdf:
		size = 4
	default:
		return nil, fmt.Errorf("a value of the type %#x, which JSON has no form for", c)
	}
	if len(b) < size {
		return nil, errShort
	}
	n := 0
	for _, x := range b[:size] {
		n = n<<8 | int(x)
	}
	b = b[size:]
	if n < 0 || n > len(b) { // each element has a byte at least
		return nil, errShort
	}
	switch what {
	case 0xdc, 0xdd:
		return k.list(b, n, levels)
	case 0xde, 0xdf:
		return k.mapping(b, n, levels)
	case 0xc4, 0xc5, 0xc6: // bytes
		return k.skip(b, n)
	}
	return k.text(b, n)
}

// skip passes a value of n bytes.
func (k *checker) skip(b []byte, n int) ([]byte, error) {
	if n > len(b) {
		return nil, errShort
	}
	return b[n:], k.Take(1, boxSize)
}

func (k *checker) text(b []byte, n int) ([]byte, error) {
	rest, err := k.skip(b, n)
	if err == nil && !utf8.Valid(b[:n]) {
		return nil, errors.New("text that is not UTF-8")
	}
	return rest, err
}

func (k *checker) list(b []byte, n, levels int) (rest []byte, err error) {
	for err = k.Take(n, anySize); n > 0 && err == nil; n-- {
		b, err = k.value(b, levels+1)
	}
	if err == nil {
		err = k.Take(1, boxedList)
	}
	return b, err
}

func (k *checker) mapping(b []byte, n, levels int) (rest []byte, err error) {
	if err = k.Take(1, boxedMap); n > 0 && err == nil {
		if err = k.Take(1, measure.FirstEntry(textSize, anySize)); err == nil {
			err = k.Take(n-1, measure.NextEntry(textSize, anySize))
		}
	}
	for ; n > 0 && err == nil; n-- {
		if len(b) == 0 {
			return nil, errShort
		}
		if c := b[0]; (c < 0xa0 || c > 0xbf) && c != 0xd9 && c != 0xda && c != 0xdb {
			return nil, fmt.Errorf("a key of the type %#x, which is no text", c)
		}
		if b, err = k.value(b, levels+1); err == nil {
			b, err = k.value(b, levels+1)
		}
	}
	return b, err
}
