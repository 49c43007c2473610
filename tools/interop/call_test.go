package interop

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

type Doc struct {
	Name  string
	Bytes []byte
	Inner map[string][]int
}

type ErrorArg struct {
	Code           int32
	Message, Cause string
}

// some says that a cause is wanted, whichever.
const some = "*"

// odd is metadata with every kind of byte that has to be escaped.
var odd = []pair{
	{"k", "v 1/é"},
	{"k=v 1/é&=%", "k=v 1/é&=%"},
	{"", "no key"},
	{"no value", ""},
	{"twice", "1"}, {"twice", "2"},
	{"plus+", "a+b %zz %41"},
	{"bytes", "\x00\xff\n\"\\"},
	{"*-._", "*-._~"},
}

func million() []byte {
	b := make([]byte, 1<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b[:len(b)/2] { // the other half can be compressed
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestCall(t *testing.T) {
	big := million()
	pipes := map[string][]byte{"md5": {md5ID}, "gzip": {gzipID}, "gzip over md5": {gzipID, md5ID}, "md5 over gzip": {md5ID, gzipID}}
	type callCase struct {
		name  string
		x     exchange // result: a value of the type wanted
		want  any
		codec byte // of the reply; 0: not looked at
		meta  []pair
		fault fault
	}
	cases := []callCase{
		{name: "json", x: exchange{method: "/math/add", arg: []int{1, 2, 3}, codec: jsonID}, want: 6, codec: jsonID},
		{name: "default codec", x: exchange{method: "/math/add", arg: []int{1, 2, 3}}, want: 6, codec: jsonID},
		{name: "reply metadata", x: exchange{method: "/math/add", arg: []int{4}, meta: odd[:1]}, want: 4, meta: []pair{{"who", "srv 1"}}},
		{name: "json struct", x: exchange{method: "/echo/doc", arg: &Doc{"é\n\"\\", []byte{0, 255}, map[string][]int{"a": {1}}}, codec: jsonID},
			want: Doc{"é\n\"\\", []byte{0, 255}, map[string][]int{"a": {1}}}},
		{name: "plain", x: exchange{method: "/echo/text", arg: "k=v 1/é&=%", codec: plainID}, want: "k=v 1/é&=%", codec: plainID},
		{name: "raw bytes", x: exchange{method: "/echo/bytes", arg: []byte("\x00\xff{")}, want: []byte("\x00\xff{"), codec: jsonID},
		{name: "raw bytes labelled plain", x: exchange{method: "/echo/bytes", arg: []byte("\x00\xff{"), codec: plainID}, want: []byte("\x00\xff{"), codec: plainID},
		{name: "empty bytes", x: exchange{method: "/echo/bytes", arg: []byte{}}, want: []byte(nil)},
		{name: "no argument, nil reply", x: exchange{method: "/echo/nothing"}, want: struct{}{}},
		{name: "nobody looks at the reply", x: exchange{method: "/math/add", arg: []int{1}}},
		{name: "metadata", x: exchange{method: "/echo/meta", meta: odd}, want: bodyOf(odd), meta: odd},
		{name: "long metadata", x: exchange{method: "/echo/meta", meta: []pair{{"long", strings.Repeat("a", 60_000)}}},
			want: bodyOf([]pair{{"long", strings.Repeat("a", 60_000)}}), meta: []pair{{"long", strings.Repeat("a", 60_000)}}},

		{name: "accept plain", x: exchange{method: "/math/add", arg: []int{40, 2}, codec: jsonID, accept: plainID}, want: 42, codec: plainID},
		{name: "accept json", x: exchange{method: "/echo/text", arg: "a\"b", codec: plainID, accept: jsonID}, want: "a\"b", codec: jsonID},
		{name: "accept a codec nobody has", x: exchange{method: "/math/add", arg: []int{40, 2}, codec: jsonID, accept: 200}, want: 42, codec: jsonID},

		{name: "megabyte", x: exchange{method: "/echo/bytes", arg: big}, want: big},
		{name: "megabyte of json", x: exchange{method: "/echo/doc", arg: &Doc{Bytes: big}, codec: jsonID}, want: Doc{Bytes: big}},
		{name: "megabyte of text", x: exchange{method: "/echo/text", arg: string(big), codec: plainID}, want: string(big)},

		{name: "not found", x: exchange{method: "/no/such"}, want: 0, fault: fault{404, "Not Found", ""}},
		{name: "the longest service method", x: exchange{method: "/" + strings.Repeat("x", 254)}, fault: fault{404, "Not Found", ""}},
		{name: "no service method", x: exchange{method: ""}, fault: fault{400, "Bad Message", some}},
		{name: "panic", x: exchange{method: "/fail/panic", arg: "k=v 1/é&=%"}, want: "", fault: fault{500, "Internal Server Error", "k=v 1/é&=%"}},
		{name: "not decodable", x: exchange{method: "/math/add", arg: "no list", codec: jsonID}, want: 0, fault: fault{400, "Bad Message", some}},
		{name: "reply cannot be encoded", x: exchange{method: "/fail/marshal"}, want: 0, fault: fault{500, "Internal Server Error", some}},
	}
	for _, pipe := range []string{"md5", "gzip over md5"} {
		cases = append(cases, callCase{name: pipe + " of a megabyte", x: exchange{method: "/echo/bytes", arg: big, pipe: pipes[pipe]}, want: big})
	}
	for name, pipe := range pipes {
		cases = append(cases,
			callCase{name: name, x: exchange{method: "/echo/meta", meta: odd, pipe: pipe}, want: bodyOf(odd), meta: odd},
			callCase{name: name + " of an empty body", x: exchange{method: "/echo/nothing", pipe: pipe}, want: struct{}{}},
			callCase{name: name + " of an error", x: exchange{method: "/no/such", pipe: pipe}, fault: fault{404, "Not Found", ""}},
		)
	}
	for name, f := range map[string]fault{
		"code, message, cause":  {1234, "k=v 1/é&=%", "cause & 100 % = é\n"},
		"no cause":              {1001, "message", ""},
		"code of the framework": {403, "Forbidden", "not you"},
		"negative code":         {-5, "below", "zero"},
		"largest code":          {1<<31 - 1, "m", "c"},
		"long":                  {2000, strings.Repeat("m", 20_000), strings.Repeat("c", 20_000)},
	} {
		cases = append(cases, callCase{name: "business error, " + name, want: "", fault: f, meta: []pair{{"kept", "yes"}},
			x: exchange{method: "/fail/business", arg: &ErrorArg{f.code, f.message, f.cause}}})
	}
	eachWay(t, func(t *testing.T, from, to end) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				x := c.x
				var result reflect.Value
				if c.want != nil {
					result = reflect.New(reflect.TypeOf(c.want))
					x.result = result.Interface()
				}
				a := from.call(t, x)
				if c.fault.cause == some && a.cause != "" {
					a.cause = some
				}
				if a.fault != c.fault {
					t.Fatalf("got %v, want %v", a.fault, c.fault)
				}
				if c.want != nil && c.fault.code == 0 {
					if got := result.Elem().Interface(); !reflect.DeepEqual(got, c.want) {
						t.Errorf("got %.200v, want %.200v", got, c.want)
					}
				}
				if c.codec != 0 && a.codec != c.codec {
					t.Errorf("codec of the reply: got %q, want %q", a.codec, c.codec)
				}
				if !slices.Equal(a.meta, c.meta) {
					t.Errorf("metadata of the reply: got %q, want %q", a.meta, c.meta)
				}
			})
		}
	})
}

