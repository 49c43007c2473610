package formcodec

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/codec"
)

type (
	node  struct{ Next *node }
	ring  struct{ Links []ring }
	self  *self
	first struct{ X int }
	twin  struct{ X int }
	lost  struct{ *hidden }
	deaf  struct{}
)

func (deaf) MarshalText() ([]byte, error) { return []byte("deaf"), nil }

func TestRefused(t *testing.T) {
	for _, test := range []struct {
		name string
		v    any // refused as a value, and a pointer to it
		want string
	}{
		{"number", ptr(1), "a form is a struct, or a map with strings as keys"},
		{"text", ptr("a=1"), "a form is a struct, or a map with strings as keys"},
		{"time", new(time.Time), "a form is a struct, or a map with strings as keys"},
		{"list of structs", &[]Base{}, "a form is a struct, or a map with strings as keys"},
		{"keys are numbers", &map[int]string{}, "a form is a struct, or a map with strings as keys"},
		{"map of anything", &map[string]any{"a": 1}, "a form cannot carry interface {}"},
		{"any in a struct", &struct{ A struct{ B any } }{}, "field A.B: a form cannot carry interface {}"},
		{"channel", &struct{ C chan int }{}, "field C: a form cannot carry chan int"},
		{"list of lists", &struct{ L [][]int }{}, "field L: a form cannot carry [][]int"},
		{"map in a struct", &struct{ M map[string]string }{}, "field M: a form cannot carry map[string]string"},
		{"inside itself", &node{}, "field Next: formcodec.node is inside itself, and a form is flat"},
		{"inside itself, in a list", &ring{}, "field Links: a form cannot carry []formcodec.ring"},
		{"pointer to itself", &struct{ P self }{}, "field P: formcodec.self is too many pointers in a row"},
		{"named struct", &struct {
			B Base `form:"b"`
		}{}, `field B: a form is flat: a struct cannot have the name "b"`},
		{"two of a name", &struct {
			first
			twin
		}{}, `fields first.X and twin.X have the same name "X"`},
		{"two of a name, by tag", &struct {
			A int `form:"B"`
			B int
		}{}, `fields A and B have the same name "B"`},
		{"no location", &struct {
			T time.Time `time_location:"Nowhere"`
		}{}, "field T: unknown time zone Nowhere"},
		{"no bool", &struct {
			T time.Time `time_utc:"maybe"`
		}{}, `field T: tag time_utc:"maybe" is no bool`},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 2 { // the second answer comes from the cache
				b, err := Codec{}.Append([]byte("head"), test.v)
				if err == nil || string(b) != "head" || !strings.HasSuffix(err.Error(), " can not be encoded to urlencoded string: "+test.want) {
					t.Errorf("Append = %q, %v; want %s", b, err, test.want)
				}
				err = Codec{}.Unmarshal([]byte("a=1"), test.v)
				if err == nil || !strings.HasSuffix(err.Error(), " type: "+test.want) {
					t.Errorf("Unmarshal: %v; want %s", err, test.want)
				}
			}
		})
	}
	if _, err := (Codec{}).Marshal((*chan int)(nil)); err == nil {
		t.Error("a nil pointer to a channel is encoded")
	}
	var loop any
	loop = &loop
	if _, err := (Codec{}).Marshal(loop); err == nil {
		t.Error("an any that points to itself is encoded")
	}
}

func TestEncodeErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		v    any
		want string
	}{
		{"type", 12, "form codec: int can not be encoded to urlencoded string: "},
		{"MarshalText", struct{ A mute }{}, `form codec: struct { A formcodec.mute } can not be encoded to urlencoded string: field "A": mute`},
		{"MarshalText, in a map", map[string]mute{"k": {}}, `form codec: map[string]formcodec.mute can not be encoded to urlencoded string: key "k": mute`},
		{"year", struct {
			T time.Time `form:"t"`
		}{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, `field "t": year 10000 is outside of 0 to 9999`},
		{"pairs of values", url.Values{"a": make([]string, maxPairs+1)}, "too complex: 10001 pairs or more, the limit is 10000"},
		{"pairs of a list", struct{ A []int }{make([]int, maxPairs+1)}, `field "A": too complex: 10001 pairs or more, the limit is 10000`},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := Codec{}.Append([]byte("head"), test.v)
			if err == nil || string(b) != "head" || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Append = %.100q, %v; want %s", b, err, test.want)
			}
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	type target struct {
		N int8 `form:"n"`
		B bool
		F float32
		T time.Time `time_format:"2006"`
		L []uint
		M mute
		D deaf
		W time.Duration
	}
	long := strings.Repeat("1", 2000)
	for _, test := range []struct {
		name, data string
		v          any
		want       string
		cause      error
	}{
		{"number", "n=abc", &target{}, `form codec: urlencoded string can not be decoded to *formcodec.target type: field "n": "abc": invalid syntax`, strconv.ErrSyntax},
		{"range", "n=128", &target{}, `field "n": "128": value out of range`, strconv.ErrRange},
		{"long number", "n=" + long, &target{}, `field "n": "` + long[:32] + `": invalid syntax`, strconv.ErrSyntax},
		{"long text", "F=" + long[:100] + "x", &target{}, `field "F": "` + long[:32] + `": invalid syntax`, strconv.ErrSyntax},
		{"bool", "B=maybe", &target{}, `field "B": "maybe": invalid syntax`, strconv.ErrSyntax},
		{"duration", "W=5+s", &target{}, `field "W": "5 s": invalid syntax`, strconv.ErrSyntax},
		{"range of durations", "W=9223372036854775808", &target{}, `field "W": "9223372036854775808": value out of range`, strconv.ErrRange},
		{"in a list", "L=1&L=-1", &target{}, `field "L": "-1": invalid syntax`, strconv.ErrSyntax},
		{"time", "T=now", &target{}, `field "T": "now": no time like "2006"`, nil},
		{"long time", "T=" + long, &target{}, `field "T": "` + long[:32] + `": invalid syntax`, strconv.ErrSyntax},
		{"UnmarshalText", "M=x", &target{}, `field "M": "x": mute`, errMute},
		{"no UnmarshalText", "D=x", &target{}, `field "D": "x": formcodec.deaf has no UnmarshalText`, nil},
		{"map", "a=1&" + long + "=x", &map[string]int{}, `key "` + long[:32] + `": "x": invalid syntax`, strconv.ErrSyntax},
		{"escape in a key", "%4", &target{}, `key "%4": invalid escape`, errEscape},
		{"escape in an unknown value", "%61=1%+2", &target{}, `key "a": "1%+2": invalid escape`, errEscape},
		{"escape in values", "a=%g0", &url.Values{}, `key "a": "%g0": invalid escape`, errEscape},
		{"escape in any", "a=%0g", new(any), `key "a": "%0g": invalid escape`, errEscape},
		{"pairs", strings.Repeat("x=&", maxPairs) + "n=1", &target{}, "too complex: 10001 pairs or more, the limit is 10000", codec.ErrTooComplex},
		{"pairs of values", strings.Repeat("x=&", maxPairs) + "n=1", &url.Values{}, "too complex: 10001 pairs or more, the limit is 10000", codec.ErrTooComplex},
		{"pairs of strings", strings.Repeat("x=&", maxPairs) + "n=1", &map[string]string{}, "too complex: 10001 pairs or more, the limit is 10000", codec.ErrTooComplex},
		{"nil", "n=1", nil, "form codec: urlencoded string can not be decoded to <nil> type: no pointer to a struct or a map, or nil", errNoPointer},
		{"nil pointer", "n=1", (*target)(nil), "decoded to *formcodec.target type: no pointer", errNoPointer},
		{"nil values", "n=1", url.Values(nil), "no pointer", errNoPointer},
		{"pointer to values that is nil", "n=1", (*url.Values)(nil), "no pointer", errNoPointer},
		{"struct by value", "n=1", target{}, "no pointer", errNoPointer},
		{"pointer that cannot be set", "Shown=1", &lost{}, "the embedded pointer to formcodec.hidden is nil, and not exported", nil},
		{"interface with methods", "n=1", new(error), "a form is a struct", errFlat},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Codec{}.Unmarshal([]byte(test.data), test.v)
			if err == nil || !strings.HasSuffix(err.Error(), test.want) && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("Unmarshal(%.100q): error\n got %v\nwant %s", test.data, err, test.want)
			}
			if test.cause != nil && !errors.Is(err, test.cause) {
				t.Errorf("%v does not wrap %v", err, test.cause)
			}
			if len(err.Error()) > 250 {
				t.Errorf("an error of %d bytes: %v", len(err.Error()), err)
			}
		})
	}
	if err := (Codec{}).Unmarshal([]byte(strings.Repeat("x=&", maxPairs)), &target{}); err != nil {
		t.Errorf("%d pairs: %v", maxPairs, err)
	}
	if err := (Codec{}).Unmarshal([]byte("Shown=1"), &lost{&hidden{}}); err != nil {
		t.Errorf("embedded pointer that is there: %v", err)
	}
}
