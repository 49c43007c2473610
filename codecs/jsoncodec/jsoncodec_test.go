package jsoncodec

import (
	"encoding/json"
	"errors"
	"math"
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
	codectest.Run(t, Codec{},
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
	var syntax *json.SyntaxError
	for _, test := range []struct {
		name string
		data string
		v    any
		want string
	}{
		{"newline in a string", "\"a\nb\"", new(string), `json codec: decode into *string: invalid character '\n' in string literal`},
		{"wrong type", `"a"`, &n, "json codec: decode into *int: json: cannot unmarshal string"},
		{"no pointer", `1`, n, "json codec: decode into int: json: Unmarshal(non-pointer int)"},
		{"nil", `1`, nil, "json codec: decode into <nil>: json: Unmarshal(nil)"},
		{"two values", `1 2`, &n, "json codec: decode into *int: invalid character '2' after"},
		{"nothing", ``, &n, "json codec: decode into *int: unexpected end of JSON input"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Codec{}.Unmarshal([]byte(test.data), test.v)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("Unmarshal(%q): error\n got %v\nwant %s", test.data, err, test.want)
			}
		})
	}
	if err := (Codec{}).Unmarshal([]byte("}"), &n); !errors.As(err, &syntax) {
		t.Errorf("%v does not wrap the error of encoding/json", err)
	}
}

func TestRegistered(t *testing.T) {
	if b, err := codec.Marshal('j', []int{1}); err != nil || string(b) != "[1]" {
		t.Errorf("codec.Marshal = %q, %v", b, err)
	}
}

func BenchmarkAppend(b *testing.B) {
	v := &sample{Text: "a text of some length", List: []int{1, 2, 3}}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (Codec{}).Append(buf, v); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{"", "null", `{"text":"a","list":[1],"map":{"k":[{}]},"inner":{"text":"b"}}`, `"\u2028`, "[1e999]"} {
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
