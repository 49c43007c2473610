package xmlcodec_test

import (
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/teleport-go/teleport/codecs/xmlcodec"
	"github.com/teleport-go/teleport/core/codectest"
)

type point struct {
	XMLName struct{} `xml:"point"`
	X       int      `xml:"x,attr"`
	Name    string   `xml:"name"`
	Tags    []string `xml:"tags>tag"`
}

func TestConformance(t *testing.T) {
	codectest.With(xmlcodec.Hostile()...).Run(t, xmlcodec.Codec{}, &point{X: -1, Name: "a <b> & \"c\" é", Tags: []string{"one", "two"}}, "text", 42, true)
}

func TestValues(t *testing.T) {
	type (
		empty = codectest.Field[[]int]
		bytes = codectest.Field[[]byte]
	)
	codectest.Values(t, xmlcodec.Codec{},
		codectest.Refuses("*/*that is not UTF-8", `"a\xffb": byte 1, 0xff: not a character of XML`),
		codectest.Refuses("*/*control characters", "byte 0, U+0000: not a character of XML"),
		codectest.Refuses("field/bytes", "not a character of XML"),
		codectest.Refuses("field/array of bytes", "not a character of XML"),
		codectest.Refuses("*/complex", "xml codec: encode"),
		codectest.Refuses("*/unsupported*", "xml codec: encode"),
		codectest.Refuses("*/time of the year 10000", "xml codec: encode"),
		codectest.Refuses("*/*map*", "xml codec: encode"),
		codectest.Refuses("*/any*map*", "xml codec: encode"),
		codectest.Refuses("*/any, nested", "xml codec: encode"),
		codectest.Refuses("field/any text", "interface {} is skipped"),
		codectest.Refuses("field/any number", "interface {} is skipped"),
		codectest.Refuses("field/any *int64", "interface {} is skipped"),
		codectest.Refuses("field/any list*", "interface {} is skipped"),
		codectest.Refuses("field/nil any", "interface {} is skipped"),
		codectest.Refuses("field/any list", "nil in a list has no element"),
		codectest.Refuses("field/pointer to pointer", "xml codec: decode into"),
		codectest.Refuses("*/list of lists", "a list"),
		codectest.Refuses("field/*with a nil", "nil in a list has no element"),
		codectest.Refuses("field/map with a nil", "xml codec: encode"),
		codectest.Refuses("field/array", "xml codec: decode into"),
		codectest.Refuses("alone/*bytes", "xml codec: encode"),
		codectest.Refuses("alone/array of bytes", "xml codec: encode"),
		codectest.Refuses("alone/times", "a list is not one element"),
		codectest.Refuses("alone/list", "a list is not one element"),
		codectest.Refuses("alone/array", "a list is not one element"),
		codectest.Refuses("alone/texts", "a list is not one element"),
		codectest.Refuses("alone/structs", "a list is not one element"),
		codectest.Refuses("alone/pointers*", "a list is not one element"),
		// No elements are all there is of an empty list; bytes have one always.
		codectest.Becomes("alone/empty list", []int(nil)),
		codectest.Becomes("field/empty list", empty{}),
		codectest.Becomes("field/nil bytes", bytes{V: []byte{}}),
	)
}

