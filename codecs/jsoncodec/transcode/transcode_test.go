package transcode

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/codecs/jsoncodec"
	"github.com/teleport-go/teleport/core/codec"
)

// spy is a codec that keeps what it encodes, and decodes to a value of the test.
type spy struct{ seen, decoded any }

func (*spy) ID() byte     { return 250 }
func (*spy) Name() string { return "spy" }

func (s *spy) Marshal(v any) ([]byte, error) { s.seen = v; return []byte("!"), nil }
func (s *spy) Unmarshal(_ []byte, v any) error {
	*v.(*any) = s.decoded
	return nil
}

func TestFromJSON(t *testing.T) {
	c := new(spy)
	out, err := FromJSON([]byte("before"), c, []byte(`{"i":-9223372036854775808,"u":18446744073709551615,"f":1.5,"l":[1,{"n":2}],"s":"x","z":null}`))
	if err != nil || string(out) != "before!" {
		t.Errorf("FromJSON = %q, %v", out, err)
	}
	want := map[string]any{"i": int64(-1 << 63), "u": uint64(1<<64 - 1), "f": 1.5, "l": []any{int64(1), map[string]any{"n": int64(2)}}, "s": "x", "z": nil}
	if !reflect.DeepEqual(c.seen, want) {
		t.Errorf("the codec got %#v; want %#v", c.seen, want)
	}
	for _, bad := range []string{"", "{", `{"a":1} trailing`, `1e400`} {
		if out, err := FromJSON([]byte("before"), c, []byte(bad)); err == nil || string(out) != "before" {
			t.Errorf("FromJSON(%q) = %q, %v; want an error and what was there before", bad, out, err)
		}
	}
}

// Maps get text as keys, and bytes are base64 text.
func TestToJSON(t *testing.T) {
	c := &spy{decoded: map[any]any{"a": []any{map[any]any{"b": []byte{1, 2}}}}}
	got, err := ToJSON([]byte("before"), c, nil)
	if want := `before{"a":[{"b":"AQI="}]}`; err != nil || string(got) != want {
		t.Errorf("ToJSON = %s, %v; want %s", got, err, want)
	}
	for _, bad := range []any{map[string]any{"a": map[any]any{3: "x"}}, []any{map[any]any{true: 1}}} {
		c.decoded = bad
		if got, err := ToJSON([]byte("before"), c, nil); !errors.Is(err, errKey) || string(got) != "before" {
			t.Errorf("ToJSON of %v = %q, %v; want %v", bad, got, err, errKey)
		}
	}
}

// strict is a codec that knows one type.
type strict struct{ jsoncodec.Codec }

func (strict) Append(dst []byte, v any) ([]byte, error) {
	if _, ok := v.(*strict); !ok {
		return dst, errors.New("not the type that it knows")
	}
	return dst, nil
}

func TestCheck(t *testing.T) {
	if err := Check(jsoncodec.Codec{}); err != nil {
		t.Error(err)
	}
	for _, test := range []struct {
		c    codec.Codec
		want string
	}{
		{strict{}, "codec json needs to know the types of the values, which JSON does not have (not the type that it knows): import its package in the host"},
		{&spy{decoded: 3}, "came back as 3"},
	} {
		err := Check(test.c)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Check(%T) = %v; want %q", test.c, err, test.want)
		}
	}
}

// What was encoded can be decoded.
// An integer is exact, so it may be larger than any float64: such a one the JSON codec encodes,
// and does not decode without its type, as encoding/json does not. That is the only thing that
// it does not give back.
func FuzzTranscode(f *testing.F) {
	f.Add([]byte(`{"i":1,"l":[1.5,null,"x"]}`))
	f.Add([]byte(`1e400`))
	f.Fuzz(func(t *testing.T, b []byte) {
		data, err := FromJSON(nil, jsoncodec.Codec{}, b)
		if err != nil {
			return
		}
		_, err = ToJSON(nil, jsoncodec.Codec{}, data)
		if standard := json.Unmarshal(data, new(any)); (err == nil) != (standard == nil) {
			t.Errorf("%q was encoded as %q, which is decoded with the error %v; encoding/json: %v", b, data, err, standard)
		}
		var number *json.UnmarshalTypeError
		if err != nil && (!errors.As(err, &number) || !strings.HasPrefix(number.Value, "number ")) {
			t.Errorf("%q was encoded as %q, which cannot be decoded: %v", b, data, err)
		}
	})
}
