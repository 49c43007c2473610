package formcodec

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codectest"
)

func ptr[T any](v T) *T { return &v }

type (
	name string

	// upper has its methods with a pointer.
	upper struct{ s string }

	// mute fails to be a text.
	mute struct{}

	Base struct {
		ID    int `form:"id"`
		Title string
	}

	hidden struct{ Shown string }

	// order has a bit of everything.
	order struct {
		Base
		hidden
		Title  string `form:"title,omitempty"`
		Ratio  float32
		Big    float64
		Yes    bool
		Small  int8
		Huge   uint64
		Angle  complex128
		Raw    []byte
		Tags   []string `form:"tags"`
		Ports  [2]uint16
		Flags  *[]*bool
		Some   *int
		None   *string
		Named  name
		Blobs  [][]byte
		Addr   netip.Addr
		Upper  upper
		Uppers []*upper
		Sum    *big.Int
		At     time.Time
		Day    *time.Time    `time_format:"2006-01-02" time_utc:"1"`
		Wait   time.Duration `form:"wait"`
		Ship   *struct{ City, Zip string }
		Secret chan int `form:"-"`
		_      chan int
	}
)

func (u *upper) MarshalText() ([]byte, error) { return []byte(strings.ToUpper(u.s)), nil }
func (u *upper) UnmarshalText(b []byte) error { u.s = strings.ToUpper(string(b)); return nil }
func (mute) MarshalText() ([]byte, error)     { return []byte("x"), errMute }
func (*mute) UnmarshalText([]byte) error      { return errMute }

var errMute = errors.New("mute")

func full() *order {
	return &order{
		Base:   Base{-7, "inner"},
		hidden: hidden{"a=b&c"},
		Title:  "é / ~",
		Ratio:  0.1,
		Big:    1e21,
		Yes:    true,
		Small:  math.MinInt8,
		Huge:   math.MaxUint64,
		Angle:  1 + 2i,
		Raw:    []byte("\x00\xff+ %"),
		Tags:   []string{"z", "", "a"},
		Ports:  [2]uint16{80, 443},
		Flags:  &[]*bool{ptr(true), nil, ptr(false)},
		Some:   ptr(0),
		Named:  "named",
		Blobs:  [][]byte{[]byte("1"), []byte("2")},
		Addr:   netip.MustParseAddr("::1"),
		Upper:  upper{"UP"},
		Uppers: []*upper{{"A"}, {"B"}},
		Sum:    big.NewInt(6),
		At:     time.Date(2024, 2, 29, 23, 59, 59, 5, time.UTC),
		Day:    ptr(time.Date(2024, 1, 2, 0, 0, 0, 0, time.UTC)),
		Wait:   time.Second,
		Ship:   &struct{ City, Zip string }{"Ghent", "9000"},
	}
}

func TestConformance(t *testing.T) {
	codectest.With(
		codectest.Garbage([]byte("%"), []byte("a=%zz"), []byte("ok=1&%f")),
		codectest.Wide(func() any { return new(url.Values) }, func(n int) []byte { return bytes.Repeat([]byte("a&"), n) }),
		codectest.Wide(func() any { return new(struct{ A []time.Time }) }, func(n int) []byte { return bytes.Repeat([]byte("A&"), n) }),
	).Run(t, Codec{},
		&url.Values{"b": {"2", "1"}, "a b": {"&="}, "": {""}},
		&map[string][]string{"k": {"v"}},
		&map[string]string{"k": "v", "é": "\xff"},
		&map[name]*int{"a": ptr(1)},
		&map[string][]upper{"a": {{"X"}, {"Y"}}},
		Base{1, "by value"}, *full(), full(), ptr[any](url.Values{"a": {"1"}}))
}

func TestValues(t *testing.T) {
	codectest.Values(t, Codec{},
		codectest.Refuses("alone/*", "a form is a struct, or a map with strings as keys"),
		codectest.Carries("alone/nil"),
		codectest.Carries("alone/*map"),
		codectest.Carries("alone/map of words by value"),
		codectest.Carries("alone/struct"),
		codectest.Carries("alone/embedded*"),
		codectest.Refuses("alone/linked structs", "is inside itself, and a form is flat"),
		codectest.Refuses("alone/*any,*", "cannot carry interface {}"),
		codectest.Refuses("alone/map of any*", "cannot carry interface {}"),
		codectest.Refuses("field/*map*", "cannot carry map["),
		codectest.Refuses("field/any*", "cannot carry interface {}"),
		codectest.Refuses("field/nil any", "cannot carry interface {}"),
		codectest.Refuses("field/list of lists", "cannot carry [][]int"),
		codectest.Refuses("field/structs", "cannot carry []codectest.Base"),
		codectest.Refuses("field/linked structs", "is inside itself, and a form is flat"),
		codectest.Refuses("field/unsupported*", "cannot carry"),
		codectest.Refuses("field/time of the year 10000", "year 10000 is outside of 0 to 9999"),
		codectest.Refuses("field/pointers to texts with a nil", "a nil pointer in a list"),
		// No pairs are all there is of nothing; and bytes have a pair always.
		codectest.Becomes("alone/empty map", map[string]int(nil)),
		codectest.Becomes("alone/map with a nil", map[string]*int(nil)),
		codectest.Becomes("alone/map with an empty list", map[string][]string{"b": {"1", ""}}),
		codectest.Becomes("field/empty list", codectest.Field[[]int]{}),
		codectest.Becomes("field/nil bytes", codectest.Field[[]byte]{V: []byte{}}),
	)
}

