package codectest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
)

// limits is a codec of lists in lists, which are brackets, and of as many words as there
// are bytes.
type limits struct {
	good
	depth, bytes func(n int) error // why so much is refused
}

func (l limits) Unmarshal(data []byte, v any) error {
	words, ok := v.(*[]int64)
	if !ok {
		return json.Unmarshal(data, v)
	}
	if n := bytes.Count(data, []byte{'['}); n > 0 {
		return l.depth(n)
	}
	if err := l.bytes(8 * len(data)); err != nil {
		return err
	}
	*words = make([]int64, len(data))
	return nil
}

// measuring is limits as a codec.Measurer.
type measuring struct {
	limits
	reserve func(a codec.Account, n int) error
}

func (m measuring) DecodeMeasured(data []byte, v any, _ codec.Mode, a codec.Account) error {
	if err := m.reserve(a, 8*len(data)); err != nil {
		return fmt.Errorf("test codec: %w", err)
	}
	return m.Unmarshal(data, v)
}

// over returns an error like those of codecs.
func over(what string, limit func(l codec.Limits) int) func(n int) error {
	return func(n int) error {
		if limit := limit(codec.CurrentLimits()); n > limit {
			return fmt.Errorf("test codec: %w", &codec.LimitError{What: what, Limit: limit, Found: n})
		}
		return nil
	}
}

func TestLimits(t *testing.T) {
	depth := over("levels", func(l codec.Limits) int { return l.Depth })
	memory := over("bytes", func(l codec.Limits) int { return l.Memory })
	words := func() any { return new([]int64) }
	deep := Deep(words, func(n int) []byte { return bytes.Repeat([]byte{'['}, n) })
	wide := Wide(words, func(n int) []byte { return make([]byte, n) })
	for _, test := range []struct {
		name    string
		options []Option
		codec   limits
		want    string // of the error; empty if the codec is as it should be

		measures func(a codec.Account, n int) error // nil: it is no Measurer
	}{
		{"good, with an account", []Option{wide}, limits{bytes: memory}, "", func(a codec.Account, n int) error { return a.Reserve(n) }},
		{"reserves too little", []Option{wide}, limits{bytes: memory}, "are reserved for a body", func(a codec.Account, n int) error { return a.Reserve(n / 4) }},
		{"does not ask the account", []Option{wide}, limits{bytes: memory}, "want its error", func(a codec.Account, n int) error { a.Reserve(n); return nil }},
		{"reserves when it has allocated", []Option{wide}, limits{bytes: memory}, "that an account refuses", func(a codec.Account, n int) error {
			sink = make([]byte, n)
			return a.Reserve(n)
		}},
		{"good", []Option{deep, wide}, limits{depth: depth, bytes: memory}, "", nil},
		{"good, deep", []Option{deep}, limits{depth: depth, bytes: memory}, "", nil},
		{"good, with a depth of its own", []Option{deep}, limits{depth: over("levels", func(codec.Limits) int { return 7 })}, "", nil},
		{"flat", []Option{Flat()}, limits{}, "", nil},
		{"says nothing", nil, limits{}, "say with Deep and Wide", nil},
		{"any depth", []Option{deep}, limits{depth: func(int) error { return nil }}, "101 levels are accepted", nil},
		{"another limit than the one it names", []Option{deep}, limits{depth: func(n int) error {
			if n < 50 {
				return nil
			}
			return depth(n + 100)
		}}, "50 levels are refused", nil},
		{"another error", []Option{deep}, limits{depth: func(int) error { return errors.New("no") }}, "want a codec.LimitError", nil},
		{"an error without the name of the codec", []Option{deep}, limits{depth: func(n int) error { return errors.Unwrap(depth(n)) }}, `want "test codec"`, nil},
		{"depth only after it has allocated", []Option{deep}, limits{depth: func(n int) error {
			sink = make([]byte, 10_000*n)
			return depth(n)
		}}, "are refused after", nil},
		{"any memory", []Option{wide}, limits{bytes: func(int) error { return nil }}, "are accepted", nil},
		{"more memory than it counts", []Option{wide}, limits{bytes: func(n int) error { return memory(n / 4) }}, "once decoded", nil},
		{"memory only after it has allocated", []Option{wide}, limits{bytes: func(n int) error {
			sink = make([]byte, 4*n)
			return memory(n)
		}}, "are refused after", nil},
		{"memory with another error", []Option{wide}, limits{bytes: func(n int) error { return errors.New("no") }}, "want a codec.LimitError", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := codec.CurrentLimits()
			c := codec.Codec(test.codec)
			if test.measures != nil {
				c = measuring{test.codec, test.measures}
			}
			err := With(test.options...).check(check{"limits", limited}, c, samples())
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v; want %q", err, test.want)
			}
			if now := codec.CurrentLimits(); now != before {
				t.Errorf("the suite has left the limits %+v; they were %+v", now, before)
			}
		})
	}
}

var sink []byte
