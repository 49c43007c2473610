// Package chart draws groups of bars as an SVG for light and dark pages.
//
// Each group is a panel with a scale of its own, since configurations differ by orders
// of magnitude: only bars of one panel are comparable. Values are printed beside their
// bars, so the chart does not depend on colour.
package chart

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Kind is the kind of a bar; it determines the colour.
type Kind int

// The kinds of bars.
const (
	Other  Kind = iota // a peer
	Ours               // one of ours
	Bounds             // the floor
)

// Bar is one value with its name.
type Bar struct {
	Name  string
	Value float64
	Kind  Kind
}

// Group is the bars of a panel.
type Group struct {
	Title string
	Bars  []Bar
}

// Chart is a chart. Values that are not positive and finite are left out.
type Chart struct {
	Title string
	Note  string // a line under the title
	Axis  string // what the values are, with their unit
	// Log draws points on a logarithmic axis instead of bars from zero.
	Log bool
	// Ascending puts the least value of a panel first, for figures where less is better.
	Ascending bool
	// Format formats the values at bars and axes; nil means %.3g.
	Format func(float64) string
	// Max is the largest number of bars in a panel, 12 if 0. The worst of Other are left
	// out first; Ours and Bounds always stay.
	Max    int
	Groups []Group
}

const (
	panelWidth = 470
	labelWidth = 128
	valueWidth = 74
	rowHeight  = 19
	headHeight = 86
	panelHead  = 26
	panelFoot  = 46
	margin     = 16
	plotWidth  = panelWidth - labelWidth - valueWidth
)

// style has the colours of both pages; the viewer chooses by its preference.
const style = `
text{font:12px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;fill:#33332f}
.page{fill:#fcfcfb}.title{font-size:17px;font-weight:600}.head{font-size:13px;font-weight:600}.soft{fill:#6b6a64;font-size:11px}
.grid{stroke:#e4e3dd;stroke-width:1}.axis{stroke:#b5b4ac;stroke-width:1}.ours{fill:#2a78d6}.other{fill:#a3a29a}.bounds{fill:#e0a33a}
.stem{stroke:#c9c8c0;stroke-width:1}.strong{font-weight:600}
@media (prefers-color-scheme:dark){text{fill:#e6e5df}.page{fill:#1a1a19}.soft{fill:#a3a29a}.grid{stroke:#33332f}.axis{stroke:#6b6a64}
.ours{fill:#4a94ee}.other{fill:#7d7c75}.bounds{fill:#c98a1e}.stem{stroke:#4a4a45}}
`

