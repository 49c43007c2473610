package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/teleport-go/teleport/tools/bench/internal/chart"
)

// writeFolder writes the report and its charts into a folder.
func (d *document) writeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(
		create(filepath.Join(dir, "report.md"), d.report),
		create(filepath.Join(dir, "throughput.svg"), d.throughputChart().Render),
		create(filepath.Join(dir, "p99.svg"), d.p99Chart().Render),
	)
}

// create creates a file and calls write with it.
func create(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

func (d *document) throughputChart() chart.Chart {
	return chart.Chart{
		Title: "Calls per second", Note: d.chartNote(), Axis: "calls per second (more is better)",
		Format: func(v float64) string {
			if v == 0 {
				return "0"
			}
			s := rateText(v)
			for _, zeros := range []string{".00", ".0"} { // round values, as on the axis
				s = strings.Replace(s, zeros+"k", "k", 1)
				s = strings.Replace(s, zeros+"M", "M", 1)
			}
			return s
		},
		Max:    maxBars,
		Groups: d.chartGroups(window.rate),
	}
}

func (d *document) p99Chart() chart.Chart {
	return chart.Chart{
		Title: "p99: 99 of 100 calls are faster", Note: d.chartNote(), Axis: "p99 of a call, logarithmic (less is better)",
		Log: true, Ascending: true, Format: durationText, Max: maxBars,
		Groups: d.chartGroups(func(w window) float64 { return float64(w.Load.P99) }),
	}
}

func (d *document) chartNote() string {
	return fmt.Sprintf("581-byte message echoed between two processes on loopback; medians; %d CPUs (%s), %s, %s",
		d.Machine.CPUs, orDash(d.Machine.CPU), d.Machine.Go, d.Started.UTC().Format(time.DateOnly))
}

// maxBars leaves room for all peers, three rows of ours, and a floor.
const maxBars = 13

// chartGroups returns a group for each configuration. It leaves out the rows whose
// codec no peer has, and the floors of other shapes; the tables have them.
func (d *document) chartGroups(figure func(window) float64) (groups []chart.Group) {
	for _, config := range d.configs(tableCalls) {
		g := chart.Group{Title: configText(config)}
		for _, c := range d.Candidates {
			kind := kindOf(c.Name)
			if strings.HasSuffix(c.Name, "-json") || c.Name == "teleport-bytes" || kind == chart.Bounds && c.Name != floorOf(config) {
				continue
			}
			g.Bars = append(g.Bars, chart.Bar{Name: c.Name, Kind: kind, Value: d.cells[cellKey{tableCalls, c.Name, config, 0}].of(figure)})
		}
		groups = append(groups, g)
	}
	return groups
}
