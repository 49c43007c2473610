// Package codectest asks of a codec what the engine relies on.
//
// A codec proves it in one line of its tests, with a few samples of what it
// carries, as values or as pointers:
//
//	func TestConformance(t *testing.T) {
//		codectest.Run(t, Codec{}, "text", map[string]int{"a": 1}, &sample{A: 1})
//	}
//
// What is special about a codec is said before:
//
//	codectest.With(codectest.TakesAnything()).Run(t, Codec{}, "text")
package codectest

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
)

// Run runs the suite as With() does, without options.
func Run(t *testing.T, c codec.Codec, values ...any) {
	t.Helper()
	With().Run(t, c, values...)
}

// Option says what is special about a codec.
type Option func(*Suite)

// Garbage replaces the inputs which every sample's type has to refuse. The
// usual ones are "}{" and three bytes 0xff.
func Garbage(inputs ...[]byte) Option { return func(s *Suite) { s.garbage = inputs } }

// TakesAnything says that any bytes are a good encoding for the types of the
// samples, as for plain text. They still must not make the codec panic.
func TakesAnything() Option { return func(s *Suite) { s.anything = true } }

// Equal replaces reflect.DeepEqual for the comparison of what was decoded with
// the sample. Both are pointers if the sample is one.
func Equal(equal func(got, want any) bool) Option { return func(s *Suite) { s.equal = equal } }

// Suite is the suite with its options. Make one with With.
type Suite struct {
	garbage  [][]byte
	anything bool
	equal    func(got, want any) bool
}

// With returns the suite with these options.
func With(options ...Option) Suite {
	s := Suite{
		garbage: [][]byte{[]byte("}{"), {0xff, 0xff, 0xff}},
		equal:   reflect.DeepEqual,
	}
	for _, o := range options {
		o(&s)
	}
	return s
}

// Run asks everything of c, each question a subtest. The values are samples of
// what c carries; there must be one at least, and none is nil.
func (s Suite) Run(t *testing.T, c codec.Codec, values ...any) {
	t.Helper()
	for _, check := range checks {
		t.Run(check.name, func(t *testing.T) {
			if err := s.check(check, c, values); err != nil {
				t.Error(err)
			}
		})
	}
}

// subject is what a check is made on.
type subject struct {
	Suite
	codec.Codec
	samples []sample
}

// sample is a value and, for messages, what it is.
type sample struct {
	value any
	name  string
}

type check struct {
	name string
	run  func(subject) error
}

func (s Suite) check(check check, c codec.Codec, values []any) error {
	sub := subject{s, c, nil}
	for i, v := range values {
		if v == nil {
			return fmt.Errorf("sample %d is nil: give values that the codec carries", i)
		}
		sub.samples = append(sub.samples, sample{v, fmt.Sprintf("sample %d (%T)", i, v)})
	}
	if len(values) == 0 {
		return fmt.Errorf("no samples: give values that the codec carries")
	}
	return safely(check.name, func() error { return check.run(sub) })
}

// safely turns a panic into an error.
func safely(what string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: panic: %v", what, r)
		}
	}()
	return f()
}

// fresh returns a pointer to a new zero value of the sample's type, or of what
// the sample points to.
func (s sample) fresh() any {
	t := reflect.TypeOf(s.value)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return reflect.New(t).Interface()
}

// holds reports whether the pointer got, from fresh, holds the sample's value.
func (s subject) holds(got any, sample sample) error {
	if reflect.TypeOf(sample.value).Kind() != reflect.Pointer {
		got = reflect.ValueOf(got).Elem().Interface()
	}
	if !s.equal(got, sample.value) {
		return fmt.Errorf("%s: got %+v; want %+v", sample.name, show(got), show(sample.value))
	}
	return nil
}

func show(v any) any {
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && !r.IsNil() {
		return r.Elem().Interface()
	}
	return v
}

// decodes reports whether data decodes to the sample.
func (s subject) decodes(data []byte, sample sample) error {
	v := sample.fresh()
	if err := s.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: Unmarshal(%.100q): %w", sample.name, data, err)
	}
	return s.holds(v, sample)
}