// Render writes the chart.
func (c Chart) Render(w io.Writer) error {
	if c.Format == nil {
		c.Format = func(v float64) string { return fmt.Sprintf("%.3g", v) }
	}
	if c.Max == 0 {
		c.Max = 12
	}
	var panels []panel
	for _, g := range c.Groups {
		if p := c.panel(g); len(p.bars) > 0 {
			panels = append(panels, p)
		}
	}
	columns := min(2, max(1, len(panels)))
	d := &drawing{format: c.Format}
	width, y := columns*panelWidth+(columns+1)*margin, headHeight
	for i := 0; i < len(panels); i += columns {
		high := 0
		for j, p := range panels[i:min(i+columns, len(panels))] {
			d.panel(c, p, margin+j*(panelWidth+margin), y)
			high = max(high, p.height())
		}
		y += high
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="%s">`,
		width, y+margin, width, y+margin, escape(c.Title))
	fmt.Fprintf(&b, "<style>%s</style>\n", escape(style))
	fmt.Fprintf(&b, `<rect class="page" width="%d" height="%d"/>`+"\n", width, y+margin)
	fmt.Fprintf(&b, `<text class="title" x="%d" y="30">%s</text><text class="soft" x="%d" y="49">%s</text>`+"\n", margin, escape(c.Title), margin, escape(c.Note))
	legend(&b)
	b.WriteString(d.b.String())
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func legend(b *strings.Builder) {
	x := margin
	for _, k := range []struct{ class, name string }{{"ours", "Teleport"}, {"other", "peers"}, {"bounds", "raw floor, no framework"}} {
		fmt.Fprintf(b, `<rect class="%s" x="%d" y="59" width="11" height="11" rx="2"/><text class="soft" x="%d" y="69">%s</text>`+"\n", k.class, x, x+16, k.name)
		x += 30 + 7*len(k.name)
	}
}

// panel is a group as it is drawn: the bars with values, sorted, at most Max.
type panel struct {
	title   string
	bars    []Bar
	leftOut int
}

func (p panel) height() int { return panelHead + len(p.bars)*rowHeight + panelFoot }

func (c Chart) panel(g Group) panel {
	bars := slices.DeleteFunc(slices.Clone(g.Bars), func(b Bar) bool {
		return !(b.Value > 0) || math.IsInf(b.Value, 0)
	})
	slices.SortStableFunc(bars, func(a, b Bar) int {
		if c.Ascending {
			return cmp.Compare(a.Value, b.Value)
		}
		return cmp.Compare(b.Value, a.Value)
	})
	p := panel{title: g.Title}
	over := len(bars) - c.Max
	for i := len(bars) - 1; i >= 0 && over > 0; i-- { // the worst peers go first
		if bars[i].Kind == Other {
			bars = slices.Delete(bars, i, i+1)
			over--
			p.leftOut++
		}
	}
	p.bars = bars
	return p
}

type drawing struct {
	b      strings.Builder
	format func(float64) string
}

func (d *drawing) panel(c Chart, p panel, x, y int) {
	s := newScale(p.bars, c.Log)
	left, top := x+labelWidth, y+panelHead
	bottom := top + len(p.bars)*rowHeight
	fmt.Fprintf(&d.b, `<text class="head" x="%d" y="%d">%s</text>`+"\n", x, y+12, escape(p.title))
	if p.leftOut > 0 {
		fmt.Fprintf(&d.b, `<text class="soft" x="%d" y="%d" text-anchor="end">%d more in the table</text>`+"\n", x+panelWidth, y+12, p.leftOut)
	}
	for _, tick := range s.ticks() {
		at := float64(left) + s.at(tick)*plotWidth
		fmt.Fprintf(&d.b, `<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text class="soft" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			at, top-2, at, bottom+3, at, bottom+16, escape(d.format(tick)))
	}
	for i, b := range p.bars {
		d.bar(b, s, x, left, top+i*rowHeight)
	}
	fmt.Fprintf(&d.b, `<line class="axis" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", left, top-2, left, bottom+3)
	fmt.Fprintf(&d.b, `<text class="soft" x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", left+plotWidth/2, bottom+31, escape(c.Axis))
}

func (d *drawing) bar(b Bar, s scale, x, left, y int) {
	class := [...]string{Other: "other", Ours: "ours", Bounds: "bounds"}[b.Kind]
	strong := ""
	if b.Kind == Ours {
		strong = ` class="strong"`
	}
	value := escape(d.format(b.Value))
	mid, wide := y+rowHeight/2, s.at(b.Value)*plotWidth
	fmt.Fprintf(&d.b, `<g><title>%s: %s</title><text%s x="%d" y="%d" text-anchor="end">%s</text>`, escape(b.Name), value, strong, left-7, mid+4, escape(b.Name))
	if s.log {
		fmt.Fprintf(&d.b, `<line class="stem" x1="%d" y1="%d" x2="%.1f" y2="%d"/><circle class="%s" cx="%.1f" cy="%d" r="5"/>`, left, mid, float64(left)+wide, mid, class, float64(left)+wide, mid)
		wide += 5
	} else {
		fmt.Fprintf(&d.b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, class, left, y+2, max(wide, 1), rowHeight-4)
	}
	fmt.Fprintf(&d.b, `<text%s x="%.1f" y="%d">%s</text></g>`+"\n", strong, float64(left)+wide+5, mid+4, value)
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}
