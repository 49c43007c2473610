// Package codectest tests that a codec does what the engine relies on.
//
// The test of a codec is a few lines. It gives samples of the values that the codec
// supports, as values or as pointers, and what makes a value deep or large:
//
//	func TestConformance(t *testing.T) {
//		codectest.With(
//			codectest.Deep(func() any { return new(any) }, func(levels int) []byte {
//				return bytes.Repeat([]byte("["), levels)
//			}),
//			codectest.Wide(func() any { return new([]sample) }, func(elements int) []byte {
//				return append(bytes.Repeat([]byte("[]"), elements), ']')
//			}),
//		).Run(t, Codec{}, "text", map[string]int{"a": 1}, &sample{A: 1})
//	}
//
// Other options change what is expected of a codec:
//
//	codectest.With(codectest.TakesAnything(), codectest.Flat()).Run(t, Codec{}, "text")
//
// A codec for values of any Go type can also be tested with [Values], which finds
// what it loses without an error.
package codectest

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/suite"
)

// Run runs the suite as With() does, without options.
func Run(t *testing.T, c codec.Codec, values ...any) {
	t.Helper()
	With().Run(t, c, values...)
}

// Option changes what is expected of a codec.
type Option func(*Suite)

// Garbage sets the inputs that decoding into the type of each sample has to refuse.
// The default is "}{" and three bytes 0xff.
func Garbage(inputs ...[]byte) Option { return func(s *Suite) { s.garbage = inputs } }

// TakesAnything allows any bytes as an encoding of the types of the samples, as for
// plain text. They still must not make the codec panic.
func TakesAnything() Option { return func(s *Suite) { s.anything = true } }

// Equal sets the function that compares a decoded value with the sample. Both are
// pointers if the sample is one. The default is reflect.DeepEqual.
func Equal(equal func(got, want any) bool) Option { return func(s *Suite) { s.equal = equal } }

// Suite is the suite with its options. Use With to make one.
type Suite struct {
	garbage  [][]byte
	anything bool
	equal    func(got, want any) bool
	hostile  []hostile
	flat     bool
}

// hostile makes bodies that are larger once decoded.
type hostile struct {
	into func() any
	body func(n int) []byte
	deep bool
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

// Run runs the checks, each as a subtest. The values are samples of what c supports;
// there has to be one at least, and none is nil.
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

// subject is the codec under test and its samples.
type subject struct {
	Suite
	codec.Codec
	samples []sample
}

// sample is a value and how error messages name it.
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
	return suite.Safely(check.name, func() error { return check.run(sub) })
}

// fresh returns a pointer to a new zero value of the type of the sample, or of the
// type that it points to.
func (s sample) fresh() any {
	t := reflect.TypeOf(s.value)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return reflect.New(t).Interface()
}

// holds returns an error unless the pointer got, from fresh, holds the value of the
// sample.
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

// encode returns the encoding of the sample.
func (s subject) encode(sample sample) ([]byte, error) {
	data, err := s.Marshal(sample.value)
	if err != nil {
		return nil, fmt.Errorf("%s: Marshal: %w", sample.name, err)
	}
	return data, nil
}

// decodes returns an error unless data decodes to the sample.
func (s subject) decodes(data []byte, sample sample) error {
	v := sample.fresh()
	if err := s.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: Unmarshal(%.100q): %w", sample.name, data, err)
	}
	return s.holds(v, sample)
}