func TestLost(t *testing.T) {
	type (
		envelope struct{ Body any }
		list     struct {
			Items []struct{ V fmt.Stringer }
		}
		leaves struct {
			Body any `xml:"-"`
			X    int
		}
	)
	self := &struct{ Next any }{}
	self.Next = self
	for _, test := range []struct {
		name, data string
		v          any
		want       string // of the error, "" for none
	}{
		{"into an interface", "<envelope><Body>1</Body></envelope>", new(envelope), `*xmlcodec_test.envelope: field Body: interface {} is skipped by encoding/xml`},
		{"into what an interface points to", "<envelope><Body>1</Body></envelope>", &envelope{new(int)}, ""},
		{"into an interface that holds no pointer", "<envelope/>", &envelope{1}, "field Body: interface {}"},
		{"into an interface in what one points to", "<envelope/>", &envelope{new(envelope)}, "field Body: field Body: interface {}"},
		{"into an interface in a list", "<list/>", new(list), "field Items: []struct { V fmt.Stringer } holds an interface"},
		{"into an interface behind a nil pointer", "<p/>", new(*envelope), "*xmlcodec_test.envelope holds an interface"},
		{"into any", "<p/>", new(any), "interface {} is skipped"},
		{"an interface left out", "<leaves><X>1</X></leaves>", new(leaves), ""},
		{"into itself", "<p/>", self, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := xmlcodec.Codec{}.Unmarshal([]byte(test.data), test.v)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("Unmarshal: %v; want %q", err, test.want)
			}
		})
	}
	for name, v := range map[string]any{
		"list in a list, in an interface": &envelope{[][]int{{1}}},
		"nil in a list, in an interface":  &envelope{[]*int{nil}},
		"text of MarshalText":             &envelope{verbatim("\x00")},
		"list of two, in a pointer":       &[]int{1, 2},
		"two pieces of text":              &point{Name: "good", Tags: []string{"\ufffd", "a\ufffeb"}},
	} {
		if b, err := (xmlcodec.Codec{}).Append([]byte("head"), v); err == nil || string(b) != "head" {
			t.Errorf("%s: Append = %q, %v; want head and an error", name, b, err)
		}
	}
}

type verbatim string

func (v verbatim) MarshalText() ([]byte, error) { return []byte(v), nil }

func TestCharsets(t *testing.T) {
	const latin1 = `<?xml version="1.0" encoding="ISO-8859-1"?>`
	for _, test := range []struct{ name, data, want string }{
		{"UTF-8", `<?xml version="1.0" encoding="UTF-8"?><string>é</string>`, "é"},
		{"UTF8", `<?xml version="1.0" encoding="UTF8"?><string>é</string>`, "é"},
		{"byte order mark", "\ufeff" + `<?xml version="1.0" encoding="utf-8"?><string>é</string>`, "é"},
		{"US-ASCII", `<?xml version="1.0" encoding="us-ascii"?><string>e&#233;</string>`, "eé"},
		{"US-ASCII, and more", `<?xml version="1.0" encoding="US-ASCII"?><string>` + "\xe9</string>", `error: character set "US-ASCII": it has no byte 0xe9`},
		{"ISO-8859-1", latin1 + "<string>\xe9t\xe9 \xff\xa0</string>", "été ÿ\u00a0"},
		{"latin1", `<?xml version="1.0" encoding="latin1"?><string>` + "\xe9</string>", "é"},
		{"not known", `<?xml version="1.0" encoding="windows-1251"?><string/>`, `error: character set "windows-1251": want UTF-8, US-ASCII or ISO-8859-1`},
		{"long", `<?xml version="1.0" encoding="` + strings.Repeat("x", 5000) + `"?><string/>`, `error: character set "` + strings.Repeat("x", 32) + `": want`},
		{"declared again", strings.Repeat(latin1, 2) + "<string>\xe9</string>", `error: character set "ISO-8859-1": it is the second declaration`},
		{"none", "<string>\xe9</string>", "error: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if err := (xmlcodec.Codec{}).Unmarshal([]byte(test.data), &got); err != nil {
				got = "error: " + strings.TrimPrefix(err.Error(), "xml codec: decode into *string: ")
			}
			if want, ok := strings.CutPrefix(test.want, "error: "); got != test.want && !(ok && strings.HasPrefix(got, "error: "+want)) {
				t.Errorf("Unmarshal = %q; want %q", got, test.want)
			}
		})
	}
}

