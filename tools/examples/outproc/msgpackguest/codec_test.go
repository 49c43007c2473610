package main

import (
	"bytes"
	"encoding/binary"
	"math/big"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/codec"
)

func TestCodec(t *testing.T) {
	for _, test := range []struct {
		name string
		in   any
		want string
	}{
		{"nil", nil, "\xc0"},
		{"integers", []any{int64(1), int64(-1), int64(300), uint64(1 << 63)}, "\x94\x01\xff\xcd\x01\x2c\xcf\x80\x00\x00\x00\x00\x00\x00\x00"},
		{"keys in order", map[string]any{"b": true, "a": "x"}, "\x82\xa1a\xa1x\xa1b\xc3"},
		{"a fraction", 1.5, "\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := Codec{}.Marshal(test.in)
			require.NoError(t, err)
			require.Equal(t, test.want, string(b))
			var got any
			require.NoError(t, Codec{}.Unmarshal(b, &got))
			again, err := Codec{}.Marshal(got)
			require.NoError(t, err)
			require.Equal(t, test.want, string(again))
		})
	}
	_, err := Codec{}.Marshal([]any{new(big.Int).Lsh(big.NewInt(1), 70)})
	require.ErrorContains(t, err, "does not fit 64 bits")
}

func TestBadInput(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"nothing", "", "ends too early"},
		{"bytes behind", "\x01\x02", "1 bytes behind"},
		{"a list of 4 G elements", "\xdd\xff\xff\xff\xff", "ends too early"},
		{"a map that is cut", "\x81\xa1a", "ends too early"},
		{"a text that is cut", "\xda\x01\x00a", "ends too early"},
		{"a length that is cut", "\xc6\x00", "ends too early"},
		{"deep", string(bytes.Repeat([]byte{0x91}, 100)) + "\x01", "more than 64 levels"},
		{"text that is not UTF-8", "\xa1\xff", "UTF-8"},
		{"a key that is a number", "\x81\x01\x01", "no text"},
		{"a time", "\xd6\xff\x00\x00\x00\x00", "no form"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var v any
			require.ErrorContains(t, Codec{}.Unmarshal([]byte(test.in), &v), test.want)
		})
	}
}

// Small elements take much memory: what they take is known before it is taken.
func TestMemory(t *testing.T) {
	for _, test := range []struct {
		name string
		body func(n int) []byte
		most int // elements that are within the limit of 1 MiB
	}{
		{"numbers", func(n int) []byte {
			return append(binary.BigEndian.AppendUint32([]byte{0xdd}, uint32(n)), make([]byte, n)...)
		}, 30_000},
		{"empty lists", func(n int) []byte {
			return append(binary.BigEndian.AppendUint32([]byte{0xdd}, uint32(n)), bytes.Repeat([]byte{0x90}, n)...)
		}, 25_000},
		{"maps", func(n int) []byte {
			return append(binary.BigEndian.AppendUint32([]byte{0xdd}, uint32(n)), bytes.Repeat([]byte("\x81\xa0\xc0"), n)...)
		}, 2500},
		{"keys", func(n int) []byte {
			b := binary.BigEndian.AppendUint32([]byte{0xdf}, uint32(n))
			for i := range n {
				b = append(binary.BigEndian.AppendUint32(append(b, 0xa4), uint32(i&0x7f7f7f7f)), 0xc0)
			}
			return b
		}, 10_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			codec.SetLimits(codec.Limits{Memory: 1 << 20, Factor: 1})
			defer codec.SetLimits(codec.Limits{})
			var v any
			require.NoError(t, Codec{}.Unmarshal(test.body(test.most), &v))
			v = nil
			require.ErrorIs(t, Codec{}.Unmarshal(test.body(test.most*3/2), &v), codec.ErrTooComplex, "half as much again")
			var before, after runtime.MemStats
			body := test.body(100 * test.most)
			runtime.ReadMemStats(&before)
			require.ErrorIs(t, Codec{}.Unmarshal(body, &v), codec.ErrTooComplex)
			runtime.ReadMemStats(&after)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(256<<10), "bytes were allocated for a body that was refused")
		})
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{"\xc0", "\x82\xa1a\xa1x\xa1b\xc3", "\x93\x01\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xc4\x01x", "\xdd\xff\xff\xff\xff", "\xdf\x00\x00\x00\x01\xa0\x90", "\xd4\x00\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v any
		if (Codec{}).Unmarshal(data, &v) != nil {
			return
		}
		if _, err := (Codec{}).Marshal(v); err != nil {
			t.Errorf("%x is decoded, and not encoded again: %v", data, err)
		}
	})
}
