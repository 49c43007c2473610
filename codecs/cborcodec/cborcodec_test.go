package cborcodec_test

import (
	"encoding/hex"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

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
	codectest.With(cborcodec.Hostile()...).Run(t, cborcodec.Codec{}, sample(), "text é", -7, 1.5, true, []byte{0, 255}, []int{1, 2}, map[string]int{"a": 1, "b": 2})
}

func TestValues(t *testing.T) {
	codectest.Values(t, cborcodec.Codec{},
		codectest.Refuses("*/text that is not UTF-8", "UTF-8"),
		codectest.Refuses("*/complex", "complex128"),
		codectest.Refuses("*/unsupported*", "unsupported type"),
		codectest.Refuses("*/time of the year 10000", "10000-01-01"),
		codectest.Becomes("field/pointer to time zero", codectest.Field[*time.Time]{}), // a zero time is null
	)
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
		{"time, as text with tag 0", time.Date(2013, 3, 21, 20, 4, 0, 0, time.UTC), "c074323031332d30332d32315432303a30343a30305a"},
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

// In an any there is what JSON can write, and times.
func TestAny(t *testing.T) {
	at := time.Date(2013, 3, 21, 20, 4, 0, 5e8, time.UTC)
	for _, test := range []struct {
		name, data string
		want       any
	}{
		{"map in a map", "a1616da1616b01", map[string]any{"m": map[string]any{"k": uint64(1)}}},
		{"map in an array", "81a0", []any{map[string]any{}}},
		{"time", "c0" + "76323031332d30332d32315432303a30343a30302e355a", at},
		{"time in seconds", "c11a514b67b0", time.Unix(1363896240, 0)},
		{"number of 65 bits", "c249010000000000000000", *new(big.Int).Lsh(big.NewInt(1), 64)},
	} {
		t.Run(test.name, func(t *testing.T) {
			data, err := hex.DecodeString(test.data)
			if err != nil {
				t.Fatal(err)
			}
			var got any
			if err := (cborcodec.Codec{}).Unmarshal(data, &got); err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("Unmarshal = %#v, %v; want %#v", got, err, test.want)
			}
		})
	}
}

// Times were a number of seconds; they still are for others.
func TestTimesOfOthers(t *testing.T) {
	at := time.Date(2013, 3, 21, 20, 4, 0, 0, time.UTC)
	for _, data := range []string{"1a514b67b0", "c11a514b67b0", "fb41d452d9ec000000", "74323031332d30332d32315432303a30343a30305a"} {
		b, err := hex.DecodeString(data)
		if err != nil {
			t.Fatal(err)
		}
		var got time.Time
		if err := (cborcodec.Codec{}).Unmarshal(b, &got); err != nil || !got.Equal(at) {
			t.Errorf("Unmarshal(%s) = %v, %v; want %v", data, got, err, at)
		}
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
		{"key that is a number, in an any", "a10102", "positive integer", new(any)},
		{"key that is a number, in a map of any", "a1616ba10102", "positive integer", new(map[string]any)},
		{"a key twice", "a2616101616102", "duplicate map key", new(map[string]int)},
		{"no UTF-8", "62c328", "invalid UTF-8", new(string)},
		{"an array of 2^32 claimed", "9affffffff", "array", new([]int)},
		{"a map of 2^31 claimed", "ba80000000", "map", new(map[int]int)},
		{"too deep", strings.Repeat("81", 100) + "00", "too complex: 65 levels of nesting or more, the limit is 64", new(any)},
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

func BenchmarkAppend(b *testing.B) { codectest.BenchAppend(b, cborcodec.Codec{}, sample()) }

func BenchmarkUnmarshal(b *testing.B) {
	codectest.BenchUnmarshal(b, cborcodec.Codec{}, sample(), func() any { return new(record) })
}
