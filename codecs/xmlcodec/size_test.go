package xmlcodec

import (
	"encoding/xml"
	"errors"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codectest"
)

// large is a struct that a few bytes describe.
type large struct {
	A, B, C, D, E, F, G, H, I, J, K, L string
	Small                              []struct{ X int } `xml:"small"`
	Next                               *large
	Many                               []large  `xml:"urn:x many,omitempty"`
	Found                              []*large `xml:"in>side>found"`
	Named                              []named
	Rest                               []struct{ Text [20]string } `xml:",any"`
	embedded
}

type embedded struct{ Deeper []large }

type named struct {
	XMLName xml.Name `xml:"titled"`
	Text    [20]string
}

// Hostile is what makes values deep or large.
func Hostile() []codectest.Option {
	into := func() any { return new(large) }
	wide := func(start, element, end string) codectest.Option {
		return codectest.Wide(into, func(n int) []byte { return []byte(start + strings.Repeat(element, n) + end) })
	}
	return []codectest.Option{
		codectest.Deep(into, func(n int) []byte {
			return []byte(strings.Repeat("<Next>", n) + strings.Repeat("</Next>", n))
		}),
		codectest.Deep(func() any { return new(struct{ X int }) }, func(n int) []byte { // skipped
			return []byte(strings.Repeat("<unknown x='>'>", n) + strings.Repeat("</unknown>", n))
		}),
		wide("<a>", "<Deeper/>", "</a>"),
		wide("<a xmlns:u='urn:x'>", "<u:many />", "</a>"),
		wide("<a>", "<in><side><found></found></side></in>", "</a>"),
		wide("<a><in><side>", "<found></found>", "</side></in></a>"),
		wide("<a><Next><Next>", "<titled></titled>", "</Next></Next></a>"),
		wide("<a>", "<else/>", "</a>"),
		wide("<!DOCTYPE a '> <!-- ' [ <!ENTITY x '<'> <!-- ' > --> ]><a>", "<Deeper/>", "</a>"),
		wide("<?x > <!-- ?><!-- <a> --><a><![CDATA[<x>]]>", "<Deeper/>", "</a>"),
		wide("<a ", `x="/>" `, "/>"),
	}
}

func TestUsualSizes(t *testing.T) {
	type row struct {
		ID         int `xml:",attr"`
		Name, Mail string
		Tags       []string `xml:"Tags>Tag"`
		Note       *string
		R1, R2, R3 []string
	}
	body := "<Rows>" + strings.Repeat(`<Row ID="123"><Name>a name</Name><Mail>a@example.com</Mail><Tags><Tag>a</Tag></Tags></Row>`, 100_000) + "</Rows>"
	if err := checkSize([]byte(body), new(struct{ Row []row }), nil); err != nil {
		t.Error(err)
	}
	body = "<Rows>" + strings.Repeat(`<x a="1" b="2" c="3"/>`, 400_000) + "</Rows>"
	if err := checkSize([]byte(body), new(struct{ Row []row }), nil); err != nil {
		t.Errorf("elements that are skipped: %v", err)
	}
}

// What is measured is what encoding/xml finds.
func FuzzSize(f *testing.F) {
	for _, text := range []string{
		"<a><b x='1'/><!-- <c> --><![CDATA[<d>]]><?e <f>?></a>", "<!DOCTYPE a [<!ENTITY x '<y>'>]><a/>", "<!>", "<!x", "<a", "<a x='", "</a>", "<", "<!<!-->-->",
		"<>", "<!x<!--'-->'>'><a><a><a><a><a><a></a></a></a></a></a></a>",
	} {
		f.Add(text)
	}
	defer codec.SetLimits(codec.CurrentLimits())
	codec.SetLimits(codec.Limits{Depth: 3, Memory: 10_000, Factor: 1})
	f.Fuzz(func(t *testing.T, text string) {
		err := checkSize([]byte(text), new(large), nil)
		if err != nil && !errors.Is(err, codec.ErrTooComplex) {
			t.Fatalf("%q: %v", text, err)
		}
		if n := levels(text); err == nil && n > 3 && len(text) > 3 {
			t.Fatalf("%q has %d levels", text, n)
		}
	})
}

// levels returns how many levels encoding/xml finds before its first error.
func levels(text string) int {
	deepest, n := 0, 0
	d := xml.NewDecoder(strings.NewReader(text))
	d.CharsetReader = charsetReader
	for {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		switch token.(type) {
		case xml.StartElement:
			n++
			deepest = max(deepest, n)
		case xml.EndElement:
			if n--; n == 0 {
				return deepest // Unmarshal ends here
			}
		}
	}
}
