package binder_test

import (
	"math"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

func long(n int) string { return strings.Repeat("x", n) }

// refuses sends arg, whose type has one field with a tag, as call and as push.
func refuses[Arg any](g *rig, name string, arg Arg, want string) {
	g.Helper()
	g.Run(name, func(t *testing.T) {
		t.Helper()
		g := newRig(t)
		pushed := make(chan struct{}, 1)
		tp.HandleCall(g.srv, "/check", func(tp.CallCtx, *Arg) (int, error) { return 1, nil })
		tp.HandlePush(g.srv, "/check", func(tp.PushCtx, *Arg) error { pushed <- struct{}{}; return nil })
		r := g.sess.Call("/check", arg, nil).Rerror()
		if want == "" {
			if r != nil {
				t.Errorf("%+v was refused: %s", arg, r)
			}
		} else if _, got := reason(t, r); got != want {
			t.Errorf("%+v: reason %q; want %q", arg, got, want)
		}
		if r := g.sess.Push("/check", arg); r != nil {
			t.Fatalf("Push: %s", r)
		}
		if want == "" {
			select {
			case <-pushed:
			case <-time.After(10 * time.Second):
				t.Errorf("a PUSH of %+v has not reached its handler", arg)
			}
			return
		}
		g.sess.Call("/check", arg, nil) // behind the PUSH
		g.srv.Close()                   // and its handlers are done
		if len(pushed) > 0 {
			t.Errorf("a PUSH of %+v has reached its handler", arg)
		}
	})
}

func TestChecks(t *testing.T) {
	g := &rig{T: t}
	type length struct {
		V string `param:"<len:2:3>"`
	}
	refuses(g, "len: below", length{"a"}, "shorter than 2: a")
	refuses(g, "len: least", length{"ab"}, "")
	refuses(g, "len: most", length{"abc"}, "")
	refuses(g, "len: above", length{"abcd"}, "longer than 3: abcd")
	refuses(g, "len: bytes count", length{"äö"}, "longer than 3: äö")
	refuses(g, "len: a long value is cut", length{long(100_000)}, "longer than 3: "+long(256)+"…")
	type exactly struct {
		V []int `param:"<len:2>"`
	}
	refuses(g, "len: slice below", exactly{[]int{1}}, "shorter than 2: [1]")
	refuses(g, "len: slice", exactly{[]int{1, 2}}, "")
	refuses(g, "len: slice above", exactly{[]int{1, 2, 3}}, "longer than 2: [1 2 3]")
	type atMost struct {
		V map[string]int `param:"<len: : 1 >"`
	}
	refuses(g, "len: nil map", atMost{}, "")
	refuses(g, "len: map", atMost{map[string]int{"a": 1, "b": 2}}, "longer than 1: map[a:1 b:2]")
	type array struct {
		V [2]int `param:"<len:3:>"`
	}
	refuses(g, "len: array", array{}, "shorter than 3: [0 0]")

	type number struct {
		V int `param:"<range:-1:10>"`
	}
	refuses(g, "range: below", number{-2}, "smaller than -1: -2")
	refuses(g, "range: least", number{-1}, "")
	refuses(g, "range: most", number{10}, "")
	refuses(g, "range: above", number{11}, "bigger than 10: 11")
	type float struct {
		V float64 `param:"<range:0.1:0.3>"`
	}
	refuses(g, "range: float nearly", float{0.1 - 0.9e-7}, "")
	refuses(g, "range: float below", float{0.0999}, "smaller than 0.1: 0.0999")
	refuses(g, "range: float sum", float{0.1 + 0.2}, "")
	refuses(g, "range: float above", float{0.301}, "bigger than 0.3: 0.301")
	type huge struct {
		V int64 `param:"<range::9007199254740992>"`
	}
	refuses(g, "range: integers are exact", huge{1<<53 + 1}, "bigger than 9007199254740992: 9007199254740993")
	type unsigned struct {
		V uint64 `param:"<range:-5:18446744073709551614>"`
	}
	refuses(g, "range: unsigned, negative bound", unsigned{0}, "")
	refuses(g, "range: unsigned are exact", unsigned{math.MaxUint64}, "bigger than 18446744073709551614: 18446744073709551615")
	type negativeZero struct {
		V uint `param:"<range:-0>"`
	}
	refuses(g, "range: unsigned, negative zero", negativeZero{0}, "")
	type half struct {
		V int8 `param:"<range:1.5:>"`
	}
	refuses(g, "range: integer, bound with a fraction", half{1}, "smaller than 1.5: 1")
	type one struct {
		V uint8 `param:"<range:7>"`
	}
	refuses(g, "range: exactly", one{7}, "")
	refuses(g, "range: exactly not", one{8}, "bigger than 7: 8")
	// v5 and v7 compared slices as 0.
	type numbers struct {
		V []int `param:"<range:1:9>"`
	}
	refuses(g, "range: slice", numbers{[]int{1, 9}}, "")
	refuses(g, "range: empty slice", numbers{}, "")
	refuses(g, "range: slice below", numbers{[]int{5, 0}}, "smaller than 1: 0")
	refuses(g, "range: slice above", numbers{[]int{5, 6, 10}}, "bigger than 9: 10")

	type text struct {
		V string `param:"<nonzero>"`
	}
	refuses(g, "nonzero: string", text{"a"}, "")
	refuses(g, "nonzero: empty", text{}, "zero value")
	// v5 and v7 failed on what == does not compare.
	type list struct {
		V []string `param:"<nonzero>"`
	}
	refuses(g, "nonzero: slice", list{[]string{""}}, "")
	refuses(g, "nonzero: nil slice", list{}, "zero value")
	refuses(g, "nonzero: empty slice", list{[]string{}}, "zero value")
	type dict struct {
		V map[string]bool `param:"<nonzero>"`
	}
	refuses(g, "nonzero: map", dict{map[string]bool{"": false}}, "")
	refuses(g, "nonzero: nil map", dict{}, "zero value")
	refuses(g, "nonzero: empty map", dict{map[string]bool{}}, "zero value")
	type inner struct {
		A []int
		B map[string]int
	}
	type nested struct {
		V inner `param:"<nonzero>"`
	}
	refuses(g, "nonzero: struct", nested{inner{A: []int{1}}}, "")
	refuses(g, "nonzero: zero struct", nested{}, "zero value")
	type moment struct {
		V time.Time `param:"<nonzero>"`
	}
	refuses(g, "nonzero: time", moment{time.Unix(0, 0)}, "")
	refuses(g, "nonzero: zero time in a zone", moment{time.Time{}.In(time.FixedZone("", 60))}, "zero value")
	type whatever struct {
		V any `param:"<nonzero>"`
	}
	refuses(g, "nonzero: any", whatever{[]any{}}, "")
	refuses(g, "nonzero: nil any", whatever{}, "zero value")

	type pattern struct {
		V string `param:"<regexp:^a\\d+$>"`
	}
	refuses(g, "regexp", pattern{"a12"}, "")
	refuses(g, "regexp: does not match", pattern{"a"}, `not match ^a\d+$: a`)
	type part struct {
		V string `param:"<regexp:b:\\<c\\>>"`
	}
	refuses(g, "regexp: unanchored, with colon and brackets", part{"ab:<c>d"}, "")
	refuses(g, "regexp: brackets do not match", part{"b:c"}, "not match b:<c>: b:c")
	type words struct {
		V []string `param:"<regexp:^.$>"`
	}
	refuses(g, "regexp: slice", words{[]string{"a", "b"}}, "")
	refuses(g, "regexp: slice does not match", words{[]string{"a", "bc", ""}}, "not match ^.$: bc")

	type order struct {
		V string `param:"text <regexp:b> more > text <nonzero><len:1:><desc: a : b >"`
	}
	refuses(g, "order: len, range, nonzero, regexp", order{}, "shorter than 1: ")
	refuses(g, "order: then the next", order{"a"}, "not match b: a")
	type ignored struct {
		A string `param:"-"`
		B string
		C string `param:""`
		D string `param:"no key"`
		e *int
	}
	refuses(g, "ignored", ignored{e: new(int)}, "")
	type failing struct {
		A, B int `param:"<range:1:>"`
	}
	refuses(g, "the first that fails", failing{1, -7}, "smaller than 1: -7")
}

type Base struct {
	A int `param:"<range:1:>"`
}

type hidden struct {
	B int `param:"<range:1:>"`
}

type Nested struct {
	C int `param:"<range:1:>"`
	D struct {
		E []int `param:"<len:1:>"`
	}
}

type shape struct {
	Base
	hidden
	Sub   Nested
	Leaf  Nested `param:"<desc:a value>"`
	Other Nested `param:"-"`
}

// Structs without a tag are walked, those with one are values.
func TestNested(t *testing.T) {
	g := newRig(t)
	tp.HandleCall(g.srv, "/check", func(tp.CallCtx, *shape) (int, error) { return 1, nil })
	for _, test := range []struct{ body, param, reason string }{
		{`{"A":0,"B":1,"Sub":{"C":1,"D":{"E":[1]}}}`, "a", "smaller than 1: 0"},
		{`{"A":1,"B":0,"Sub":{"C":1,"D":{"E":[1]}}}`, "b", "smaller than 1: 0"},
		{`{"A":1,"B":1,"Sub":{"C":0,"D":{"E":[1]}}}`, "sub.c", "smaller than 1: 0"},
		{`{"A":1,"B":1,"Sub":{"C":1,"D":{"E":[]}}}`, "sub.d.e", "shorter than 1: []"},
	} {
		r := g.sess.Call("/check", []byte(test.body), nil).Rerror()
		if param, text := reason(t, r); param != test.param || text != test.reason {
			t.Errorf("%s: parameter %q, reason %q; want %q, %q", test.body, param, text, test.param, test.reason)
		}
	}
	if r := g.sess.Call("/check", []byte(`{"A":1,"B":1,"Sub":{"C":1,"D":{"E":[1]}}}`), nil).Rerror(); r != nil {
		t.Errorf("all right, and refused: %s", r)
	}
}

type NaN float64

func (f *NaN) UnmarshalJSON([]byte) error { *f = NaN(math.NaN()); return nil }

// What is no number is in no range.
func TestNaN(t *testing.T) {
	g := newRig(t)
	type arg struct {
		V NaN `param:"<range::1>"`
	}
	tp.HandleCall(g.srv, "/check", func(tp.CallCtx, *arg) (int, error) { return 1, nil })
	if _, got := reason(t, g.sess.Call("/check", []byte(`{"V":0}`), nil).Rerror()); got != "bigger than 1: NaN" {
		t.Errorf("reason %q; want that NaN is refused", got)
	}
}
