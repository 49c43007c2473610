package cborcodec

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codectest"
)

// large is a struct that a few bytes describe.
type large struct {
	A, B, C, D, E, F, G, H string
	Next                   *large  `cbor:"n"`
	Many                   []large `json:"m"`
	ByNumber               []large `cbor:"-7,keyasint"`
	Maps                   map[string]large
	Point                  point
}

type point struct {
	_    struct{} `cbor:",toarray"`
	X    int
	Many []large
}

// array returns an array of n items.
func array(start string, n int, item, end string) []byte {
	b := append([]byte(start), 0x9a)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	return []byte(string(b) + strings.Repeat(item, n) + end)
}

func into[T any]() any { return new(T) }

// Hostile is what makes values deep or large.
func Hostile() []codectest.Option {
	return []codectest.Option{
		codectest.Deep(into[any], func(n int) []byte { return []byte(strings.Repeat("\x81", n-1) + "\x80") }),
		codectest.Deep(into[large], func(n int) []byte { return []byte(strings.Repeat("\xa1an", n-1) + "\xa0") }),
		codectest.Wide(into[[]large], func(n int) []byte { return array("", n, "\xa0", "") }),
		codectest.Wide(into[[]*large], func(n int) []byte { return array("", n, "\xa0", "") }),
		codectest.Wide(into[[]large], func(n int) []byte { return []byte("\x9f" + strings.Repeat("\xbf\xff", n) + "\xff") }),
		codectest.Wide(into[large], func(n int) []byte { return array("\xa2\x7f\x61x\x61y\xff\x00\x61m", n, "\xa0", "") }),
		codectest.Wide(into[large], func(n int) []byte { return array("\xa1\x26", n, "\xa0", "") }),
		codectest.Wide(into[large], func(n int) []byte { return array("\xa1\x65Point\x82\x01", n, "\xa0", "") }),
		codectest.Wide(into[large], func(n int) []byte { return array("\xa1\x64Maps\xa1\x61k\xa1\x61m", n, "\xa0", "") }),
		codectest.Wide(into[any], func(n int) []byte { return array("", n, "\xa1\x61a\x00", "") }),
		codectest.Wide(into[any], func(n int) []byte { return array("", n, "\x80", "") }),
		codectest.Wide(into[any], func(n int) []byte { return array("", n, "\xc1\x00", "") }),
		codectest.Wide(into[any], func(n int) []byte { return array("\x82\x5f\x40\x41a\xff", n, "\xa0", "") }),
	}
}

func TestUsualSizes(t *testing.T) {
	type row struct {
		ID         int
		Name, Mail string
		Tags       []string
		R1, R2, R3 []string
		Props      map[string]string
	}
	b, err := cbor.Marshal(row{123456, "a name", "somebody@example.com", []string{"a"}, nil, nil, nil, map[string]string{"colour": "blue"}})
	if err != nil {
		t.Fatal(err)
	}
	body := array("", 100_000, string(b), "")
	for _, v := range []any{new([]row), new([]map[string]any)} {
		if err := checkSize(body, v, nil); err != nil {
			t.Errorf("%T: %v", v, err)
		}
	}
}

// The scanner ends, at the end of what the library finds well-formed at the latest.
func FuzzSize(f *testing.F) {
	for _, text := range []string{"\x81\xa1an\xa0", "\x9f\xbf\x00\x01\xff\xff", "\x5f\x41a\xff", "\xff", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "\xc1\xc1\x00", "\x7f\x7f\xff\xff", "\xa1\x80\x80"} {
		f.Add([]byte(text))
	}
	defer codec.SetLimits(codec.CurrentLimits())
	codec.SetLimits(codec.Limits{Depth: 4, Memory: 1000, Factor: 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, v := range []any{new(any), new(large), new([]large)} {
			err := checkSize(data, v, nil)
			if err != nil && !errors.Is(err, codec.ErrTooComplex) {
				t.Fatalf("%x: %v", data, err)
			}
			m := format.Meter(len(data), len(data), v)
			if err != nil || m == nil || cbor.Wellformed(data) != nil {
				continue
			}
			s := scanner{Meter: m, rest: data}
			for !s.ended {
				if err := s.item(); err != nil {
					t.Fatal(err)
				}
			}
			if len(s.rest) > 0 || len(s.open) > 0 {
				t.Fatalf("%x: %d bytes and %d containers are left", data, len(s.rest), len(s.open))
			}
		}
	})
}
