package interop

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/andeya/erpc/v7"
	theirhttp "github.com/andeya/erpc/v7/proto/httproto"
	theirjson "github.com/andeya/erpc/v7/proto/jsonproto"
	theirpb "github.com/andeya/erpc/v7/proto/pbproto"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/protos/httproto"
	"github.com/teleport-go/teleport/protos/jsonproto"
	"github.com/teleport-go/teleport/protos/pbproto"
)

// wire is a protocol of both libraries, beside the raw one.
type wire struct {
	name    string
	detects tp.ProtoFunc
	v7      tp.ProtoFunc
	theirs  erpc.ProtoFunc
	pipes   []string
	odd     []pair // metadata that it can carry
	pushes  bool
}

var wires = []wire{
	{"json", jsonproto.NewJSONProtoFunc(), jsonproto.NewJSONProtoFunc(jsonproto.V7), theirjson.NewJSONProtoFunc(),
		[]string{"m", "g", "gm", "mg"}, odd, true},
	{"protobuf", pbproto.NewPbProtoFunc(), pbproto.NewPbProtoFunc(pbproto.V7), theirpb.NewPbProtoFunc(),
		[]string{"m", "g", "gm", "mg"}, odd, true},
	{"http", httproto.NewHTTProtoFunc(), httproto.NewHTTProtoFunc(httproto.V7), theirhttp.NewHTTProtoFunc(),
		[]string{"g"}, []pair{{"K", "v 1/é"}, {"Long", strings.Repeat("a", 20_000)}, {"*-._~", "a+b %zz %41&="}}, false},
}

// wirings are the ways to connect with the protocol.
func (w wire) wirings() []wiring {
	return []wiring{
		{"theirs dials, ours detects", func(t testing.TB, o *ours, th *theirs) {
			th.dial(t, o.listen(t, w.detects), w.theirs)
		}},
		{"theirs dials, ours begins with V7", func(t testing.TB, o *ours, th *theirs) {
			th.dial(t, o.listen(t, w.v7), w.theirs)
		}},
		{"theirs dials, ours knows several", func(t testing.TB, o *ours, th *theirs) {
			th.dial(t, o.listen(t, tp.AnyProto("raw", "http", "json", "protobuf")), w.theirs)
		}},
		{"ours dials with V7", func(t testing.TB, o *ours, th *theirs) {
			o.dial(t, th.listen(t, w.theirs), w.v7)
		}},
	}
}

func eachWire(t *testing.T, f func(t *testing.T, w wire, o *ours, th *theirs)) {
	for _, w := range wires {
		for _, way := range w.wirings() {
			t.Run(w.name+", "+way.name, func(t *testing.T) {
				o, th := way.connect(t)
				f(t, w, o, th)
			})
		}
	}
}

// big is text that eRPC's JSON protocol does not corrupt: it escapes nothing but
// quotes.
var big = strings.Repeat("0123456789abcdefé ", 1<<16)

