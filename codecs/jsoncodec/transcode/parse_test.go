package transcode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParse(t *testing.T) {
	large, _ := new(big.Int).SetString("123456789012345678901234567890", 10)
	for _, test := range []struct {
		text string
		want any
	}{
		{"null", nil},
		{`"é\u0000"`, "é\x00"},
		{"1", int64(1)},
		{"-9223372036854775808", int64(-1 << 63)},
		{"18446744073709551615", uint64(1<<64 - 1)},
		{"123456789012345678901234567890", large},
		{"1.5", 1.5},
		{"1e3", 1e3},
		{`[1,{"a":[2.5]}]`, []any{int64(1), map[string]any{"a": []any{2.5}}}},
	} {
		v, err := parse([]byte(test.text))
		if err != nil || !reflect.DeepEqual(v, test.want) {
			t.Errorf("parse(%s) = %#v, %v; want %#v", test.text, v, err, test.want)
		}
	}
	for _, bad := range []string{"", "{", "1 2", "1e999", "\"\xff\"", "nul", `{"a":[1e999]}`, strings.Repeat("[", 20_000)} {
		if v, err := parse([]byte(bad)); err == nil {
			t.Errorf("parse(%.20q) = %v; want an error", bad, v)
		}
	}
}

// parse takes what encoding/json takes, and makes of it what means the same.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"null", ` [ 1 , -0.5e+3, "a\\\"b\u00e9\\\\", true,false ] `, `{"a":{"a":[]},"a":2}`, `"\`, `"\\"`, `01`, `1.`, `-`, `[1,]`, `{"a"}`, "\"\x00\"", "18446744073709551616", "\"\\ud800\""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parse(text)
		var want any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		valid := utf8.Valid(text) && json.Valid(text) && d.Decode(&want) == nil
		if valid != (err == nil) {
			if valid && (strings.Contains(err.Error(), "levels") || errors.Is(err, strconv.ErrRange)) {
				return // our limits
			}
			t.Fatalf("parse(%q): %v; encoding/json takes it: %t", text, err, valid)
		}
		if !valid {
			return
		}
		if same, err := sameJSON(got, want); err != nil || !same {
			t.Errorf("parse(%q) = %#v; want %#v", text, got, want)
		}
	})
}

// sameJSON compares what parse made with what encoding/json did.
func sameJSON(got, want any) (bool, error) {
	switch want := want.(type) {
	case json.Number:
		if i, ok := got.(*big.Int); ok {
			return i.String() == string(want), nil
		}
		if f, ok := got.(float64); ok {
			w, err := want.Float64()
			return f == w, err
		}
		return fmt.Sprint(got) == string(want) || want == "-0", nil
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return false, nil
		}
		for i := range want {
			if same, err := sameJSON(list[i], want[i]); err != nil || !same {
				return false, err
			}
		}
		return true, nil
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok || len(object) != len(want) {
			return false, nil
		}
		for k := range want {
			if same, err := sameJSON(object[k], want[k]); err != nil || !same {
				return false, err
			}
		}
		return true, nil
	}
	return got == want, nil
}