// An error names no function of Go and no layout of package time.
func TestPlainErrors(t *testing.T) {
	for _, test := range []struct {
		data string
		v    any
		want string
	}{
		{`<point x="seven"/>`, new(point), `xml codec: decode into *xmlcodec_test.point: "seven": invalid syntax`},
		{`<int8>300</int8>`, new(int8), `xml codec: decode into *int8: "300": value out of range`},
		{`<int>` + strings.Repeat("x", 5000) + `</int>`, new(int), `xml codec: decode into *int: "` + strings.Repeat("x", 32) + `": invalid syntax`},
		{`<bool>maybe</bool>`, new(bool), `xml codec: decode into *bool: "maybe": invalid syntax`},
		{`<t>yesterday</t>`, new(time.Time), `xml codec: decode into *time.Time: "yesterday" is not a time of RFC 3339`},
		{`<int>1</int>`, 1, `xml codec: decode into int: no pointer, or nil`},
		{`<int>1</int>`, (*int)(nil), `xml codec: decode into *int: no pointer, or nil`},
		{`<int>1</int>`, nil, `xml codec: decode into <nil>: no pointer, or nil`},
	} {
		if err := (xmlcodec.Codec{}).Unmarshal([]byte(test.data), test.v); err == nil || err.Error() != test.want {
			t.Errorf("Unmarshal(%.40q):\n got %v\nwant %s", test.data, err, test.want)
		}
	}
}

func TestWire(t *testing.T) {
	b, err := xmlcodec.Codec{}.Append([]byte("head"), &point{X: 1, Name: "<home>", Tags: []string{"a"}})
	const want = `head<point x="1"><name>&lt;home&gt;</name><tags><tag>a</tag></tags></point>`
	if string(b) != want || err != nil {
		t.Errorf("Append = %q, %v; want %q", b, err, want)
	}
}

func TestUnmarshal(t *testing.T) {
	for _, test := range []struct {
		name, data, want string // want: of the error, "" for none; "…" for words of encoding/xml
	}{
		{"declaration, comments, white space", "<?xml version=\"1.0\"?>\n<point x=\"7\"/>\n<!-- the end -->\n", ""},
		{"nothing", "", "unexpected EOF"},
		{"cut", `<point x="7"`, "…"},
		{"two elements", `<point x="7"/><point/>`, "data after the root element"},
		{"text behind", `<point x="7"/> more`, "data after the root element"},
		{"another element", `<line/>`, "…"},
		{"no number", `<point x="seven"/>`, "invalid syntax"},
		{"no entity of one's own", `<!DOCTYPE p [<!ENTITY e "x">]><point x="7"><name>&e;</name></point>`, "…"},
		{"another character set", `<?xml version="1.0" encoding="koi8-r"?><point x="7"/>`, "character set"},
		{"deep, and not closed", "<point>" + strings.Repeat("<a>", 20_000), "…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var p point
			err := xmlcodec.Codec{}.Unmarshal([]byte(test.data), &p)
			if test.want == "" {
				if err != nil || p.X != 7 {
					t.Errorf("Unmarshal = %+v, %v; want x 7", p, err)
				}
				return
			}
			if err == nil || test.want != "…" && !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "xml codec: decode into *xmlcodec_test.point: ") {
				t.Errorf("Unmarshal: %v; want the type and %q", err, test.want)
			}
		})
	}
	if _, err := (xmlcodec.Codec{}).Marshal(make(chan int)); err == nil || !strings.Contains(err.Error(), "chan int") {
		t.Errorf("Marshal of a channel: %v; want an error that names it", err)
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{"", "<point/>", `<point x="1"><name>n</name><tags><tag>a</tag></tags></point>`, "<point><point>", "<!DOCTYPE", "<point>&#0;</point>",
		`<?xml version="1.0" encoding="latin1"?><point x="1"><name>` + "\xe9</name></point>", `<?xml encoding="us-ascii"?><?xml encoding="utf8"?><point/>`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p point
		if err := (xmlcodec.Codec{}).Unmarshal(data, &p); err != nil {
			return // refused, and nothing broke
		}
		again, err := xmlcodec.Codec{}.Marshal(&p)
		if err != nil {
			t.Fatal(err)
		}
		if err := xml.Unmarshal(again, new(point)); err != nil {
			t.Errorf("%q became %q: %v", data, again, err)
		}
	})
}

func sample() *point {
	return &point{X: 7, Name: strings.Repeat("x", 500), Tags: []string{"push", "call"}}
}

func BenchmarkAppend(b *testing.B) { codectest.BenchAppend(b, xmlcodec.Codec{}, sample()) }

func BenchmarkUnmarshal(b *testing.B) {
	codectest.BenchUnmarshal(b, xmlcodec.Codec{}, sample(), func() any { return new(point) })
}
