package codectest

import (
	"encoding"
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/suite"
)

// Field holds a value of the table in its only field.
type Field[T any] struct{ V T }

// Rule says what a codec does with some values of the table. A rule is about all
// values whose names match its pattern, which is one of [path.Match].
type Rule struct {
	names   string
	words   string // of the error; empty if the values are carried
	becomes any    // nil if a carried value arrives as it is
}

// Carries says that these values arrive equal, as all values do without a rule.
// It makes exceptions to a Refuses before it.
func Carries(names string) Rule { return Rule{names: names} }

// Refuses says that encoding or decoding these values is an error, which names
// the type and has words in it.
func Refuses(names, words string) Rule { return Rule{names: names, words: words} }

// Becomes says that these values arrive as another value of the same type, since
// the format has no way to tell the two apart.
func Becomes(names string, value any) Rule { return Rule{names: names, becomes: value} }

// Values runs a table of values through c, each a subtest: numbers at their
// limits, times, nested values, pointers, and what else a format can lose without
// an error. A value arrives equal, unless a rule says otherwise; the last rule
// that matches counts, and each has to match.
//
// The values are named alone/NAME, where they are the whole body, and field/NAME,
// where they are in a [Field]. Values is not a part of Run: a codec for types of
// its own has no use for it, but to see that all others are refused.
func Values(t *testing.T, c codec.Codec, rules ...Rule) {
	t.Helper()
	table := append(values(), unsupported()...)
	for _, err := range unused(table, rules) {
		t.Error(err)
	}
	for _, v := range table {
		t.Run(v.name, func(t *testing.T) {
			if err := v.check(c, ruleFor(v.name, rules)); err != nil {
				t.Error(err)
			}
		})
	}
}

// unused returns an error for each rule that matches no value.
func unused(table []value, rules []Rule) (errs []error) {
	for _, r := range rules {
		n := 0
		for _, v := range table {
			ok, err := path.Match(r.names, v.name)
			if err != nil {
				errs = append(errs, fmt.Errorf("rule %q: %w", r.names, err))
			}
			if ok {
				n++
			}
		}
		if n == 0 {
			errs = append(errs, fmt.Errorf("rule %q matches no value", r.names))
		}
	}
	return errs
}

func ruleFor(name string, rules []Rule) (rule Rule) {
	for _, r := range rules {
		if ok, _ := path.Match(r.names, name); ok {
			rule = r
		}
	}
	return rule
}

// value is a row of the table.
type value struct {
	name string
	v    any
}

// check encodes and decodes the value and compares the end with the rule.
func (v value) check(c codec.Codec, rule Rule) error {
	var got any
	err := suite.Safely(v.name, func() (err error) {
		got, err = travel(c, v.v)
		return err
	})
	if rule.words != "" {
		switch {
		case err == nil:
			return fmt.Errorf("%#v arrives as %#v; want an error with %q", v.v, got, rule.words)
		case !strings.Contains(err.Error(), rule.words):
			return fmt.Errorf("error %q; want %q in it", err, rule.words)
		case v.v != nil && !strings.Contains(err.Error(), fmt.Sprintf("%T", v.v)):
			return fmt.Errorf("error %q; want the type %T in it", err, v.v)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("%#v: %w", v.v, err)
	}
	want := v.v
	if rule.becomes != nil {
		if same(v.v, rule.becomes) {
			return fmt.Errorf("a rule says that %#v becomes what it is", v.v)
		}
		want = rule.becomes
	}
	if !same(got, want) {
		return fmt.Errorf("got %s; want %s", describe(got), describe(want))
	}
	// A program that logs a body, or hands it on, writes it as JSON.
	if _, err := json.Marshal(want); err == nil {
		if _, err := json.Marshal(got); err != nil {
			return fmt.Errorf("what arrived is no JSON any more: %w", err)
		}
	}
	return nil
}

// travel returns what v arrives as: a value of its type. As in the engine a body
// of no bytes is not decoded.
func travel(c codec.Codec, v any) (any, error) {
	data, err := c.Marshal(v)
	if err != nil {
		return nil, err
	}
	t := reflect.TypeOf(v)
	if t == nil {
		t = reflect.TypeFor[any]()
	}
	to := reflect.New(t)
	if t.Kind() == reflect.Pointer {
		to = reflect.New(t.Elem())
	}
	if len(data) > 0 {
		if err := c.Unmarshal(data, to.Interface()); err != nil {
			return nil, err
		}
	}
	if t.Kind() == reflect.Pointer {
		return to.Interface(), nil
	}
	return to.Elem().Interface(), nil
}

// describe returns a value as an error message shows it: with what pointers in it
// point to, as far as JSON can say it.
func describe(v any) string {
	if b, err := json.Marshal(v); err == nil {
		return fmt.Sprintf("%T %s (%#v)", v, b, v)
	}
	return fmt.Sprintf("%#v", v)
}

// word is a type of the table whose only encoding is its text.
type word struct{ text string }

var (
	_ encoding.TextMarshaler   = (*word)(nil)
	_ encoding.TextUnmarshaler = (*word)(nil)
)

func (w *word) MarshalText() ([]byte, error) { return []byte("<" + w.text + ">"), nil }

func (w *word) UnmarshalText(b []byte) error {
	w.text = strings.Trim(string(b), "<>")
	return nil
}