// A zone of before 1937 has seconds, which an offset of RFC 3339 has not: the
// instant arrives.
func TestOffsetWithSeconds(t *testing.T) {
	type form struct{ T time.Time }
	at := time.Date(1920, 1, 2, 3, 4, 5, 6, time.FixedZone("AMT", 19*60+32))
	b, err := Codec{}.Marshal(form{at})
	if want := "T=1920-01-02T03%3A03%3A33.000000006%2B00%3A19"; string(b) != want || err != nil {
		t.Errorf("Marshal = %q, %v; want %q", b, err, want)
	}
	var got form
	if err := (Codec{}).Unmarshal(b, &got); err != nil || !got.T.Equal(at) {
		t.Errorf("Unmarshal = %v, %v; want the instant %v", got.T, err, at)
	}
}

// golden returns the bytes of a file with vectors.
func golden(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "golden", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestGolden(t *testing.T) {
	for _, test := range []struct {
		name string
		v    any
	}{
		{"struct", full()},
		{"values", &url.Values{"b": {"z", "y", "x"}, "a&": {"ü"}, "empty": {""}, "none": {}}},
		{"strings", &map[string]string{"two words": "1+1=2", "path": "/a/b?c"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := golden(t, test.name)
			got, err := Codec{}.Marshal(test.v)
			if err != nil || string(got) != want {
				t.Errorf("Marshal\n got %s, %v\nwant %s\n hex %x", got, err, want, got)
			}
			back := reflect.New(reflect.TypeOf(test.v).Elem()).Interface()
			if err := (Codec{}).Unmarshal([]byte(want), back); err != nil {
				t.Fatal(err)
			}
			if v, ok := test.v.(*url.Values); ok {
				delete(*v, "none")
			}
			if !reflect.DeepEqual(back, test.v) {
				t.Errorf("Unmarshal(%s)\n got %+v\nwant %+v", want, back, test.v)
			}
		})
	}
}

func TestEncode(t *testing.T) {
	brussels := time.FixedZone("", 3600)
	at := time.Date(2024, 1, 2, 0, 30, 0, 0, brussels)
	for _, test := range []struct {
		name string
		v    any
		want string
	}{
		{"nil", nil, ""},
		{"nil pointer", (*order)(nil), ""},
		{"nil map", url.Values(nil), ""},
		{"pointer to nil in any", ptr[any]((*Base)(nil)), ""},
		{"nil any", new(any), ""},
		{"no fields", struct{}{}, ""},
		{"list in its order", struct{ L []int }{[]int{3, 1, 2}}, "L=3&L=1&L=2"},
		{"fields in their order", struct{ B, A int }{1, 2}, "B=1&A=2"},
		{"keys of a map sorted", map[string]int{"b": 1, "a": 2, "c d": 3}, "a=2&b=1&c+d=3"},
		{"pointer with MarshalText, by value", struct{ U upper }{upper{"x"}}, "U=X"},
		{"the same in a map", map[string]upper{"k": {"x"}}, "k=X"},
		{"nil in a list keeps its place", struct{ L []*int }{[]*int{nil, ptr(1)}}, "L=&L=1"},
		{"bytes of an array are a list", struct{ L [2]byte }{[2]byte{1, 2}}, "L=1&L=2"},
		{"omitempty", struct {
			A int    `form:",omitempty"`
			B string `form:"b,omitempty"`
			C string `form:"-,"`
		}{}, "-="},
		{"floats", struct{ F []float64 }{[]float64{0.1, 1e21, math.Inf(1), math.NaN()}}, "F=0.1&F=1000000000000000000000&F=%2BInf&F=NaN"},
		{"the outer field counts", struct {
			Base
			Title int
		}{Title: 1}, "id=0&Title=1"},
		{"time", struct{ T time.Time }{at}, "T=2024-01-02T00%3A30%3A00%2B01%3A00"},
		{"time in UTC", struct {
			T time.Time `time_utc:"true"`
		}{at}, "T=2024-01-01T23%3A30%3A00Z"},
		{"time in its place", struct {
			T []time.Time `time_format:"15:04" time_location:"Asia/Tokyo"`
		}{[]time.Time{at}}, "T=08%3A30"},
		{"local time without a zone", struct {
			T time.Time `time_format:"02 15h" time_utc:"false"`
		}{at}, "T=" + url.QueryEscape(at.In(time.Local).Format("02 15h"))},
		{"with a zone of its own", struct {
			T time.Time `time_format:"15h -07"`
		}{at}, "T=00h+%2B01"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, head := range []string{"", "head"} {
				got, err := Codec{}.Append([]byte(head), test.v)
				if err != nil || string(got) != head+test.want {
					t.Errorf("Append = %q, %v; want %q", got, err, head+test.want)
				}
			}
		})
	}
}

