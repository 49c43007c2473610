package plaincodec

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codectest"
)

type (
	name   string
	blob   []byte
	octet  byte
	octets []octet
	flag   bool
	number int16
	size   uint32
	ratio  float32
	loop   *loop
)

// Its String must not be called.
func (name) String() string { panic("code of the user") }

func ptr[T any](v T) *T { return &v }

func TestConformance(t *testing.T) {
	t.Run("numbers", func(t *testing.T) {
		codectest.With(codectest.Flat()).Run(t, Codec{}, true, false, math.MinInt, int8(-128), int16(-1), int32(7), int64(math.MinInt64),
			uint(7), uint8(255), uint16(1), uint32(math.MaxUint32), uint64(math.MaxUint64), 1.5, float32(0.1),
			math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(-1),
			flag(true), number(-5), size(5), ratio(0.25), ptr(12), ptr(flag(true)), ptr(ptr(1.25)))
	})
	t.Run("text", func(t *testing.T) {
		codectest.With(codectest.TakesAnything(), codectest.Flat()).Run(t, Codec{}, "text", "", "é\x00\xff\n", []byte("bytes"), []byte{},
			name("named"), blob("named"), octets{1, 2}, ptr("text"), ptr([]byte("bytes")), ptr(name("named")), ptr(ptr(blob("b"))))
	})
}

func TestValues(t *testing.T) {
	codectest.Values(t, Codec{},
		codectest.Refuses("*/*", "can not be directly converted to"),
		codectest.Carries("alone/nil"),
		codectest.Carries("alone/*text"),
		codectest.Carries("alone/text *"),
		codectest.Carries("alone/bool"),
		codectest.Carries("alone/*int64 m*"),
		codectest.Carries("alone/float*"),
		codectest.Carries("alone/duration"),
		codectest.Carries("alone/pointer to pointer"),
		codectest.Carries("alone/bytes"),
		codectest.Carries("alone/nil bytes"),
		codectest.Becomes("alone/empty bytes", []byte(nil)),
		codectest.Refuses("alone/map of any uint64", "can not be directly converted to"),
	)
}