// eRPC has all its codecs in every program; ours has those that were imported.
func TestForeignCodec(t *testing.T) {
	const xmlID = 'x'
	o, th := wirings[0].connect(t)
	a := th.call(t, exchange{method: "/echo/text", arg: "x", codec: xmlID})
	if a.code != 400 || a.message != "Bad Message" || a.cause == "" {
		t.Errorf("argument: got %v, want 400 Bad Message", a.fault)
	}
	var got []byte // needs no codec
	a = th.call(t, exchange{method: "/echo/bytes", arg: []byte("<x/>"), result: &got, codec: xmlID})
	if a.code != 0 || a.codec != xmlID || string(got) != "<x/>" {
		t.Errorf("raw bytes: got %v, %q, codec %q", a.fault, got, a.codec)
	}
	sum := 0
	a = th.call(t, exchange{method: "/math/add", arg: []int{1}, result: &sum, accept: xmlID})
	if a.code != 0 || a.codec != jsonID || sum != 1 {
		t.Errorf("accepted: got %v, %d, codec %q", a.fault, sum, a.codec)
	}
	if f := th.push(exchange{method: "/note/say", arg: "x", codec: xmlID}); f.code != 0 {
		t.Error("push:", f)
	}
	if a := th.call(t, exchange{method: "/math/add", arg: []int{1}}); a.code != 0 || len(o.heard) != 0 {
		t.Errorf("after the push: got %v, heard %d", a.fault, len(o.heard))
	}
}

