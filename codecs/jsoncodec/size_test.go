package jsoncodec

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codectest"
)

// large is a struct that a few bytes describe.
type large struct {
	A, B, C, D, E, F, G, H string
	Next                   *large                      `json:"next"`
	Small                  []struct{ X, Y, Z float64 } `json:"small"`
	Maps                   map[string]*large
	Lists                  [][]large
	Raw                    json.RawMessage
	embedded
}

type embedded struct{ Deeper []large }

// list returns n elements in brackets.
func list(n int, start, element, end string) []byte {
	return []byte(start + strings.Repeat(element+",", n-1) + element + end)
}

func into[T any]() any { return new(T) }

// hostile is what makes values deep or large.
func hostile() []codectest.Option {
	return []codectest.Option{
		codectest.Deep(into[any], func(n int) []byte {
			return []byte(strings.Repeat(`[`, n) + strings.Repeat(`]`, n))
		}),
		codectest.Deep(into[large], func(n int) []byte {
			return []byte(strings.Repeat(`{"next":`, n-1) + "{}" + strings.Repeat(`}`, n-1))
		}),
		codectest.Deep(into[struct{}], func(n int) []byte { // skipped
			return []byte(strings.Repeat(`{"x":`, n) + "0" + strings.Repeat(`}`, n))
		}),
		codectest.Wide(into[[]large], func(n int) []byte { return list(n, "[", "{}", "]") }),
		codectest.Wide(into[[]large], func(n int) []byte { return list(n, "[", "null", "]") }),
		codectest.Wide(into[[]*large], func(n int) []byte { return list(n, "[", "{}", "]") }),
		codectest.Wide(into[*large], func(n int) []byte { return list(n, `{"LISTS":[[`, "{}", "]]}") }),
		codectest.Wide(into[large], func(n int) []byte { return list(n, `{"\u004cists":[`, "[{}]", "]}") }),
		codectest.Wide(into[large], func(n int) []byte { return list(n, `{"Deeper":[`, "{}", "]}") }),
		codectest.Wide(into[large], func(n int) []byte { return list(n, `{"Maps":{"\\\"":{"ſmall":[`, `{"X":1}`, "]}}}") }),
		codectest.Wide(into[large], func(n int) []byte { return list(n, `{"next":{"next":{"Deeper": [ `, " {} ", "]}}}") }),
		codectest.Wide(into[any], func(n int) []byte { return list(n, "[", `{"a":0}`, "]") }),
		codectest.Wide(into[any], func(n int) []byte { return list(n, "[", "[]", "]") }),
		codectest.Wide(into[any], func(n int) []byte { return list(n, "[", `""`, "]") }),
		codectest.Wide(into[[]any], func(n int) []byte { return list(n, "[", "{}", "]") }),
		codectest.Wide(into[[]map[string]int], func(n int) []byte { return list(n, "[", `{"a":1}`, "]") }),
	}
}

// Large bodies of usual values are not refused.
func TestUsualSizes(t *testing.T) {
	type row struct {
		ID             int
		Name, Mail     string
		Tags           []string
		Props          map[string]string
		At, Changed    string
		A, B, C, D, E  *float64
		Points         []struct{ X, Y int }
		Any            any
		R1, R2, R3, R4 []string
	}
	usual := row{ID: 123456, Name: "a name", Mail: "somebody@example.com", Tags: []string{"a", "b"}, Props: map[string]string{"colour": "blue"}, At: "2024-01-01"}
	b, err := json.Marshal(usual)
	if err != nil {
		t.Fatal(err)
	}
	rows := list(8<<20/len(b), "[", string(b), "]")
	for _, test := range []struct {
		body []byte
		into any
	}{
		{rows, new([]row)},
		{rows, new([]*row)},
		{rows, new([]map[string]any)},
		{rows, new(any)},
		{list(4<<20, "[", "123", "]"), new(any)},
		{list(8<<20, "[", "0", "]"), new([]int)},
		{list(4<<20, "[", `"a"`, "]"), new([]string)},
		{list(1<<20, "[", `{"id":1,"name":"a name"}`, "]"), new(any)},
	} {
		if err := checkSize(test.body, test.into, nil); err != nil {
			t.Errorf("%d MiB of %.100s into %T: %v", len(test.body)>>20, test.body, test.into, err)
		}
	}
	points := list(100_000, `{"Name":"track","Points":[`, `{"X":1,"Y":2}`, "]}")
	if err := checkSize(points, new(row), nil); err != nil {
		t.Errorf("many small elements beside a large struct: %v", err)
	}
}

// What is measured is what is decoded, also if it is written in unusual ways.
func FuzzSize(f *testing.F) {
	for _, h := range []string{`{"next":{"Small":[{"X":1},{}]},"Maps":{"a\"b\\":{}}}`, `[{},[],"",0,null]`, `{"`, `"\`, `}]`, `{"\u004cists":[[{}]]}`, "{\"a\" :\n1}"} {
		f.Add([]byte(h))
	}
	defer codec.SetLimits(codec.CurrentLimits())
	codec.SetLimits(codec.Limits{Depth: 5, Memory: 1000, Factor: 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, v := range []any{new(any), new(large), new([]large)} {
			err := checkSize(data, v, nil)
			if err != nil && !errors.Is(err, codec.ErrTooComplex) {
				t.Fatalf("%q: %v", data, err)
			}
			if err == nil && json.Valid(data) && len(data) > 5 && levels(data) > 5 {
				t.Fatalf("%q has %d levels", data, levels(data))
			}
		}
	})
}

// levels returns how many levels JSON has.
func levels(data []byte) int {
	deepest, n := 0, 0
	d := json.NewDecoder(bytes.NewReader(data))
	for {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			n++
			deepest = max(deepest, n)
		case json.Delim(']'), json.Delim('}'):
			n--
		}
	}
}

func BenchmarkSize(b *testing.B) {
	body := list(20_000, "[", `{"id":12345,"name":"a name","mail":"a@example.com","tags":["x","y"]}`, "]")
	b.Run("measure", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			if err := checkSize(body, new(any), nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			if err := json.Unmarshal(body, new(any)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