func TestText(t *testing.T) {
	for _, test := range []struct {
		v    any
		want string
	}{
		{"tok", "tok"},
		{[]byte("pass"), "pass"},
		{name("n"), "n"},
		{octets{'o', 'k'}, "ok"},
		{true, "true"},
		{-12, "-12"},
		{uint8(200), "200"},
		{uint64(math.MaxUint64), "18446744073709551615"},
		{1e21, "1000000000000000000000"},
		{0.1, "0.1"},
		{float32(0.1), "0.1"},
		{1e-7, "0.0000001"},
		{3.0, "3"},
		{ptr(ptr(5)), "5"},
		{nil, ""},
		{(*int)(nil), ""},
		{(*string)(nil), ""},
		{(*[]byte)(nil), ""},
		{(*name)(nil), ""},
		{ptr((*int)(nil)), ""},
		{[]byte(nil), ""},
	} {
		t.Run(fmt.Sprintf("%T %s", test.v, test.want), func(t *testing.T) {
			got, err := Codec{}.Append([]byte("head "), test.v)
			if want := "head " + test.want; err != nil || string(got) != want {
				t.Errorf("Append = %q, %v; want %q", got, err, want)
			}
			if got, err := (Codec{}).Marshal(test.v); err != nil || string(got) != test.want {
				t.Errorf("Marshal = %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, v := range []any{struct{ A int }{1}, []int{1}, []string{"a"}, map[string]int{}, [2]byte{1, 2}, complex(1, 2), uintptr(1),
		make(chan int), func() {}, &struct{}{}, (*struct{})(nil), loop(nil), ptr(loop(nil)), any(ptr(any("a")))} {
		t.Run(fmt.Sprintf("%T", v), func(t *testing.T) {
			got, err := Codec{}.Append([]byte("head"), v)
			if want := fmt.Sprintf("plain codec: %T can not be directly converted to []byte type", v); err == nil || err.Error() != want || string(got) != "head" {
				t.Errorf("Append = %q, %v; want %q, %s", got, err, "head", want)
			}
			err = Codec{}.Unmarshal([]byte("1"), v)
			if want := fmt.Sprintf("plain codec: []byte can not be directly converted to %T type", v); err == nil || err.Error() != want {
				t.Errorf("Unmarshal: error %v; want %s", err, want)
			}
		})
	}
}

func TestUnmarshalFails(t *testing.T) {
	for _, test := range []struct {
		name, data string
		v          any
		want       string
		cause      error
	}{
		{"no number", "x1", ptr(7), `plain codec: []byte can not be directly converted to *int type: "x1": invalid syntax`, strconv.ErrSyntax},
		{"too large", "128", ptr(int8(7)), `plain codec: []byte can not be directly converted to *int8 type: "128": value out of range`, strconv.ErrRange},
		{"negative", "-1", ptr(uint(7)), `plain codec: []byte can not be directly converted to *uint type: "-1": invalid syntax`, strconv.ErrSyntax},
		{"too large a float", "1e40", ptr(float32(7)), `plain codec: []byte can not be directly converted to *float32 type: "1e40": value out of range`, strconv.ErrRange},
		{"no bool", "yes", ptr(true), `plain codec: []byte can not be directly converted to *bool type: "yes": invalid syntax`, strconv.ErrSyntax},
		{"1 MiB of digits", strings.Repeat("1", 1<<20), ptr(7.0), `plain codec: []byte can not be directly converted to *float64 type: "` + strings.Repeat("1", 32) + `": invalid syntax`, strconv.ErrSyntax},
		{"through a nil pointer", "x", ptr((*int)(nil)), `plain codec: []byte can not be directly converted to **int type: "x": invalid syntax`, strconv.ErrSyntax},
		{"no pointer", "1", 1, `plain codec: []byte can not be directly converted to int type`, nil},
		{"nil", "1", nil, `plain codec: []byte can not be directly converted to <nil> type`, nil},
		{"nil pointer", "1", (*string)(nil), `plain codec: []byte can not be directly converted to *string type`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := show(test.v)
			err := Codec{}.Unmarshal([]byte(test.data), test.v)
			if err == nil || err.Error() != test.want || test.cause != nil && !errors.Is(err, test.cause) {
				t.Errorf("Unmarshal: error\n got %v\nwant %s", err, test.want)
			}
			if got := show(test.v); got != before {
				t.Errorf("a failed Unmarshal changed the value from %s to %s", before, got)
			}
		})
	}
}

// A []byte that is no pointer is filled, as v5 and v7 do.
func TestIntoBytes(t *testing.T) {
	for _, test := range []struct {
		name, data string
		v          any
		want       string // of the error, if it has a colon
	}{
		{"as long", "1234", []byte("...."), "1234"},
		{"shorter", "12", []byte("...."), "12.."},
		{"nothing", "", []byte("...."), "...."},
		{"a type of its own", "1234", blob("...."), "1234"},
		{"with bytes of its own", "12", octets{'.', '.'}, "12"},
		{"longer", "12345", []byte("...."), `plain codec: []byte can not be directly converted to []uint8 type: "12345": 5 bytes into a slice of 4`},
		{"nil", "1", []byte(nil), `plain codec: []byte can not be directly converted to []uint8 type: "1": 1 bytes into a slice of 0`},
		{"nothing into nil", "", []byte(nil), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := string(reflect.ValueOf(test.v).Bytes())
			err := Codec{}.Unmarshal([]byte(test.data), test.v)
			got := string(reflect.ValueOf(test.v).Bytes())
			if strings.Contains(test.want, ":") {
				if err == nil || err.Error() != test.want || got != before {
					t.Errorf("Unmarshal: error\n got %v\nwant %s\nand %q became %q", err, test.want, before, got)
				}
			} else if err != nil || got != test.want {
				t.Errorf("Unmarshal = %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"5s": 5 * time.Second, "-1h0.5m": -time.Hour - 30*time.Second, "1500": 1500, "0": 0} {
		var d time.Duration
		if err := (Codec{}).Unmarshal([]byte(text), &d); err != nil || d != want {
			t.Errorf("Unmarshal(%q) = %v, %v; want %v", text, d, err, want)
		}
	}
	d := time.Duration(7)
	if err := (Codec{}).Unmarshal([]byte("5 s"), &d); !errors.Is(err, strconv.ErrSyntax) || d != 7 {
		t.Errorf("Unmarshal = %v, %v; want %v and the value as it was", d, err, strconv.ErrSyntax)
	}
	if err := (Codec{}).Unmarshal([]byte("5s"), new(int64)); !errors.Is(err, strconv.ErrSyntax) {
		t.Errorf("Unmarshal of a duration into *int64: %v; want %v", err, strconv.ErrSyntax)
	}
}

func show(v any) string {
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer && !r.IsNil() {
		r = r.Elem()
	}
	return fmt.Sprint(r)
}

func TestNoBytes(t *testing.T) {
	n, f, s, b, p := 7, true, "text", []byte("bytes"), ptr(8)
	for _, v := range []any{&n, &f, &s, &b, &p} {
		if err := (Codec{}).Unmarshal(nil, v); err != nil {
			t.Errorf("Unmarshal of nothing into %T: %v", v, err)
		}
	}
	if n != 7 || !f || s != "" || len(b) != 0 || *p != 8 {
		t.Errorf("got %d, %t, %q, %q, %d; want 7, true, no text, no bytes, 8", n, f, s, b, *p)
	}
}

func TestAllocs(t *testing.T) {
	dst := make([]byte, 0, 64)
	values := []any{"text", ptr("text"), []byte("b"), name("n"), 12345, 1.5, ptr(uint8(3)), true}
	codectest.Allocs(t, "Append", 0, func() {
		for _, v := range values {
			if _, err := (Codec{}).Append(dst, v); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestRegistered(t *testing.T) {
	if b, err := codec.MarshalByName("plain", 12); err != nil || string(b) != "12" {
		t.Errorf("codec.MarshalByName = %q, %v", b, err)
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{"", "0", "-1", "1e3", "true", "NaN", "0x1p-2", "99999999999999999999", "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, v := range []any{new(string), new([]byte), new(bool), new(int8), new(uint64), new(float32), new(float64), new(*number), new(name)} {
			if (Codec{}).Unmarshal(data, v) != nil {
				continue
			}
			text, err := Codec{}.Marshal(v)
			if err != nil {
				t.Fatalf("%T from %q does not encode: %v", v, data, err)
			}
			again := reflect.New(reflect.TypeOf(v).Elem()).Interface()
			if err := (Codec{}).Unmarshal(text, again); err != nil || show(again) != show(v) {
				t.Fatalf("%T from %q: %q decodes to %s, %v; want %s", v, data, text, show(again), err, show(v))
			}
		}
	})
}
