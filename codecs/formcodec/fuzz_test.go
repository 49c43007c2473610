package formcodec

import (
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codectest"

	"github.com/teleport-go/teleport/core/codec"
)

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{
		"", "&", "=", "%", "a=%4", "id=1&id=2", "Zip=+%2B", "Ratio=NaN&Big=-Inf&Angle=(1%2B2i)", "Day=2024-02-29",
		"Flags=&Flags=1&Ports=1&Ports=2&Ports=3", "At=0000-01-01T00:00:00-23:59", "Sum=0x&Addr=::1%25eth0", golden(f, "struct"), golden(f, "values"),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, v := range []any{new(order), new(any), new(map[string]string), new(map[name][]int16)} {
			if (Codec{}).Unmarshal(data, v) != nil {
				continue // refused, and nothing broke
			}
			text, err := Codec{}.Marshal(v)
			if errors.Is(err, codec.ErrTooComplex) {
				continue // a list and the other fields, which are always written
			}
			if err != nil {
				t.Fatalf("%T from %q does not encode: %v", v, data, err)
			}
			again := reflect.New(reflect.TypeOf(v).Elem()).Interface()
			if err := (Codec{}).Unmarshal(text, again); err != nil {
				t.Fatalf("%T from %q: %q does not decode: %v", v, data, text, err)
			}
			if same, err := (Codec{}).Marshal(again); err != nil || string(same) != string(text) {
				t.Fatalf("%T from %q: encodes to\n%q, then to\n%q, %v", v, data, text, same, err)
			}
		}
	})
}

// FuzzQuery compares with net/url.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"", "a=b&a=c&&d", "%zz", "%4", "+%20%2b", "é=\xff", "=&==", "a%3db=%26"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := string(appendEscaped(nil, s)), url.QueryEscape(s); got != want {
			t.Fatalf("escaped %q = %q; want %q", s, got, want)
		}
		if strings.Contains(s, ";") || strings.Count(s, "&") >= maxPairs {
			return // url.ParseQuery refuses the first
		}
		var got url.Values
		err := Codec{}.Unmarshal([]byte(s), &got)
		want, wantErr := url.ParseQuery(s)
		if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q = %q, %v; want %q, %v", s, got, err, want, wantErr)
		}
	})
}

// typical is a body of 581 bytes with texts, a number and a list in it.
type typical struct {
	ID    int64    `form:"id"`
	Name  string   `form:"name"`
	Text  string   `form:"text"`
	Tags  []string `form:"tag"`
	Admin bool     `form:"admin"`
	Score float64  `form:"score"`
}

const typicalSize = 581

func sample(t testing.TB) (*typical, []byte) {
	v := &typical{ID: 123456789, Name: "Ann Example", Tags: []string{"push", "call", "reply"}, Score: 0.75}
	b, err := Codec{}.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	v.Text = strings.Repeat("some words and so on ", 50)[:typicalSize-len(b)]
	b, err = Codec{}.Marshal(v)
	if err != nil || len(b) != typicalSize {
		t.Fatalf("%d bytes, %v; want %d", len(b), err, typicalSize)
	}
	return v, b
}

func TestAllocs(t *testing.T) {
	v, _ := sample(t)
	dst := make([]byte, 0, 4<<10)
	codectest.Allocs(t, "Append", 0, func() {
		if _, err := (Codec{}).Append(dst, v); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	v, _ := sample(b)
	codectest.BenchAppend(b, Codec{}, v)
}

func BenchmarkAppendValues(b *testing.B) { codectest.BenchAppend(b, Codec{}, sampleValues(b)) }

func BenchmarkUnmarshal(b *testing.B) {
	v, _ := sample(b)
	codectest.BenchUnmarshal(b, Codec{}, v, func() any { return new(typical) })
}

func BenchmarkUnmarshalValues(b *testing.B) {
	codectest.BenchUnmarshal(b, Codec{}, sampleValues(b), func() any { return new(url.Values) })
}

func sampleValues(t testing.TB) (v url.Values) {
	_, data := sample(t)
	if err := (Codec{}).Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}
