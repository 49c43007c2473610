package xmlcodec_test

import (
	"encoding/xml"
	"strings"
	"testing"

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
	codectest.Run(t, xmlcodec.Codec{}, &point{X: -1, Name: "a <b> & \"c\" é", Tags: []string{"one", "two"}}, "text", 42, true)
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
		name, data, want string // want: of the error, "" for none
	}{
		{"declaration, comments, white space", "<?xml version=\"1.0\"?>\n<point x=\"7\"/>\n<!-- the end -->\n", ""},
		{"nothing", "", "unexpected EOF"},
		{"cut", `<point x="7"`, "unexpected EOF"},
		{"two elements", `<point x="7"/><point/>`, "data behind the root element"},
		{"text behind", `<point x="7"/> more`, "data behind the root element"},
		{"another element", `<line/>`, "expected element type <point>"},
		{"no number", `<point x="seven"/>`, "invalid syntax"},
		{"no entity of one's own", `<!DOCTYPE p [<!ENTITY e "x">]><point x="7"><name>&e;</name></point>`, "invalid character entity &e;"},
		{"another character set", `<?xml version="1.0" encoding="latin1"?><point x="7"/>`, "encoding"},
		{"deep, and not closed", "<point>" + strings.Repeat("<a>", 20_000), "unexpected EOF"},
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
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "xml codec: decode into *xmlcodec_test.point: ") {
				t.Errorf("Unmarshal: %v; want the type and %q", err, test.want)
			}
		})
	}
	if _, err := (xmlcodec.Codec{}).Marshal(make(chan int)); err == nil || !strings.Contains(err.Error(), "chan int") {
		t.Errorf("Marshal of a channel: %v; want an error that names it", err)
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{"", "<point/>", `<point x="1"><name>n</name><tags><tag>a</tag></tags></point>`, "<point><point>", "<!DOCTYPE", "<point>&#0;</point>"} {
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

func BenchmarkAppend(b *testing.B) {
	v := sample()
	buf := make([]byte, 0, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (xmlcodec.Codec{}).Append(buf, v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	data, err := xmlcodec.Codec{}.Marshal(sample())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := (xmlcodec.Codec{}).Unmarshal(data, new(point)); err != nil {
			b.Fatal(err)
		}
	}
}
