package chart_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/tools/bench/internal/chart"
)

// render draws the chart, checks that it is XML, and returns its texts in order.
func render(t *testing.T, c chart.Chart) (svg string, texts []string) {
	t.Helper()
	var b strings.Builder
	require.NoError(t, c.Render(&b))
	d := xml.NewDecoder(strings.NewReader(b.String()))
	inText := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return b.String(), texts
		}
		if err != nil {
			t.Fatalf("not XML: %v\n%s", err, b.String())
		}
		switch token := token.(type) {
		case xml.StartElement:
			inText = token.Name.Local == "text"
			for _, a := range token.Attr {
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Errorf("%s of %s is %s", a.Name.Local, token.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			if inText {
				texts = append(texts, string(token))
			}
		case xml.EndElement:
			inText = false
		}
	}
}

func indexOf(texts []string, text string) int {
	for i, s := range texts {
		if s == text {
			return i
		}
	}
	return -1
}

func TestChartShowsNamesAndValuesInOrder(t *testing.T) {
	for _, test := range []struct {
		name           string
		log, ascending bool
		want           []string
	}{
		{"bars", false, false, []string{"floor", "1902k", `ours & "co" <1>`, "700k", "a peer", "180k"}},
		{"points", true, true, []string{"a peer", "180k", `ours & "co" <1>`, "700k", "floor", "1902k"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, texts := render(t, chart.Chart{
				Title: "Throughput", Axis: "calls/s", Log: test.log, Ascending: test.ascending,
				Format: func(v float64) string { return fmt.Sprintf("%.0fk", v/1e3) },
				Groups: []chart.Group{{Title: "a100", Bars: []chart.Bar{
					{Name: "a peer", Value: 180e3},
					{Name: "floor", Value: 1902e3, Kind: chart.Bounds},
					{Name: `ours & "co" <1>`, Value: 700e3, Kind: chart.Ours},
				}}},
			})
			last := -1
			for _, want := range append([]string{"Throughput", "a100"}, test.want...) {
				at := indexOf(texts, want)
				if at <= last {
					t.Errorf("%q stands at %d, want it behind %d: %q", want, at, last, texts)
				}
				last = at
			}
			if indexOf(texts, "calls/s") < 0 {
				t.Errorf("the axis has no label: %q", texts)
			}
		})
	}
}

func TestChartLeavesOutWhatHasNoValue(t *testing.T) {
	_, texts := render(t, chart.Chart{Log: true, Groups: []chart.Group{
		{Title: "some", Bars: []chart.Bar{{Name: "nothing"}, {Name: "nan", Value: math.NaN()}, {Name: "inf", Value: math.Inf(1)}, {Name: "one", Value: 1}}},
		{Title: "none", Bars: []chart.Bar{{Name: "zero"}}},
	}})
	for _, unwanted := range []string{"nothing", "nan", "inf", "none", "zero"} {
		if indexOf(texts, unwanted) >= 0 {
			t.Errorf("%q is drawn: %q", unwanted, texts)
		}
	}
	if indexOf(texts, "one") < 0 {
		t.Errorf("%q is not drawn: %q", "one", texts)
	}
}

func TestChartKeepsTheBestPeers(t *testing.T) {
	bars := []chart.Bar{{Name: "ours", Value: 1, Kind: chart.Ours}, {Name: "floor", Value: 2, Kind: chart.Bounds}}
	for i := range 5 {
		bars = append(bars, chart.Bar{Name: fmt.Sprintf("peer%d", i), Value: float64(10 + i)})
	}
	_, texts := render(t, chart.Chart{Max: 4, Groups: []chart.Group{{Title: "g", Bars: bars}}})
	for name, want := range map[string]bool{"ours": true, "floor": true, "peer4": true, "peer3": true, "peer2": false, "peer1": false, "peer0": false} {
		if got := indexOf(texts, name) >= 0; got != want {
			t.Errorf("%s drawn: %v, want %v", name, got, want)
		}
	}
	if indexOf(texts, "3 more in the table") < 0 {
		t.Errorf("it is not said what is left out: %q", texts)
	}
}

func TestChartOfNothing(t *testing.T) {
	if svg, _ := render(t, chart.Chart{Title: "empty"}); !strings.Contains(svg, "empty") {
		t.Errorf("no title in %s", svg)
	}
}
