package testwire

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync/atomic"
)

// JSONCodec is encoding/json, which runs the user's MarshalJSON.
type JSONCodec struct{}

func (JSONCodec) ID() byte                        { return JSON }
func (JSONCodec) Name() string                    { return "testjson" }
func (JSONCodec) Marshal(v any) ([]byte, error)   { return json.Marshal(v) }
func (JSONCodec) Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

// TextCodec writes strings unchanged: a pure codec.Appender, with a size.
type TextCodec struct{}

func (TextCodec) ID() byte       { return Text }
func (TextCodec) Name() string   { return "testtext" }
func (TextCodec) Pure() bool     { return true }
func (TextCodec) Size(v any) int { return len(text(v)) }

func (c TextCodec) Marshal(v any) ([]byte, error) { return c.Append(nil, v) }

func (TextCodec) Append(dst []byte, v any) ([]byte, error) {
	switch v.(type) {
	case string, *string:
		return append(dst, text(v)...), nil
	}
	return dst, fmt.Errorf("testtext: %T is no string", v)
}

func (TextCodec) Unmarshal(b []byte, v any) error {
	s, ok := v.(*string)
	if !ok {
		return fmt.Errorf("testtext: %T is no *string", v)
	}
	*s = string(b)
	return nil
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case *string:
		return *v
	}
	return ""
}

// XORFilter changes every byte by XOR.
type XORFilter struct{}

func (XORFilter) ID() byte     { return XOR }
func (XORFilter) Name() string { return "testxor" }

func (XORFilter) OnPack(b []byte) ([]byte, error) {
	b = slices.Clone(b)
	for i := range b {
		b[i] ^= 0x5a
	}
	return b, nil
}

func (f XORFilter) OnUnpack(b []byte) ([]byte, error) { return f.OnPack(b) }

// SumFilter appends a check sum.
type SumFilter struct{}

func (SumFilter) ID() byte     { return Sum }
func (SumFilter) Name() string { return "testsum" }

func (SumFilter) OnPack(b []byte) ([]byte, error) {
	return append(slices.Clone(b), sum(b)...), nil
}

// OnUnpack returns a part of b.
func (SumFilter) OnUnpack(b []byte) ([]byte, error) {
	n := len(b) - 4
	if n < 0 || string(sum(b[:n])) != string(b[n:]) {
		return nil, errors.New("testsum: wrong sum")
	}
	return b[:n:n], nil
}

func sum(b []byte) []byte {
	c := crc32.ChecksumIEEE(b)
	return []byte{byte(c >> 24), byte(c >> 16), byte(c >> 8), byte(c)}
}

// FailFilter packs, but fails to unpack.
type FailFilter struct{}

func (FailFilter) ID() byte                        { return Fail }
func (FailFilter) Name() string                    { return "testfail" }
func (FailFilter) OnPack(b []byte) ([]byte, error) { return slices.Clone(b), nil }

func (FailFilter) OnUnpack([]byte) ([]byte, error) {
	return nil, errors.New("testfail: never unpacks")
}

// HexFilter encodes every byte as two.
type HexFilter struct{}

func (HexFilter) ID() byte     { return Hex }
func (HexFilter) Name() string { return "testhex" }

func (HexFilter) OnPack(b []byte) ([]byte, error)   { return hex.AppendEncode(nil, b), nil }
func (HexFilter) OnUnpack(b []byte) ([]byte, error) { return hex.AppendDecode(nil, b) }

// Far is the id of [FarFilter].
const Far byte = 254

// FarFilter is a remote filter. It leaves the bytes as they are, and calls what Away was
// given last.
type FarFilter struct{}

func (FarFilter) ID() byte     { return Far }
func (FarFilter) Name() string { return "testfar" }
func (FarFilter) Remote() bool { return true }

var away atomic.Pointer[func(b []byte) error]

// Away lets each unpacking of a FarFilter call f with what it is given, and return its
// error. It returns a function that undoes that.
func Away(f func(b []byte) error) (undo func()) {
	old := away.Swap(&f)
	return func() { away.Store(old) }
}

func (FarFilter) OnPack(b []byte) ([]byte, error) { return slices.Clone(b), nil }

func (FarFilter) OnUnpack(b []byte) ([]byte, error) {
	if f := away.Load(); f != nil {
		if err := (*f)(b); err != nil {
			return nil, err
		}
	}
	return b, nil
}
