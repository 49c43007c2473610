package binder

import (
	"maps"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

func TestParseTag(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     tag
		err      string
	}{
		{"empty", "", tag{}, ""},
		{"text alone", "a > b", tag{}, ""},
		{"key", "<nonzero>", tag{"nonzero": ""}, ""},
		{"spaces", "  < meta :  a b  > ", tag{"meta": "a b"}, ""},
		{"text around", "x<len:1:>, and <desc:d>!", tag{"len": "1:", "desc": "d"}, ""},
		{"first colon splits", "<desc:a:b::>", tag{"desc": "a:b::"}, ""},
		{"escapes", `<regexp:^\<a\>$><nonzero>`, tag{"regexp": "^<a>$", "nonzero": ""}, ""},
		{"escapes outside", `\<nonzero\> <meta>`, tag{"meta": ""}, ""},
		{"other backslashes", `<regexp:\w+\\>x>`, tag{"regexp": `\w+\>x`}, ""},
		{"nothing after the colon", "<meta:>", tag{"meta": ""}, ""},
		{"stat", "<stat:1:m>", tag{"rerr": "1:m"}, ""},
		{"not closed", "<nonzero", nil, "no > after <nonzero"},
		{"closed by an escape", `<nonzero\>`, nil, `no > after <nonzero\>`},
		{"open inside", "<meta:a<len:1>", nil, `< inside <meta:a; write \<`},
		{"no key", "<>", nil, `unknown key ""`},
		{"unknown key", "<nonzer>", nil, `unknown key "nonzer"`},
		{"keys are lower-case", "<Meta>", nil, `unknown key "Meta"`},
		{"twice", "<len:1><len:2>", nil, "<len> twice"},
		{"stat and rerr", "<stat:1:m><rerr:1:m>", nil, "<rerr> twice"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseTag(test.in)
			if text := errorText(err); text != test.err || !maps.Equal(got, test.want) {
				t.Errorf("parseTag(%q) = %q, %q; want %q, %q", test.in, got, text, test.want, test.err)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

type embedded struct{ Number int }

// Text is a type that can be embedded, and is no struct.
type Text string

// Outer embeds one.
type Outer struct{ Text }

func TestRegistration(t *testing.T) {
	const rerr = " invalid `rerr` tag (correct example: `<rerr: 100001: Invalid Parameter>`)"
	for _, test := range []struct {
		arg  any
		want string // without the struct's name; empty: no error
	}{
		{struct {
			V *int `param:"<nonzero>"`
		}{}, "V can not be a pointer field"},
		{struct {
			v int `param:"<nonzero>"`
		}{}, "v can not be a non-settable field"},
		{struct {
			v *int `param:"-"`
		}{}, ""},
		{struct{ *embedded }{}, ""}, // cannot be reached from outside
		{struct{ Text }{}, "Text anonymous field can only be struct type"},
		{struct{ Outer }{}, "Text anonymous field can only be struct type"},
		{struct{ *tp.Meta }{}, "Meta anonymous field can only be struct type"},
		{struct {
			*tp.Meta `param:"-"`
		}{}, ""},
		{struct {
			Text `param:"<nonzero>"`
		}{}, ""},
		{struct{ V struct{ Text } }{}, ""}, // not the argument's own
		{struct {
			V int `param:"<len:1>"`
		}{}, "V invalid `len` tag for field value"},
		{struct {
			V struct{} `param:"<len:1>"`
		}{}, "V invalid `len` tag for field value"},
		{struct {
			V string `param:"<range:1>"`
		}{}, "V invalid `range` tag for non-number field"},
		{struct {
			V []string `param:"<range:1>"`
		}{}, "V invalid `range` tag for non-number field"},
		{struct {
			V map[string]int `param:"<range:1>"`
		}{}, "V invalid `range` tag for non-number field"},
		{struct {
			V bool `param:"<range:1>"`
		}{}, "V invalid `range` tag for non-number field"},
		{struct {
			V [3]uint8 `param:"<range:1>"`
		}{}, ""},
		{struct {
			V int `param:"<regexp:1>"`
		}{}, "V invalid `regexp` tag for non-string field"},
		{struct {
			V []byte `param:"<regexp:1>"`
		}{}, "V invalid `regexp` tag for non-string field"},
		{struct {
			V []Text `param:"<regexp:1>"`
		}{}, ""},
		{struct {
			V int `param:"<rerr>"`
		}{}, "V" + rerr},
		{struct {
			V int `param:"<rerr:1>"`
		}{}, "V" + rerr},
		{struct {
			V int `param:"<rerr:a:b>"`
		}{}, "V" + rerr},
		{struct {
			V int `param:"<rerr:2147483648:b>"`
		}{}, "V" + rerr},
		{struct {
			V int `param:"<rerr::>"`
		}{}, ""},
		{struct {
			V string `param:"<len>"`
		}{}, "V invalid validation failed: invalid validation tuple"},
		{struct {
			V string `param:"<len: : >"`
		}{}, "V invalid validation failed: invalid validation tuple"},
		{struct {
			V string `param:"<len:3:2>"`
		}{}, "V invalid validation failed: invalid validation tuple"},
		{struct {
			V string `param:"<len::-1>"`
		}{}, "V invalid validation failed: invalid validation tuple"},
		{struct {
			V string `param:"<len:1:2:3>"`
		}{}, `V invalid validation failed: strconv.Atoi: parsing "2:3": invalid syntax`},
		{struct {
			V string `param:"<len:a>"`
		}{}, `V invalid validation failed: strconv.Atoi: parsing "a": invalid syntax`},
		{struct {
			V int `param:"<range>"`
		}{}, "V invalid validation failed: invalid validation tuple"},
		{struct {
			V int `param:"<range:2:1>"`
		}{}, "V invalid validation failed: invalid validation tuple"},
		{struct {
			V int `param:"<range:NaN:>"`
		}{}, "V invalid validation failed: invalid validation tuple"},
		{struct {
			V int `param:"<range::b>"`
		}{}, `V invalid validation failed: strconv.ParseFloat: parsing "b": invalid syntax`},
		{struct {
			V string `param:"<regexp:(>"`
		}{}, "V invalid validation failed: error parsing regexp: missing closing ): `(`"},
		{struct {
			V int `param:"<nonzer>"`
		}{}, "V invalid `param` tag: unknown key \"nonzer\""},
		{struct {
			V map[string]int `param:"<meta>"`
		}{}, "V can not be from meta: map[string]int"},
		{struct {
			V []any `param:"<meta>"`
		}{}, "V can not be from meta: []interface {}"},
		{struct {
			V []any `param:"<swap>"`
		}{}, ""},
		{struct {
			V int `param:"<meta><swap>"`
		}{}, "V can not be from both meta and swap"},
		{struct{ V time.Time }{}, ""},
	} {
		typ := reflect.TypeOf(test.arg)
		t.Run(typ.String(), func(t *testing.T) {
			_, err := compile(typ)
			got := errorText(err)
			if test.want == "" && got != "" || !strings.HasSuffix(got, "."+test.want) && test.want != "" {
				t.Errorf("compile: %q; want %q", got, test.want)
			}
		})
	}
}

// A registration whose tags cannot work panics, for calls and for pushes, and says
// where.
func TestRegistrationPanics(t *testing.T) {
	type bad struct {
		V int `param:"<len:1:>"`
	}
	const want = "binder.bad.V invalid `len` tag for field value"
	for name, register := range map[string]func(tp.Router){
		"CALL": func(r tp.Router) { tp.HandleCall(r, "/x", func(tp.CallCtx, *bad) (int, error) { return 0, nil }) },
		"PUSH": func(r tp.Router) { tp.HandlePush(r, "/x", func(tp.PushCtx, *bad) error { return nil }) },
	} {
		t.Run(name, func(t *testing.T) {
			peer := tp.NewPeer(tp.PeerConfig{}, NewStructArgsBinder(nil))
			defer peer.Close()
			defer func() {
				err, ok := recover().(error)
				if !ok || !strings.Contains(err.Error(), want) {
					t.Errorf("registration: %v; want a panic with %q", err, want)
				}
			}()
			register(peer)
		})
	}
}

func TestSnake(t *testing.T) {
	for in, want := range map[string]string{
		"A": "a", "AaBb": "aa_bb", "XyZ": "xy_z", "ABcXYz": "abc_xyz", "UserID": "user_id", "A_b": "a_b", "Äö1Ü": "äö1_ü",
	} {
		if got := snake(in); got != want {
			t.Errorf("snake(%q) = %q; want %q", in, got, want)
		}
	}
}

var (
	escaper    = strings.NewReplacer("<", `\<`, ">", `\>`)
	fuzzValues = []any{
		"", "text", []string(nil), []string{"", "a"}, 0, int8(-7), uint64(math.MaxUint64), 0.5, math.NaN(), float32(math.Inf(1)),
		[]int{1, -1}, [2]uint8{1, 2}, []byte("b"), [][]byte{{}}, map[string]int{"a": 1}, struct{ A []int }{}, time.Time{}, true, []bool{true},
	}
)

// FuzzTag: whatever a tag says, reading it and doing what it says cannot panic, and
// its entries written anew read the same.
func FuzzTag(f *testing.F) {
	for _, seed := range []string{
		"", "-", "<meta><len:1:2>", "<swap: x ><nonzero>", `<regexp:\<(a|b)\>><rerr:1:m>`, "<range:-1.5:1e3>", "<range:NaN>", "<desc:a:b>",
		"<len::>", "<<>>", `\<meta\>`, `<desc:\>`, `<desc:\ >`, "<range:18446744073709551615:>", "<rerr: : >", "<regexp:a{1000}>",
	} {
		f.Add(seed, "value")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		entries, err := parseTag(text)
		if err == nil {
			var again strings.Builder
			for k, v := range entries {
				again.WriteString("<" + k + ":" + escaper.Replace(v) + " >")
			}
			got, err := parseTag(again.String())
			if err != nil || !maps.Equal(got, entries) {
				t.Errorf("%q is %q; written as %q it is %q, %v", text, entries, again.String(), got, err)
			}
		}
		for _, sample := range fuzzValues {
			typ := reflect.TypeOf(sample)
			p, err := newParam(reflect.StructField{Name: "Field", Type: typ}, text)
			if err != nil {
				continue
			}
			field := reflect.New(typ).Elem()
			field.Set(reflect.ValueOf(sample))
			if fromTexts(typ) {
				if err := setTexts(field, [][]byte{[]byte(value), nil}); err != nil && len(err.Error()) > 4*maxValueText+200 {
					t.Errorf("an error of %d bytes for a value of %d", len(err.Error()), len(value))
				}
			}
			for _, c := range p.checks {
				if err := c(field); err != nil && len(err.Error()) > len(text)+maxValueText+100 {
					t.Errorf("an error of %d bytes for a value of %d", len(err.Error()), len(value))
				}
			}
		}
	})
}
