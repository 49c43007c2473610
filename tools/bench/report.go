package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// report writes the document's figures as Markdown that is also readable as text.
func (d *document) report(w io.Writer) error {
	r := &reporter{d: d}
	r.head()
	r.throughput()
	for _, config := range d.configs(tableCalls) {
		r.config(config)
	}
	r.idle()
	r.sizes()
	r.slow()
	r.streams()
	r.bulk()
	r.broadcast()
	r.candidates()
	_, err := io.WriteString(w, r.b.String())
	return err
}

type reporter struct {
	d *document
	b strings.Builder
}

func (r *reporter) line(format string, args ...any) { fmt.Fprintf(&r.b, format+"\n", args...) }

func (r *reporter) head() {
	d := r.d
	r.line("# Calls between two processes on loopback: %s\n", d.Machine.processor())
	r.conditions()
	r.line("All candidates take turns in each round. Figures are medians of the rounds,")
	r.line("ratios are medians of the ratios within a round; differences under 15%% are noise.")
	for _, c := range d.Candidates {
		if c.Error != "" {
			first, _, _ := strings.Cut(c.Error, "\n")
			r.line("\n**%s has no program:** %s", c.Name, first)
		}
	}
}

// conditions writes the machine and the properties of all windows.
func (r *reporter) conditions() {
	d, m := r.d, r.d.Machine
	cpu := orDash(m.CPU)
	if m.Model != "" {
		cpu += ", " + m.Model
	}
	r.line("%s, %s/%s, kernel %s, %d CPUs (%s), %.1f GiB; %s, %v.", m.Go, m.OS, m.Arch, orDash(m.Kernel), m.CPUs, cpu,
		float64(m.Memory)/(1<<30), d.Started.UTC().Format("2006-01-02 15:04 MST"), d.Took.Round(time.Second))
	r.line("Up to %d rounds of windows of up to %v.", d.Rounds, d.Window)
	if d.Busy > 0 {
		r.line("Busy processes beside the measurement: %d a CPU.", d.Busy)
	}
	var phases []string
	for _, name := range slices.Sorted(maps.Keys(d.Phases)) {
		phases = append(phases, fmt.Sprintf("%d %s", d.Phases[name], name))
	}
	what := "counted as well"
	if d.Gate {
		what = "dropped, and ratios are of windows of one phase"
	}
	if len(phases) > 0 {
		r.line("Windows by the distance of the cores: %s (those that changed are %s).", strings.Join(phases, ", "), what)
	}
	if d.Skipped > 0 {
		r.line("\n**%d windows were left out for lack of time.**\n", d.Skipped)
	}
}

// throughput writes the matrix of rates, and those of their ratios.
func (r *reporter) throughput() {
	d := r.d
	configs := d.configs(tableCalls)
	if len(configs) == 0 {
		return
	}
	r.matrix("Calls per second", configs, func(c cell, _ cellKey) string { return rateText(c.rate()) })
	if best := r.bests(tableCalls); best != "" {
		r.matrix("Calls per second ÷ best peer", configs, func(c cell, k cellKey) string {
			return ratioText(c.over(d.best(k), window.rate, d.Gate))
		})
		r.line("\n%s", best)
	}
	r.matrix("Calls per second ÷ floor", configs, func(c cell, k cellKey) string {
		return ratioText(c.over(d.floor(k), window.rate, d.Gate))
	})
}

// matrix writes a table with a row a candidate and a column a configuration.
func (r *reporter) matrix(title string, configs []string, figure func(c cell, k cellKey) string) {
	t := table{head: append([]string{r.d.Machine.processor()}, configs...)}
	for _, c := range r.d.Candidates {
		row, some := []string{c.Name}, false
		for _, config := range configs {
			k := cellKey{tableCalls, c.Name, config, 0}
			text := "–"
			if windows := r.d.cells[k]; len(windows) > 0 {
				if text = figure(windows, k); windows.rate() == 0 {
					text = "failed"
				}
				some = true
			}
			row = append(row, text)
		}
		if some {
			t.rows = append(t.rows, row)
		}
	}
	r.line("\n## %s\n", title)
	t.write(&r.b)
}