func TestDecode(t *testing.T) {
	local := time.Date(2024, 1, 2, 3, 0, 0, 0, time.Local)
	type list struct {
		L []int
		A [2]int
		P *int
		N int
		B bool
		S string
		T time.Time
		D time.Duration
	}
	type zones struct {
		U time.Time `time_format:"2006-01-02 15" time_utc:"true"`
		L time.Time `time_format:"2006-01-02 15"`
	}
	old := append(make([]int, 0, 16), 9, 8) // with room to write over
	for _, test := range []struct {
		name, data string
		v, want    any
	}{
		{"nothing", "", &list{N: 1}, &list{N: 1}},
		{"list in its order, replaced", "L=3&L=1&L=2", &list{L: old}, &list{L: []int{3, 1, 2}}},
		{"array: first values, rest 0", "A=1", &list{A: [2]int{7, 7}}, &list{A: [2]int{1, 0}}},
		{"array: more than it takes", "A=1&A=2&A=x", &list{}, &list{A: [2]int{1, 2}}},
		{"first of several", "N=1&N=2&N=x", &list{}, &list{N: 1}},
		{"unknown keys", "n=1&x=%00&N=5&=", &list{}, &list{N: 5}},
		{"empty is no value", "N=&B=&P=&T=&S=&L=", &list{N: 1, B: true, S: "s"}, &list{N: 1, B: true, L: []int{0}}},
		{"no equals sign", "S&N&B=1", &list{S: "s"}, &list{B: true}},
		{"pointer made", "P=4", &list{}, &list{P: ptr(4)}},
		{"duration", "D=5s", &list{}, &list{D: 5 * time.Second}},
		{"duration of parts", "D=-1h0.5m", &list{}, &list{D: -time.Hour - 30*time.Second}},
		{"duration in nanoseconds", "D=1500", &list{}, &list{D: 1500}},
		{"no duration", "D=", &list{D: 7}, &list{D: 7}},
		{"durations", "a=1m&a=2", &map[string][]time.Duration{}, &map[string][]time.Duration{"a": {time.Minute, 2}}},
		{"checked box", "B=on", &list{}, &list{B: true}},
		{"between ampersands", "&&N=1&&B=t&", &list{}, &list{N: 1, B: true}},
		{"equals sign in a value", "S=a=b;c", &list{}, &list{S: "a=b;c"}},
		{"escapes", "%53=+%2b%2B", &list{}, &list{S: " ++"}},
		{"escaped key with an escaped value", "%53=%41", &list{}, &list{S: "A"}},
		{"inner struct made", "Zip=1", &order{}, &order{Ship: &struct{ City, Zip string }{Zip: "1"}}},
		{"inner struct not made for nothing", "N=1&Some=", &order{}, &order{}},
		{"through pointers", "N=1", ptr((*list)(nil)), ptr(&list{N: 1})},
		{"zones", "U=2024-01-02+03&L=2024-01-02+03", &zones{}, &zones{time.Date(2024, 1, 2, 3, 0, 0, 0, time.UTC), local}},
		{"any", "b=2&a=1&b=1", new(any), ptr[any](url.Values{"a": {"1"}, "b": {"2", "1"}})},
		{"any, nothing", "", ptr[any](1), ptr[any](url.Values{})},
		{"values, nothing", "", new(url.Values), &url.Values{}},
		{"values there are", "a=2&c=3", &url.Values{"a": {"1", "1"}, "b": {"1"}}, &url.Values{"a": {"2"}, "b": {"1"}, "c": {"3"}}},
		{"map by value", "a=2", map[string][]string{"b": {"1"}}, map[string][]string{"a": {"2"}, "b": {"1"}}},
		{"strings: first of several", "a=1&a=2", &map[string]string{"b": "3"}, &map[string]string{"a": "1", "b": "3"}},
		{"map of numbers", "a=1&b=2&a=x", &map[name]int8{}, &map[name]int8{"a": 1, "b": 2}},
		{"map of arrays", "a=1&a=2", &map[string]*[3]int{}, &map[string]*[3]int{"a": {1, 2, 0}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := (Codec{}).Unmarshal([]byte(test.data), test.v); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(test.v, test.want) {
				t.Errorf("Unmarshal(%q)\n got %+v\nwant %+v", test.data, test.v, test.want)
			}
		})
	}
	if old[0] != 9 {
		t.Errorf("the list that was there became %v", old)
	}
}

func TestRegistered(t *testing.T) {
	if (Codec{}).Pure() {
		t.Error("pure, though it calls MarshalText")
	}
	if b, err := codec.Marshal('f', map[string]string{"a": "b"}); err != nil || string(b) != "a=b" {
		t.Errorf("codec.Marshal = %q, %v", b, err)
	}
	if b, err := codec.MarshalByName("form", nil); err != nil || b != nil {
		t.Errorf("codec.MarshalByName = %q, %v", b, err)
	}
}
