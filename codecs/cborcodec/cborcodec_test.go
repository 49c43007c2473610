package cborcodec_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/codecs/cborcodec"
	"github.com/teleport-go/teleport/core/codectest"
)

type record struct {
	ID      int64          `json:"id"`
	Name    string         `json:"name"`
	Tags    []string       `json:"tags"`
	Extra   map[string]int `json:"extra,omitempty"`
	Payload []byte         `json:"payload"`
}

func sample() *record {
	return &record{ID: 42, Name: "benchmark", Tags: []string{"push", "call", "reply"}, Payload: make([]byte, 520)}
}

func TestConformance(t *testing.T) {
	codectest.Run(t, cborcodec.Codec{}, sample(), "text é", -7, 1.5, true, []byte{0, 255}, []int{1, 2}, map[string]int{"a": 1, "b": 2})
}

// The vectors are of RFC 8949, appendix A.
func TestVectors(t *testing.T) {
	for _, test := range []struct {
		name string
		v    any
		want string
	}{
		{"zero", 0, "00"},
		{"1000000", 1000000, "1a000f4240"},
		{"-1000", -1000, "3903e7"},
		{"1.5, in the shortest form", 1.5, "f93e00"},
		{"null", nil, "f6"},
		{"text", "IETF", "6449455446"},
		{"bytes", []byte{1, 2, 3, 4}, "4401020304"},
		{"array", []any{1, []any{2, 3}, []any{4, 5}}, "8301820203820405"},
		{"map, keys sorted", map[string]any{"b": []int{2, 3}, "a": 1}, "a26161016162820203"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := cborcodec.Codec{}.Append([]byte("head"), test.v)
			if got := hex.EncodeToString(b[4:]); got != test.want || err != nil {
				t.Errorf("Append = %s, %v; want %s", got, err, test.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, test := range []struct {
		name, data, want string
		v                any
	}{
		{"nothing", "", "EOF", new(any)},
		{"cut", "64494554", "unexpected EOF", new(string)},
		{"two items", "0101", "extraneous data", new(int)},
		{"wrong type", "6161", "cannot unmarshal UTF-8 text string", new(int)},
		{"a key twice", "a2616101616102", "duplicate map key", new(map[string]int)},
		{"no UTF-8", "62c328", "invalid UTF-8", new(string)},
		{"an array of 2^32 claimed", "9affffffff", "exceeded max number of elements", new([]int)},
		{"a map of 2^31 claimed", "ba80000000", "exceeded max number of key-value pairs", new(map[int]int)},
		{"too deep", strings.Repeat("81", 100) + "00", "exceeded max nested level", new(any)},
	} {
		t.Run(test.name, func(t *testing.T) {
			data, err := hex.DecodeString(test.data)
			if err != nil {
				t.Fatal(err)
			}
			err = cborcodec.Codec{}.Unmarshal(data, test.v)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "cbor codec: decode into *") {
				t.Errorf("Unmarshal: %v; want the type and %q", err, test.want)
			}
		})
	}
	if _, err := (cborcodec.Codec{}).Marshal(make(chan int)); err == nil || !strings.Contains(err.Error(), "chan int") {
		t.Errorf("Marshal of a channel: %v; want an error that names it", err)
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{"", "00", "a26161016162820203", "9affffffff", "8181", "c074", "5fff"} {
		data, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r record
		(cborcodec.Codec{}).Unmarshal(data, &r)
		var v any
		if err := (cborcodec.Codec{}).Unmarshal(data, &v); err != nil {
			return // refused, and nothing broke
		}
		again, err := cborcodec.Codec{}.Marshal(v)
		if err != nil {
			return // a tag that Go can read and not write
		}
		if err := (cborcodec.Codec{}).Unmarshal(again, &v); err != nil {
			t.Errorf("%x became %x: %v", data, again, err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	v, buf := sample(), make([]byte, 0, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (cborcodec.Codec{}).Append(buf, v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	data, err := cborcodec.Codec{}.Marshal(sample())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := (cborcodec.Codec{}).Unmarshal(data, new(record)); err != nil {
			b.Fatal(err)
		}
	}
}