// config writes all figures of one configuration.
func (r *reporter) config(config string) {
	d := r.d
	latency := table{head: []string{d.Machine.processor(), "calls/s", "÷ peer", "÷ floor", "mean", "p50", "p99", "p99.9", "min", "max", "p99 ÷ peer"}}
	cost := table{head: []string{d.Machine.processor(), "CPU-µs client", "server", "allocs client", "server", "bytes client", "server", "RSS MB client", "server"}}
	var failures []string
	for _, c := range d.Candidates {
		k := cellKey{tableCalls, c.Name, config, 0}
		windows := d.cells[k]
		if len(windows) == 0 {
			continue
		}
		if windows.rate() == 0 {
			failures = append(failures, fmt.Sprintf("%s: %s", c.Name, windows.failure()))
			continue
		}
		took := func(figure func(l harness.Load) time.Duration) string {
			return durationText(windows.of(func(w window) float64 { return float64(figure(w.Load)) }))
		}
		latency.rows = append(latency.rows, []string{
			c.Name, rateText(windows.rate()),
			ratioText(windows.over(d.best(k), window.rate, d.Gate)), ratioText(windows.over(d.floor(k), window.rate, d.Gate)),
			took(func(l harness.Load) time.Duration { return l.Mean }), took(func(l harness.Load) time.Duration { return l.P50 }),
			took(func(l harness.Load) time.Duration { return l.P99 }), took(func(l harness.Load) time.Duration { return l.P999 }),
			took(func(l harness.Load) time.Duration { return l.Min }), took(func(l harness.Load) time.Duration { return l.Max }),
			ratioText(windows.over(d.best(k), func(w window) float64 { return float64(w.Load.P99) }, d.Gate)),
		})
		cost.rows = append(cost.rows, windows.costs(c.Name))
	}
	r.line("\n## %s\n", configText(config))
	latency.write(&r.b)
	r.line("\nCost of a call, and resident memory at the end:\n")
	cost.write(&r.b)
	r.failures(failures)
}

func (r *reporter) candidates() {
	t := table{head: []string{"candidate", "version", "note"}, text: true}
	for _, c := range r.d.Candidates {
		measured := slices.ContainsFunc(r.d.Windows, func(w window) bool { return w.Candidate == c.Name }) ||
			slices.ContainsFunc(r.d.Idle, func(i idle) bool { return i.Candidate == c.Name })
		if measured {
			t.rows = append(t.rows, []string{c.Name, orDash(c.version()), orDash(c.Note)})
		}
	}
	r.line("\n## Candidates\n")
	t.write(&r.b)
}

// best returns the best peer's cell in the configuration of k, floor the floor's.
func (d *document) best(k cellKey) cell {
	k.candidate = d.bestPeer(k)
	return d.cells[k]
}

func (d *document) floor(k cellKey) cell {
	k.candidate = floorOf(k.config)
	if len(d.cells[k]) == 0 { // not chosen
		k.candidate = "floor"
	}
	return d.cells[k]
}

// configs returns a table's configurations in the order of their first windows.
func (d *document) configs(table string) (list []string) {
	for _, w := range d.Windows {
		if w.Table == table && !slices.Contains(list, w.Config) {
			list = append(list, w.Config)
		}
	}
	return list
}

// table is written as Markdown with aligned columns, readable as plain text.
type table struct {
	head []string
	rows [][]string
	text bool // no column has numbers
}

func (t table) write(b *strings.Builder) {
	wide := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, text := range row {
			wide[i] = max(wide[i], utf8.RuneCountInString(text), 2)
		}
	}
	line := func(row []string) {
		for i, text := range row {
			fill := strings.Repeat(" ", wide[i]-utf8.RuneCountInString(text))
			if i == 0 {
				b.WriteByte('|')
			}
			if i == 0 || t.text {
				fmt.Fprintf(b, " %s%s |", text, fill)
			} else {
				fmt.Fprintf(b, " %s%s |", fill, text)
			}
		}
		b.WriteByte('\n')
	}
	line(t.head)
	for i, n := range wide {
		if i == 0 {
			b.WriteByte('|')
		}
		if i == 0 || t.text {
			fmt.Fprintf(b, "%s|", strings.Repeat("-", n+2))
		} else {
			fmt.Fprintf(b, "%s:|", strings.Repeat("-", n+1))
		}
	}
	b.WriteByte('\n')
	for _, row := range t.rows {
		line(row)
	}
}