func TestProtos(t *testing.T) {
	type protoCase struct {
		name  string
		x     exchange
		want  any
		fault fault
		meta  []pair
	}
	cases := []protoCase{
		{name: "json", x: exchange{method: "/math/add", arg: []int{1, 2, 3}, codec: jsonID}, want: 6},
		{name: "json struct", x: exchange{method: "/echo/doc", arg: &Doc{"é & 1", []byte{0, 255}, map[string][]int{"a": {1}}}, codec: jsonID},
			want: Doc{"é & 1", []byte{0, 255}, map[string][]int{"a": {1}}}},
		{name: "plain", x: exchange{method: "/echo/text", arg: `k=v "1"/é&=%`, codec: plainID}, want: `k=v "1"/é&=%`},
		{name: "no argument, nil reply", x: exchange{method: "/echo/nothing"}, want: struct{}{}},
		{name: "megabyte", x: exchange{method: "/echo/text", arg: big, codec: plainID}, want: big},
		{name: "accept plain", x: exchange{method: "/math/add", arg: []int{40, 2}, codec: jsonID, accept: plainID}, want: 42},
		{name: "reply metadata", x: exchange{method: "/math/add", arg: []int{4}, meta: []pair{{"k", "v"}}}, want: 4},
		{name: "panic", x: exchange{method: "/fail/panic", arg: "k=v 1/é&=%"}, want: "", fault: fault{500, "Internal Server Error", "k=v 1/é&=%"}},
		{name: "not found", x: exchange{method: "/no/such"}, want: 0, fault: fault{404, "Not Found", ""}},
		{name: "not decodable", x: exchange{method: "/math/add", arg: "no list", codec: jsonID}, want: 0, fault: fault{400, "Bad Message", some}},
	}
	for name, f := range map[string]fault{
		"code, message, cause":  {1234, "k=v 1/é&=%", "cause & 100 % = é"},
		"no cause":              {1001, "message", ""},
		"code of the framework": {403, "Forbidden", "not you"},
		"negative code":         {-5, "below", "zero"},
		"long":                  {2000, strings.Repeat("m", 10_000), strings.Repeat("c", 10_000)},
	} {
		cases = append(cases, protoCase{name: "business error, " + name, want: "", fault: f, meta: []pair{{"Kept", "yes"}},
			x: exchange{method: "/fail/business", arg: &ErrorArg{f.code, f.message, f.cause}}})
	}
	eachWire(t, func(t *testing.T, w wire, o *ours, th *theirs) {
		cases := slices.Clone(cases)
		for _, pipe := range append([]string{""}, w.pipes...) {
			for _, c := range cases[:len(cases):len(cases)] {
				if pipe != "" && (c.name == "panic" || c.name == "not found" || c.name == "json" || c.name == "megabyte" || c.name == "business error, code, message, cause") {
					c.name += " through " + pipe
					c.x.pipe = []byte(pipe)
					cases = append(cases, c)
				}
			}
		}
		for _, way := range []struct {
			name     string
			from, to end
		}{{"theirs to ours", th, o}, {"ours to theirs", o, th}} {
			t.Run(way.name, func(t *testing.T) {
				for _, c := range cases {
					t.Run(c.name, func(t *testing.T) {
						x := c.x
						result := reflect.New(reflect.TypeOf(c.want))
						x.result = result.Interface()
						a := way.from.call(t, x)
						if c.fault.cause == some && a.cause != "" {
							a.cause = some
						}
						if a.fault != c.fault {
							t.Fatalf("got %.500v, want %.500v", a.fault, c.fault)
						}
						if got := result.Elem().Interface(); c.fault.code == 0 && !reflect.DeepEqual(got, c.want) {
							t.Errorf("got %.200v, want %.200v", got, c.want)
						}
						for _, m := range c.meta {
							if !slices.ContainsFunc(a.meta, func(p pair) bool { return strings.EqualFold(p.key, m.key) && p.value == m.value }) {
								t.Errorf("metadata of the reply: got %q, want %q", a.meta, m)
							}
						}
					})
				}
				for _, pipe := range append([]string{""}, w.pipes...) {
					t.Run("metadata through "+pipe, func(t *testing.T) {
						a := way.from.call(t, exchange{method: "/echo/metaonly", meta: w.odd, pipe: []byte(pipe)})
						if a.code != 0 {
							t.Fatal(a.fault)
						}
						for _, m := range w.odd {
							if !slices.Contains(a.meta, m) {
								t.Errorf("got %.200q, want %.200q among them", a.meta, m)
							}
						}
					})
				}
				if !w.pushes {
					if f := way.from.push(exchange{method: "/note/say", arg: "x"}); f.code != 104 && f.code != 400 {
						t.Errorf("push: got %v, want a refusal", f)
					}
					return
				}
				for _, pipe := range append([]string{""}, w.pipes...) {
					t.Run("push through "+pipe, func(t *testing.T) {
						for _, text := range []string{"hi", `k=v "1"/é&=%`, big} {
							if f := way.from.push(exchange{method: "/note/say", arg: text, codec: plainID, meta: odd, pipe: []byte(pipe)}); f.code != 0 {
								t.Fatal(f)
							}
							if n := receive(t, "push", way.to.notes()); n.text != text || !slices.Equal(n.meta, odd) {
								t.Errorf("got %.200q, want %.200q", n, text)
							}
						}
					})
				}
			})
		}
	})
}

// What ours sends arrives whatever its bytes are; protobuf and http carry them
// both ways, while eRPC's JSON protocol escapes nothing but quotes.
func TestAnyBytes(t *testing.T) {
	texts := []string{`C:\dir\new`, "two\nlines\t\x00\x1f", "\\\"\\", `\u00e9\`, string(million())}
	eachWire(t, func(t *testing.T, w wire, o *ours, th *theirs) {
		for _, text := range texts {
			if w.name != "json" {
				for _, from := range []end{o, th} {
					var got []byte
					if a := from.call(t, exchange{method: "/echo/bytes", arg: []byte(text), codec: plainID, result: &got}); a.code != 0 || string(got) != text {
						t.Errorf("got %v, %.100q, want %.100q", a.fault, got, text)
					}
				}
				continue
			}
			if f := o.push(exchange{method: "/note/say", arg: text, codec: plainID}); f.code != 0 {
				t.Fatal(f)
			}
			if n := receive(t, "push", th.heard); n.text != text {
				t.Errorf("got %.100q, want %.100q", n.text, text)
			}
		}
	})
}

// eRPC's JSON protocol sends backslashes and control bytes as they are. What is no
// escape, or cannot be one, arrives nevertheless.
func TestUnescapedJSON(t *testing.T) {
	for _, way := range wires[0].wirings() {
		t.Run(way.name, func(t *testing.T) {
			o, th := way.connect(t)
			for _, text := range []string{`C:\Dir`, "two\nlines\t\x00\x1f", "\x80\xff", `\s \d+ \( \u12`} {
				if f := th.push(exchange{method: "/note/say", arg: text, codec: plainID}); f.code != 0 {
					t.Fatal(f)
				}
				if n := receive(t, "push", o.heard); n.text != text {
					t.Errorf("got %q, want %q", n.text, text)
				}
			}
		})
	}
}

func TestProtosAtOnce(t *testing.T) {
	eachWire(t, func(t *testing.T, w wire, o *ours, th *theirs) {
		var wg sync.WaitGroup
		for _, e := range []end{o, th} {
			for c := range 4 {
				wg.Go(func() {
					for r := range 30 {
						want := bytes.Repeat([]byte{byte('a' + c), byte('A' + r%26)}, 1+r*r)
						var got []byte
						var pipe []byte
						if r%3 == 0 {
							pipe = []byte(w.pipes[0])
						}
						a := e.call(t, exchange{method: "/echo/bytes", arg: want, result: &got, codec: plainID, pipe: pipe})
						if a.code != 0 || !bytes.Equal(got, want) {
							t.Errorf("caller %d, round %d: %v, %d bytes, want %d", c, r, a.fault, len(got), len(want))
							return
						}
					}
				})
			}
		}
		wg.Wait()
	})
}
