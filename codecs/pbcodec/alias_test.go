package pbcodec

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codectest"
)

// texts is a message {repeated 1: text} of short texts, with generated methods
// as vtprotobuf's features unmarshal_unsafe and pool write them.
type texts struct {
	List []string
	used []string
}

func (t *texts) did(what string) { t.used = append(t.used, what) }

func (t *texts) Reset() {
	t.List = nil
	t.did("reset")
}

func (t *texts) ResetVT() {
	t.List = t.List[:0]
	t.did("resetvt")
}

func (t *texts) MarshalVT() ([]byte, error) {
	var b []byte
	for _, text := range t.List {
		b = append(append(b, 0x0a, byte(len(text))), text...)
	}
	return b, nil
}

func (t *texts) UnmarshalVT(b []byte) error {
	t.did("unmarshal")
	return t.unmarshal(b, func(b []byte) string { return string(b) })
}

func (t *texts) UnmarshalVTUnsafe(b []byte) error {
	t.did("unsafe")
	return t.unmarshal(b, func(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) })
}

func (t *texts) unmarshal(b []byte, text func(b []byte) string) error {
	for len(b) > 0 {
		if len(b) < 2 || b[0] != 0x0a || int(b[1]) > len(b)-2 {
			return errors.New("not a message of texts")
		}
		n := 2 + int(b[1])
		t.List = append(t.List, text(b[2:n]))
		b = b[n:]
	}
	return nil
}

// Messages with some of the methods only.
type (
	plainTexts struct{ t texts } // none of the two
	aliasTexts struct{ plainTexts }
	reuseTexts struct{ plainTexts }
)

func (p *plainTexts) Reset()                           { p.t.Reset() }
func (p *plainTexts) UnmarshalVT(b []byte) error       { return p.t.UnmarshalVT(b) }
func (p *aliasTexts) UnmarshalVTUnsafe(b []byte) error { return p.t.UnmarshalVTUnsafe(b) }
func (p *reuseTexts) ResetVT()                         { p.t.ResetVT() }

const twoTexts = "\x0a\x02hi\x0a\x05there"

func TestAliasConformance(t *testing.T) {
	codectest.With(codectest.Flat(), codectest.Equal(func(got, want any) bool {
		if g, ok := got.(*texts); ok {
			return slices.Equal(g.List, want.(*texts).List)
		}
		return equal(got, want)
	})).Run(t, Codec{Alias: true},
		&texts{List: []string{"hi", "there"}}, wrapperspb.String("text"), typical(), &fast{Text: "fast"}, &first{Text: "first"})
}

func TestAliasMethods(t *testing.T) {
	all, plain, alias, reuse := new(texts), new(plainTexts), new(aliasTexts), new(reuseTexts)
	for _, test := range []struct {
		name   string
		v      any
		t      *texts
		usual  string
		wanted string
	}{
		{"both", all, all, "[reset unmarshal]", "[resetvt unsafe]"},
		{"none", plain, &plain.t, "[reset unmarshal]", "[reset unmarshal]"},
		{"UnmarshalVTUnsafe", alias, &alias.t, "[reset unmarshal]", "[reset unsafe]"},
		{"ResetVT", reuse, &reuse.t, "[reset unmarshal]", "[resetvt unmarshal]"},
	} {
		for _, c := range []struct {
			Codec
			want string
		}{{Codec{}, test.usual}, {Codec{Alias: true}, test.wanted}} {
			t.Run(fmt.Sprintf("%s, alias %v", test.name, c.Alias), func(t *testing.T) {
				*test.t = texts{List: []string{"before"}}
				if err := c.Unmarshal([]byte(twoTexts), test.v); err != nil {
					t.Fatal(err)
				}
				if got := fmt.Sprint(test.t.used); got != c.want {
					t.Errorf("used %s, want %s", got, c.want)
				}
				if got, want := fmt.Sprint(test.t.List), "[hi there]"; got != want {
					t.Errorf("decoded %s, want %s", got, want)
				}
			})
		}
	}
}

// A text stays what it is when its message and the input are used again.
func TestAliasKept(t *testing.T) {
	c, m, data := Codec{Alias: true}, new(texts), []byte(twoTexts)
	var kept []string
	for i := range 5 {
		data[2] = byte('a' + i)
		if err := c.Unmarshal(data, m); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, m.List[0])
	}
	clear(data)
	if got, want := strings.Join(kept, " "), "ai bi ci di ei"; got != want {
		t.Errorf("kept %q, want %q", got, want)
	}
	if got, want := cap(m.List), 2; got != want {
		t.Errorf("room for %d texts is kept, want %d", got, want)
	}
}

