package jsoncodec

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codectest"
)

type sample struct {
	Text  string         `json:"text"`
	List  []int          `json:"list"`
	Map   map[string]any `json:"map"`
	Inner *sample        `json:"inner,omitempty"`
}

func TestConformance(t *testing.T) {
	codectest.With(hostile()...).Run(t, Codec{},
		"quote \" backslash \\ newline \n <html> & \u2028 é",
		-12.5, true, []int{1, 2, 3}, []byte("bytes\x00\xff"), map[string]int{"a": 1, "b": 2},
		sample{Text: "value"},
		&sample{"pointer", []int{1}, map[string]any{"k": "v"}, &sample{Text: "inner"}})
}

// nested encodes a body in its MarshalJSON.
type nested struct{ inner any }

func (n nested) MarshalJSON() ([]byte, error) { return Codec{}.Append(nil, n.inner) }

func TestSameAsMarshal(t *testing.T) {
	for _, test := range []struct {
		name string
		v    any
		want string
	}{
		{"nil", nil, `null`},
		{"nil pointer", (*sample)(nil), `null`},
		{"list", []int{1, 2, 3}, `[1,2,3]`},
		{"bytes", []byte("hi"), `"aGk="`},
		{"HTML", "<a> & b", `"\u003ca\u003e \u0026 b"`},
		{"raw message", json.RawMessage("[1,\n 2]"), `[1,2]`},
		{"ends in a newline", "a\n", `"a\n"`},
		{"encodes while it is encoded", nested{nested{[]string{"x"}}}, `["x"]`},
		{"no number", math.NaN(), ``},
		{"channel", make(chan int), ``},
		{"MarshalJSON fails", nested{make(chan int)}, ``},
		{"text, large", strings.Repeat("é<", 1<<15), `"` + strings.Repeat(`é\u003c`, 1<<15) + `"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, aerr := Codec{}.Append([]byte("head"), test.v)
			m, merr := Codec{}.Marshal(test.v)
			if string(a) != "head"+test.want || (aerr == nil) != (test.want != "") {
				t.Errorf("Append = %.100q, %v; want %.100q", a, aerr, "head"+test.want)
			}
			if string(m) != test.want || (merr == nil) != (test.want != "") {
				t.Errorf("Marshal = %.100q, %v; want %.100q", m, merr, test.want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	var n int
	for _, test := range []struct {
		name  string
		data  string
		v     any
		into  string
		cause any // for errors.As
	}{
		{"newline in a string", "\"a\nb\"", new(string), "*string", new(*json.SyntaxError)},
		{"wrong type", `"a"`, &n, "*int", new(*json.UnmarshalTypeError)},
		{"no pointer", `1`, n, "int", new(*json.InvalidUnmarshalError)},
		{"nil", `1`, nil, "<nil>", new(*json.InvalidUnmarshalError)},
		{"two values", `1 2`, &n, "*int", new(*json.SyntaxError)},
		{"nothing", ``, &n, "*int", new(*json.SyntaxError)},
		{"a byte order mark alone", "\ufeff", &n, "*int", new(*json.SyntaxError)},
		{"two byte order marks", "\ufeff\ufeff1", &n, "*int", new(*json.SyntaxError)},
		{"too large for any", `[12345678901234567890, 1e999]`, new(any), "*interface {}", new(*json.UnmarshalTypeError)},
		{"cut behind a long integer", `[12345678901234567890`, new(any), "*interface {}", new(*json.SyntaxError)},
		{"two values, one long", `12345678901234567890 2`, new(any), "*interface {}", new(*json.SyntaxError)},
		{"wrong type, and a long integer", `{"list":"a","map":{"k":12345678901234567890}}`, new(sample), "*jsoncodec.sample", new(*json.UnmarshalTypeError)},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Codec{}.Unmarshal([]byte(test.data), test.v)
			if err == nil || !strings.HasPrefix(err.Error(), "json codec: decode into "+test.into+": ") || !errors.As(err, test.cause) {
				t.Errorf("Unmarshal(%q): error %v; want %T and the type %s", test.data, err, test.cause, test.into)
			}
		})
	}
}

func TestByteOrderMark(t *testing.T) {
	n := 0
	if err := (Codec{}).Unmarshal([]byte("\ufeff 7"), &n); err != nil || n != 7 {
		t.Errorf("Unmarshal = %d, %v; want 7", n, err)
	}
}

func TestNotUTF8(t *testing.T) {
	type texts struct {
		List  []any          `json:"list"`
		Map   map[string]any `json:"map"`
		Bytes []byte
		Out   string `json:"-"`
		mine  string
	}
	bad := "é\xff"
	for name, test := range map[string]struct {
		v    any
		want string // "" if it is encoded
	}{
		"alone":               {bad, "text that is not UTF-8: byte 2 is 0xff"},
		"in a list":           {&texts{List: []any{"a", &bad}}, "field List: text that is not UTF-8: byte 2"},
		"key of a map":        {texts{Map: map[string]any{bad: 1}}, "field Map: "},
		"in a map":            {texts{Map: map[string]any{"\ufffd": []string{bad}}}, "field Map: "},
		"MarshalText":         {[]text{text(bad)}, "text that is not UTF-8: byte 2"},
		"bytes are no text":   {texts{List: []any{"\ufffd"}, Bytes: []byte(bad), Out: bad, mine: bad}, ""},
		"MarshalJSON may":     {[]any{json.RawMessage(`"\ufffd"`), "\ufffd"}, ""},
		"U+FFFD, and escaped": {"\ufffd \\ufffd", ""},
		"nil, and a U+FFFD":   {[]any{nil, (*string)(nil), "\ufffd"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Codec{}.Append([]byte("head"), test.v)
			_, merr := Codec{}.Marshal(test.v)
			if (err == nil) != (merr == nil) {
				t.Errorf("Append says %v, Marshal says %v", err, merr)
			}
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
			} else if !errors.Is(err, errNotUTF8) || !strings.Contains(err.Error(), test.want) || string(b) != "head" {
				t.Errorf("Append = %q, %v; want head and %q", b, err, test.want)
			}
		})
	}
	for _, data := range []string{"\"\xff\"", "{\"\xc3\":1}", "1\xff", "\xff"} {
		var v any
		if err := (Codec{}).Unmarshal([]byte(data), &v); !errors.Is(err, errNotUTF8) || v != nil {
			t.Errorf("Unmarshal(%q) = %v, %v; want %v", data, v, err, errNotUTF8)
		}
	}
}

func TestSurrogates(t *testing.T) {
	const half = "text that is not UTF-8: byte "
	for _, test := range []struct{ data, want string }{
		{`"\ud83d\ude00"`, "\U0001f600"},
		{`"a\uD83D\uDE00b\u00e9\n"`, "a\U0001f600bé\n"},
		{`"\ufffd \\ud83d \\\\"`, "\ufffd \\ud83d \\\\"},
		{`"\ud83d"`, half + `1 is the start of \ud83d`},
		{`"a\ud83d\n"`, half + "2"},
		{`"\ud83d\u0041"`, half + "1"},
		{`"\ud83d\ud83d\ude00"`, half + "1"},
		{`"\\\\\ude00\ud83d"`, half + "5"},
		{`"\ud83d\u"`, half + "1"},
		{`"\ud8`, "json codec: decode into *string: "},
		{`"\`, "json codec: decode into *string: "},
		{`"\uzzzz"`, "json codec: decode into *string: "},
	} {
		var got string
		if err := (Codec{}).Unmarshal([]byte(test.data), &got); err != nil {
			got = err.Error()
		}
		if got != test.want && !(strings.Contains(test.want, ": ") && strings.Contains(got, test.want)) {
			t.Errorf("Unmarshal(%s) = %q; want %q", test.data, got, test.want)
		}
	}
}

// text has a MarshalText.
type text string

func (t text) MarshalText() ([]byte, error) { return []byte(t), nil }

// An integer is a json.Number in an any, if a float64 would round it.
func TestIntegersInAny(t *testing.T) {
	type holder struct {
		V    any
		P    *any
		L    []any
		M    map[string][]any
		S    []struct{ V any }
		N    json.Number
		ID   uint64
		F    float64
		Self *holder `json:"-"`
	}
	const big, round = "12345678901234567891", "9007199254740994" // 2^53+2
	data := `{"V":` + big + `,"P":-9007199254740993,"L":[` + round + `,1,1.5,{"k":` + big + `},"` + big + `"],` +
		`"M":{"a":[` + big + `,2]},"S":[{"V":[` + big + `]}],"N":` + round + `,"ID":` + big + `,"F":` + big + `}`
	var got holder
	got.Self = &got
	if err := (Codec{}).Unmarshal([]byte(data), &got); err != nil {
		t.Fatal(err)
	}
	num := json.Number(big)
	want := holder{
		V: num, P: new(any), L: []any{9007199254740994.0, 1.0, 1.5, map[string]any{"k": num}, big},
		M: map[string][]any{"a": {num, 2.0}}, S: []struct{ V any }{{[]any{num}}}, N: round, ID: 12345678901234567891, F: 12345678901234567891,
	}
	*want.P = json.Number("-9007199254740993")
	got.Self = nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Unmarshal\n got %+v\nwant %+v", got, want)
	}
	again, err := Codec{}.Marshal(got.L)
	if want := `[9007199254740994,1,1.5,{"k":` + big + `},"` + big + `"]`; string(again) != want || err != nil {
		t.Errorf("Marshal = %s, %v; want %s", again, err, want)
	}
}

func TestHasLongInteger(t *testing.T) {
	for n := range 40 {
		for _, head := range []string{"", "[", "[1,2,3,", strings.Repeat(" ", 31)} {
			data := head + strings.Repeat("1", n) + "]"
			if got, want := hasLongInteger([]byte(data)), n >= longInteger; got != want {
				t.Errorf("hasLongInteger(%q) = %t; want %t", data, got, want)
			}
		}
	}
}

func TestValues(t *testing.T) {
	codectest.Values(t, Codec{},
		codectest.Refuses("*/text that is not UTF-8", "text that is not UTF-8: byte 1 is 0xff"),
		codectest.Refuses("*/float NaN", "json codec: encode"),
		codectest.Refuses("*/float Inf", "json codec: encode"),
		codectest.Refuses("*/complex", "json codec: encode"),
		codectest.Refuses("*/unsupported*", "json codec: encode"),
		codectest.Refuses("*/time of the year 10000", "json codec: encode"),
		codectest.Refuses("*/map of words by value", "the values of map[string]codectest.word have their methods by pointer"),
	)
}

func TestRegistered(t *testing.T) {
	if b, err := codec.Marshal('j', []int{1}); err != nil || string(b) != "[1]" {
		t.Errorf("codec.Marshal = %q, %v", b, err)
	}
}

func BenchmarkAppend(b *testing.B) {
	codectest.BenchAppend(b, Codec{}, &sample{Text: "a text of some length", List: []int{1, 2, 3}})
}

func BenchmarkUnmarshal(b *testing.B) {
	v := &sample{Text: "a text of some length", List: []int{1, 2, 3}, Map: map[string]any{"k": 0.5}}
	codectest.BenchUnmarshal(b, Codec{}, v, func() any { return new(sample) })
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{"", "null", `{"text":"a","list":[1],"map":{"k":[{}]},"inner":{"text":"b"}}`, `"\u2028`, "[1e999]", "\ufeff{}", `{"map":{"k":[12345678901234567890,-9007199254740993]}}`, "\"\xff\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v sample
		if (Codec{}).Unmarshal(data, &v) != nil {
			return
		}
		out, err := Codec{}.Append(nil, &v)
		if err != nil {
			t.Fatalf("what was decoded from %q does not encode: %v", data, err)
		}
		if err := (Codec{}).Unmarshal(out, new(sample)); err != nil {
			t.Fatalf("%q does not decode: %v", out, err)
		}
	})
}
