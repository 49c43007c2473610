package flame_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/pprof/profile"

	"github.com/teleport-go/teleport/tools/bench/internal/flame"
)

// made is a profile of three stacks: main>a>b 60, main>a 30, main>c 10.
func made() *profile.Profile {
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}}
	for i, name := range []string{"main.main", "example.org/x.a", "example.org/x.b[...]", "runtime.c<&>"} {
		f := &profile.Function{ID: uint64(i + 1), Name: name}
		l := &profile.Location{ID: uint64(i + 1), Line: []profile.Line{{Function: f}}}
		p.Function, p.Location = append(p.Function, f), append(p.Location, l)
	}
	main, a, b, c := p.Location[0], p.Location[1], p.Location[2], p.Location[3]
	for _, s := range []struct {
		value int64
		stack []*profile.Location
	}{{60e9, []*profile.Location{b, a, main}}, {30e9, []*profile.Location{a, main}}, {10e9, []*profile.Location{c, main}}} {
		p.Sample = append(p.Sample, &profile.Sample{Value: []int64{1, s.value}, Location: s.stack})
	}
	return p
}

func TestBuildAddsUp(t *testing.T) {
	var file bytes.Buffer
	if err := made().Write(&file); err != nil {
		t.Fatal(err)
	}
	p, err := flame.Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	root, unit, err := flame.Build(p, "cpu")
	if err != nil || unit != "nanoseconds" {
		t.Fatalf("Build: unit %q, %v", unit, err)
	}
	got := map[string]int64{}
	var walk func(n *flame.Node)
	walk = func(n *flame.Node) {
		got[n.Name] += n.Total
		for _, c := range n.Children {
			walk(c)
		}
	}
	walk(root)
	for name, want := range map[string]int64{"all": 100e9, "main.main": 100e9, "example.org/x.a": 90e9, "example.org/x.b[...]": 60e9, "runtime.c<&>": 10e9} {
		if got[name] != want {
			t.Errorf("total of %s is %d, want %d", name, got[name], want)
		}
	}
}

func TestInlinedFunctionsAreFrames(t *testing.T) {
	p := made()
	p.Location[1].Line = []profile.Line{{Function: p.Function[2]}, {Function: p.Function[1]}} // b inlined into a
	p.Sample = p.Sample[1:2]
	root, _, err := flame.Build(p, "cpu")
	if err != nil {
		t.Fatal(err)
	}
	var path []string
	for n := root; ; n = n.Children[0] {
		path = append(path, n.Name)
		if len(n.Children) == 0 {
			break
		}
	}
	if got, want := strings.Join(path, " "), "all main.main example.org/x.a example.org/x.b[...]"; got != want {
		t.Errorf("stack %q, want %q", got, want)
	}
}

func TestBuildOfAnotherType(t *testing.T) {
	if _, _, err := flame.Build(made(), "alloc_space"); err == nil || !strings.Contains(err.Error(), "samples cpu") {
		t.Errorf("Build of a type that is not there: %v, want the types that are", err)
	}
}

func TestRender(t *testing.T) {
	root, unit, err := flame.Build(made(), "cpu")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := flame.Render(&b, root, unit, "CPU <server>"); err != nil {
		t.Fatal(err)
	}
	titles := titles(t, b.String())
	for _, want := range []string{"all: 1m40s, 100.00%", "example.org/x.a: 1m30s, 90.00%", "example.org/x.b[...]: 1m0s, 60.00%", "runtime.c<&>: 10s, 10.00%"} {
		if !titles[want] {
			t.Errorf("no tooltip %q in %v", want, titles)
		}
	}
}

func TestRenderOfNothing(t *testing.T) {
	var b strings.Builder
	if err := flame.Render(&b, &flame.Node{Name: "all"}, "bytes", "empty"); err != nil {
		t.Fatal(err)
	}
	titles(t, b.String())
}

func titles(t *testing.T, svg string) map[string]bool {
	t.Helper()
	list := map[string]bool{}
	inTitle := false
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatalf("not XML: %v\n%s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inTitle = token.Name.Local == "title"
		case xml.CharData:
			if inTitle {
				list[string(token)] = true
			}
		case xml.EndElement:
			inTitle = false
		}
	}
}
