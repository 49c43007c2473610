// Package flame draws a profile of Go's runtime/pprof as a flame graph in SVG.
package flame

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// Node is a function as it was called on one stack.
type Node struct {
	Name     string
	Total    int64 // of it and what it called
	Children []*Node
}

// Read parses a profile.
func Read(r io.Reader) (*profile.Profile, error) {
	p, err := profile.Parse(r)
	if err != nil {
		return nil, fmt.Errorf("flame: %w", err)
	}
	return p, nil
}

// Build adds the samples' values of one type ("cpu", "alloc_space", …) up into a
// tree; unit is that type's unit.
func Build(p *profile.Profile, sampleType string) (root *Node, unit string, err error) {
	index := slices.IndexFunc(p.SampleType, func(t *profile.ValueType) bool { return t.Type == sampleType })
	if index < 0 {
		var have []string
		for _, t := range p.SampleType {
			have = append(have, t.Type)
		}
		return nil, "", fmt.Errorf("flame: the profile has no values of %q, but of %s", sampleType, strings.Join(have, " "))
	}
	root = &Node{Name: "all"}
	for _, s := range p.Sample {
		root.add(stack(s), s.Value[index])
	}
	root.sort()
	return root, p.SampleType[index].Unit, nil
}

// stack names the functions of a sample, the outermost first.
func stack(s *profile.Sample) (names []string) {
	for _, l := range slices.Backward(s.Location) {
		for _, line := range slices.Backward(l.Line) { // inlined functions share a location
			name := "?"
			if line.Function != nil {
				name = line.Function.Name
			}
			names = append(names, name)
		}
	}
	return names
}

func (n *Node) add(names []string, value int64) {
	n.Total += value
	for _, name := range names {
		i := slices.IndexFunc(n.Children, func(c *Node) bool { return c.Name == name })
		if i < 0 {
			i = len(n.Children)
			n.Children = append(n.Children, &Node{Name: name})
		}
		n = n.Children[i]
		n.Total += value
	}
}

// sort orders by name, so that two graphs can be laid side by side.
func (n *Node) sort() {
	slices.SortFunc(n.Children, func(a, b *Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, c := range n.Children {
		c.sort()
	}
}

const (
	width     = 1400
	rowHeight = 17
	headSpace = 50
	narrowest = 0.6 // pixels below which nothing can be seen
)

const style = `
text{font:11px "DejaVu Sans Mono",ui-monospace,monospace;fill:#22221f;pointer-events:none}.title{font:600 15px system-ui,"DejaVu Sans",sans-serif}
.page{fill:#fcfcfb}rect.f{stroke:#fcfcfb;stroke-width:.5}rect.f:hover{stroke:#000;stroke-width:1}
@media (prefers-color-scheme:dark){.page{fill:#1a1a19}.title{fill:#e6e5df}rect.f{stroke:#1a1a19}rect.f:hover{stroke:#fff}}
`

// Render draws the tree: the callers below, what they call above them. Each
// rectangle tells its function, value and share to the pointer.
func Render(w io.Writer, root *Node, unit, title string) error {
	d := drawing{unit: unit, all: root.Total, perPixel: float64(max(root.Total, 1)) / width}
	d.height = headSpace + d.rows(root)*rowHeight + rowHeight/2
	fmt.Fprintf(&d.b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d"><style>%s</style>`+"\n", width, d.height, width, d.height, escape(style))
	fmt.Fprintf(&d.b, `<rect class="page" width="%d" height="%d"/><text class="title" x="8" y="24">%s, %s in all</text>`+"\n", width, d.height, escape(title), d.value(root.Total))
	d.node(root, 0, 0)
	d.b.WriteString("</svg>\n")
	_, err := io.WriteString(w, d.b.String())
	return err
}

type drawing struct {
	b        strings.Builder
	unit     string
	all      int64
	perPixel float64
	height   int
}

func (d *drawing) visible(n *Node) bool { return float64(n.Total)/d.perPixel >= narrowest }

func (d *drawing) rows(n *Node) (deepest int) {
	for _, c := range n.Children {
		if d.visible(c) {
			deepest = max(deepest, d.rows(c))
		}
	}
	return deepest + 1
}

func (d *drawing) node(n *Node, x float64, depth int) {
	wide, y := float64(n.Total)/d.perPixel, d.height-rowHeight/2-(depth+1)*rowHeight
	share := 100 * float64(n.Total) / float64(max(d.all, 1))
	fmt.Fprintf(&d.b, `<g><title>%s: %s, %.2f%%</title><rect class="f" x="%.2f" y="%d" width="%.2f" height="%d" fill="%s"/>`,
		escape(n.Name), d.value(n.Total), share, x, y, wide, rowHeight-1, colour(n.Name))
	if text := fit(n.Name, wide); text != "" {
		fmt.Fprintf(&d.b, `<text x="%.2f" y="%d">%s</text>`, x+3, y+rowHeight-5, escape(text))
	}
	d.b.WriteString("</g>\n")
	for _, c := range n.Children {
		if d.visible(c) {
			d.node(c, x, depth+1)
		}
		x += float64(c.Total) / d.perPixel
	}
}

func (d *drawing) value(v int64) string {
	switch d.unit {
	case "nanoseconds":
		return time.Duration(v).Round(time.Millisecond).String()
	case "bytes":
		return fmt.Sprintf("%.2f MiB", float64(v)/(1<<20))
	}
	return fmt.Sprintf("%d %s", v, d.unit)
}

// fit shortens a function's name to what its rectangle can hold: first the
// package's path goes, then the end.
func fit(name string, wide float64) string {
	letters := int((wide - 6) / 6.7)
	if letters < 3 {
		return ""
	}
	if len(name) > letters {
		name = name[strings.LastIndexByte(beforeTypes(name), '/')+1:]
	}
	if runes := []rune(name); len(runes) > letters {
		name = string(runes[:letters-1]) + "…"
	}
	return name
}

// beforeTypes cuts type arguments, whose paths have slashes too.
func beforeTypes(name string) string {
	name, _, _ = strings.Cut(name, "[")
	return name
}

// colour tells a package by its hue; the kernel's and the runtime's are cold.
func colour(name string) string {
	path := beforeTypes(name)
	slash := strings.LastIndexByte(path, '/') + 1
	if dot := strings.IndexByte(path[slash:], '.'); dot >= 0 {
		path = path[:slash+dot]
	}
	h := fnv.New32a()
	h.Write([]byte(path))
	n := int(h.Sum32() % 1000)
	switch {
	case strings.HasPrefix(path, "runtime"), strings.HasPrefix(path, "internal/runtime"):
		return fmt.Sprintf("hsl(%d,38%%,74%%)", 195+n%30)
	case path == "syscall", path == "internal/poll", path == "net":
		return fmt.Sprintf("hsl(%d,30%%,74%%)", 260+n%40)
	}
	return fmt.Sprintf("hsl(%d,78%%,%d%%)", 8+n%52, 64+n%9)
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}