func TestAliasAllocations(t *testing.T) {
	for _, test := range []struct {
		name, data string
		alias      bool
		want       float64
	}{
		{"aliased", twoTexts, true, 1},
		{"aliased, empty", "", true, 0},
		{"copied", twoTexts, false, 4}, // two texts, and a list that grows twice
	} {
		t.Run(test.name, func(t *testing.T) {
			c, m, data := Codec{test.alias}, &texts{used: make([]string, 0, 1000)}, []byte(test.data)
			codectest.Allocs(t, "Unmarshal", test.want, func() {
				if err := c.Unmarshal(data, m); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestAliasErrors(t *testing.T) {
	for _, test := range []struct {
		name, data string
		v          any
		want       string
	}{
		{"cut short", "\x0a\x05hi", new(texts), "protobuf codec: decode into *pbcodec.texts: not a message of texts"},
		{"nil", twoTexts, (*texts)(nil), "protobuf codec: decode into *pbcodec.texts: it is nil"},
		{"no message", twoTexts, new(int), "protobuf codec: *int does not implement proto.Message"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := (Codec{Alias: true}).Unmarshal([]byte(test.data), test.v); err == nil || err.Error() != test.want {
				t.Errorf("Unmarshal: %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestReplace(t *testing.T) {
	defer codec.Replace(Codec{})
	codec.Replace(Codec{Alias: true})
	m := new(texts)
	if err := codec.Unmarshal(codec.Protobuf, []byte(twoTexts), m); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(m.used), "[resetvt unsafe]"; got != want {
		t.Errorf("used %s, want %s", got, want)
	}
}

// A fresh value is not reset, and every other value is.
func TestFresh(t *testing.T) {
	for _, test := range []struct {
		name  string
		alias bool
		v     any
		used  func(v any) []string
		mode  codec.Mode
		want  string
	}{
		{"generated", false, new(plainTexts), usedByPlain, codec.Fresh, "[unmarshal]"},
		{"generated, perhaps not empty", false, new(plainTexts), usedByPlain, 0, "[reset unmarshal]"},
		{"aliased", true, new(texts), usedByTexts, codec.Fresh, "[unsafe]"},
		{"aliased, borrowed", true, new(texts), usedByTexts, codec.Fresh | codec.Borrowed, "[unsafe]"},
		{"aliased, borrowed, perhaps not empty", true, new(texts), usedByTexts, codec.Borrowed, "[resetvt unsafe]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := (Codec{Alias: test.alias}).Decode([]byte(twoTexts), test.v, test.mode); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(test.used(test.v)); got != test.want {
				t.Errorf("used %s, want %s", got, test.want)
			}
		})
	}
	data, err := proto.Marshal(&wrapperspb.StringValue{}) // no field
	if err != nil {
		t.Fatal(err)
	}
	data = append(data, 0x50, 1) // one that is not known
	for mode, want := range map[codec.Mode]string{0: "", codec.Fresh: "was there"} {
		m := wrapperspb.String("was there")
		if err := (Codec{}).Decode(data, m, mode); err != nil || m.Value != want {
			t.Errorf("by reflection, mode %d: %q, %v; want %q", mode, m.Value, err, want)
		}
	}
}

func usedByTexts(v any) []string { return v.(*texts).used }
func usedByPlain(v any) []string { return v.(*plainTexts).t.used }

// A borrowed body is not copied if the message refers to it; otherwise the message
// owns its memory.
func TestBorrowed(t *testing.T) {
	for _, test := range []struct {
		name    string
		alias   bool
		v       any
		list    func(v any) []string
		borrows bool
	}{
		{"aliased", true, new(texts), func(v any) []string { return v.(*texts).List }, true},
		{"no alias", false, new(texts), func(v any) []string { return v.(*texts).List }, false},
		{"a message without the method", true, new(reuseTexts), func(v any) []string { return v.(*reuseTexts).t.List }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := []byte(twoTexts)
			var c codec.Decoder = Codec{Alias: test.alias}
			if err := c.Decode(data, test.v, codec.Borrowed); err != nil {
				t.Fatal(err)
			}
			list := test.list(test.v)
			if got, want := fmt.Sprint(list), "[hi there]"; got != want {
				t.Fatalf("decoded %s, want %s", got, want)
			}
			if got := unsafe.StringData(list[0]) == &data[2]; got != test.borrows {
				t.Errorf("a part of the body: %v, want %v", got, test.borrows)
			}
		})
	}
	if err := (Codec{Alias: true}).Decode(nil, (*texts)(nil), codec.Borrowed); err == nil {
		t.Error("nothing is wrong with nil")
	}
}