// bodyOf is what /echo/meta answers.
func bodyOf(meta []pair) [][2][]byte {
	var list [][2][]byte
	for _, p := range meta {
		list = append(list, [2][]byte{[]byte(p.key), []byte(p.value)})
	}
	return list
}

func TestPush(t *testing.T) {
	big := string(million())
	cases := []struct {
		name string
		x    exchange
	}{
		{"json", exchange{arg: "hi", codec: jsonID}},
		{"plain", exchange{arg: "k=v 1/é&=%", codec: plainID}},
		{"metadata", exchange{arg: "hi", meta: odd}},
		{"md5", exchange{arg: "hi", meta: odd, pipe: []byte{md5ID}}},
		{"gzip", exchange{arg: "hi", meta: odd, pipe: []byte{gzipID}}},
		{"gzip over md5", exchange{arg: "hi", meta: odd, pipe: []byte{gzipID, md5ID}}},
		{"megabyte", exchange{arg: big, codec: plainID}},
		{"megabyte with gzip and md5", exchange{arg: big, codec: plainID, pipe: []byte{gzipID, md5ID}}},
	}
	eachWay(t, func(t *testing.T, from, to end) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				c.x.method = "/note/say"
				if f := from.push(c.x); f.code != 0 {
					t.Fatal(f)
				}
				n := receive(t, "push", to.notes())
				if n.text != c.x.arg || !slices.Equal(n.meta, c.x.meta) {
					t.Errorf("got %.200q, want %.200q %q", n, c.x.arg, c.x.meta)
				}
			})
		}
		t.Run("one that nobody serves is dropped", func(t *testing.T) {
			if f := from.push(exchange{method: "/no/such", arg: "x"}); f.code != 0 {
				t.Error(f)
			}
			if a := from.call(t, exchange{method: "/math/add", arg: []int{1}}); a.code != 0 {
				t.Error("afterwards:", a.fault)
			}
		})
	})
}

// Both ends call and push at the same time, from many goroutines.
func TestConcurrent(t *testing.T) {
	const callers, rounds = 8, 60
	eachWiring(t, func(t *testing.T, o *ours, th *theirs) {
		var wg sync.WaitGroup
		for _, e := range []end{o, th} {
			for c := range callers {
				wg.Go(func() {
					for r := range rounds {
						want := bytes.Repeat([]byte{byte(c), byte(r)}, 1+r*r)
						var got []byte
						var pipe []byte
						if r%3 == 0 {
							pipe = []byte{md5ID}
						}
						a := e.call(t, exchange{method: "/echo/bytes", arg: want, result: &got, pipe: pipe, meta: []pair{{"id", fmt.Sprint(c)}}})
						if a.code != 0 || !bytes.Equal(got, want) {
							t.Errorf("caller %d, round %d: %v, %d bytes, want %d", c, r, a.fault, len(got), len(want))
							return
						}
						if f := e.push(exchange{method: "/note/say", arg: "x"}); f.code != 0 {
							t.Errorf("caller %d, round %d: push: %v", c, r, f)
							return
						}
					}
				})
			}
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		for range callers * rounds {
			receive(t, "push to ours", o.notes())
			receive(t, "push to theirs", th.notes())
		}
	})
}
