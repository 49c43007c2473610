package codectest

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"
)

// lossless is a codec that keeps the values themselves.
type lossless struct {
	good
	kept *any
}

func (l lossless) Marshal(v any) ([]byte, error) {
	if s := fmt.Sprintf("%T", v); strings.Contains(s, "chan") || strings.Contains(s, "func") {
		return nil, fmt.Errorf("unsupported type %s", s)
	}
	*l.kept = v
	return []byte("kept"), nil
}

func (l lossless) Unmarshal(_ []byte, v any) error {
	to := reflect.ValueOf(v)
	from := reflect.ValueOf(*l.kept)
	if from.Kind() == reflect.Pointer && from.Type() == to.Type() {
		from = from.Elem()
	}
	if from.IsValid() {
		to.Elem().Set(from)
	}
	return nil
}

func TestValues(t *testing.T) {
	Values(t, lossless{kept: new(any)}, Refuses("*/unsupported*", "unsupported type"))
}

func TestValuesFind(t *testing.T) {
	named := func(name string) value {
		for _, v := range append(values(), unsupported()...) {
			if v.name == name {
				return v
			}
		}
		t.Fatalf("there is no value %q", name)
		return value{}
	}
	for _, test := range []struct {
		name, value string
		codec       broken
		rule        Rule
		want        string // of the error, "" for none
	}{
		{"carried", "alone/list", broken{}, Rule{}, ""},
		{"lost", "alone/list", broken{unmarshal: func([]byte, any) error { return nil }}, Rule{}, "got []int null"},
		{"refused without a rule", "field/float NaN", broken{}, Rule{}, "NaN"},
		{"refused without the type", "field/float NaN", broken{}, Refuses("", "NaN"), "want the type codectest.Field[float64] in it"},
		{"refused with other words", "field/float NaN", broken{}, Refuses("", "not a number"), `want "not a number" in it`},
		{"carried against a rule", "field/list", broken{}, Refuses("", "no lists"), `want an error with "no lists"`},
		{"becomes", "field/text that is not UTF-8", broken{}, Becomes("", Field[string]{"a\ufffdb"}), ""},
		{"becomes another value", "field/text that is not UTF-8", broken{}, Becomes("", Field[string]{"a?b"}), "want codectest.Field[string]"},
		{"becomes what it is", "field/text", broken{}, Becomes("", named("field/text").v), "becomes what it is"},
		{"rounds in an any", "field/any uint64", broken{}, Rule{}, "got "},
		{"panics", "field/list", broken{marshal: func(any) ([]byte, error) { panic("list") }}, Rule{}, "panic: list"},
		{"maps of any keys", "alone/map of any", broken{unmarshal: func(_ []byte, v any) error {
			*v.(*map[string]any) = map[string]any{"list": map[any]any{"k": 1}}
			return nil
		}}, Rule{}, "got "},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := named(test.value).check(&test.codec, test.rule)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v; want %q", err, test.want)
			}
		})
	}
}

func TestRules(t *testing.T) {
	table := []value{{"alone/a", 1}, {"field/a", 1}, {"field/b c", 1}}
	rules := []Rule{Refuses("*/a", "first"), Carries("field/*"), Refuses("field/b*", "second")}
	for name, want := range map[string]string{"alone/a": "first", "field/a": "", "field/b c": "second", "field/c": "", "other": ""} {
		if got := ruleFor(name, rules).words; got != want {
			t.Errorf("the rule for %q refuses with %q; want %q", name, got, want)
		}
	}
	if errs := unused(table, rules); len(errs) != 0 {
		t.Errorf("unused rules: %v", errs)
	}
	if errs := unused(table, []Rule{Carries("*"), Carries("alone/b"), Carries("alone/a")}); len(errs) != 2 {
		t.Errorf("unused rules: %v; want two", errs)
	}
	if errs := unused(table, []Rule{Carries("[")}); len(errs) == 0 {
		t.Error("a pattern that is none is fine")
	}
}

func TestSame(t *testing.T) {
	type list struct{ V any }
	at := time.Date(2024, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, test := range []struct {
		name string
		a, b any
		want bool
	}{
		{"numbers in an any", 1, uint8(1), true},
		{"number and float", list{int64(2)}, list{2.0}, true},
		{"rounded", uint64(math.MaxUint64), float64(math.MaxUint64), false},
		{"json.Number", uint64(math.MaxUint64), json.Number("18446744073709551615"), true},
		{"json.Number that is none", 1, json.Number("x"), false},
		{"big number", *big.NewInt(7), 7, true},
		{"number and text", 1, "1", false},
		{"NaN", math.NaN(), math.NaN(), true},
		{"Inf", math.Inf(1), math.Inf(-1), false},
		{"big ints", big.NewInt(0), new(big.Int), true},
		{"nil and empty", []int(nil), []int{}, false},
		{"nil and empty map", map[string]int(nil), map[string]int{}, false},
		{"keys of maps", map[string]any{"a": 1}, map[string]any{"b": 1}, false},
		{"types of maps", map[string]any{"a": 1}, map[any]any{"a": 1}, false},
		{"nil and pointer", list{(*int)(nil)}, list{new(int)}, false},
		{"nil and something", list{}, list{1}, false},
		{"the same instant elsewhere", at, at.In(time.FixedZone("", 3600)), false},
		{"the same offset by another name", at, at.In(time.FixedZone("x", 0)), true},
		{"another nanosecond", at, at.Add(1), false},
		{"longer list", []any{1}, []any{1, 2}, false},
	} {
		if got := same(test.a, test.b); got != test.want || same(test.b, test.a) != test.want {
			t.Errorf("%s: same(%#v, %#v) = %t; want %t", test.name, test.a, test.b, got, test.want)
		}
	}
}

func TestAllocsIgnoresOthers(t *testing.T) {
	var sink []byte
	n := 0
	f := func() {
		if n++; n%10 != 0 { // 9 calls of 10 allocate
			sink = make([]byte, 8)
		}
	}
	Allocs(t, "one call in ten", 0, f)
	_ = sink
}
