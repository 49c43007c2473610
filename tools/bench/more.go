package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// bodySizes returns the sizes in the table of sizes: 64 B to 16 MiB.
func bodySizes() (list []int) {
	for size := 64; size <= 16<<20; size *= 4 {
		list = append(list, size)
	}
	return list
}

// sizeConfigs are one caller, and eight that share a connection.
var sizeConfigs = []string{"a1", "a8"}

// planSizes returns the turns of the table of sizes.
func planSizes(list []candidate, sizes []int, rounds int) (turns []turn) {
	block := 0
	for round := range rounds {
		for _, name := range sizeConfigs {
			cfg, err := harness.ParseConfig(name)
			if err != nil {
				continue
			}
			fitting := slices.DeleteFunc(slices.Clone(list), func(c candidate) bool { return !c.sized || !fits(c.name, cfg) })
			for _, size := range sizes {
				for _, i := range order(len(fitting), round+block) {
					turns = append(turns, turn{table: tableSizes, candidate: fitting[i], config: cfg, round: round, size: size, block: block})
				}
				block++
			}
		}
	}
	return turns
}

// The table of slow handlers: one handler in a hundred of slowCandidate sleeps 10 ms.
const (
	fastCandidate = "teleport-typed"
	slowCandidate = "teleport-slow"
	slowConfig    = "a1000"
)

// hasSlowRow reports whether a candidate has a row in the table of slow handlers.
func hasSlowRow(name string) bool { return name == fastCandidate || name == slowCandidate }

// planSlow returns the turns of the table of slow handlers for the named candidates;
// none if one of them is not in the list.
func planSlow(list []candidate, rounds int, names ...string) []turn {
	list = slices.DeleteFunc(slices.Clone(list), func(c candidate) bool { return !slices.Contains(names, c.name) })
	if len(list) < len(names) {
		return nil
	}
	return planNamed(tableSlow, list, slowConfig, rounds, func(candidate, harness.Config) bool { return true })
}

func (r *reporter) idle() {
	if len(r.d.Idle) == 0 {
		return
	}
	t := table{head: []string{r.d.Machine.processor(), "KiB a session, no call yet", "after one call", "connections/s", "with a call each"}}
	rows := map[string][]string{}
	for _, i := range r.d.Idle {
		row := rows[i.Candidate]
		if row == nil {
			row = []string{i.Candidate, "–", "–", "–", "–"}
		}
		column := 1
		if i.Called {
			column = 2
		}
		if i.Error != "" {
			row[column], row[column+2] = "failed", "failed"
		} else {
			row[column], row[column+2] = kibText(i.RSS), rateText(i.rate())
		}
		rows[i.Candidate] = row
	}
	for _, c := range r.d.Candidates {
		if row := rows[c.Name]; row != nil {
			t.rows = append(t.rows, row)
		}
	}
	r.line("\n## Idle sessions\n\nResident memory of the server with %d idle sessions, after a garbage collection; 64 are dialled at a time.\n", r.d.Idle[0].Sessions)
	t.write(&r.b)
	for _, i := range r.d.Idle {
		if i.Error != "" {
			r.line("\n**%s: %s**", i.Candidate, strings.ReplaceAll(i.Error, "\n", "; "))
		}
	}
}

// sizes writes the table of sizes: bytes per second, one way, beside the floor.
func (r *reporter) sizes() {
	for _, config := range r.d.configs(tableSizes) {
		var sizes []int
		for _, w := range r.d.Windows {
			if w.Table == tableSizes && !slices.Contains(sizes, w.Size) {
				sizes = append(sizes, w.Size)
			}
		}
		processor := r.d.Machine.processor()
		speed, ratio := table{head: []string{"MB/s, " + processor}}, table{head: []string{"÷ floor, " + processor}}
		for _, size := range sizes {
			speed.head, ratio.head = append(speed.head, sizeText(size)), append(ratio.head, sizeText(size))
		}
		for _, c := range r.d.Candidates {
			fast, part, some := []string{c.Name}, []string{c.Name}, false
			for _, size := range sizes {
				k := cellKey{tableSizes, c.Name, config, size}
				windows := r.d.cells[k]
				some = some || len(windows) > 0
				text := "–"
				if rate := windows.rate(); rate > 0 {
					text = fmt.Sprintf("%.4g", rate*float64(size)/1e6)
				} else if len(windows) > 0 {
					text = "failed"
				}
				fast, part = append(fast, text), append(part, ratioText(windows.over(r.d.floor(k), window.rate, r.d.Gate)))
			}
			if some {
				speed.rows, ratio.rows = append(speed.rows, fast), append(ratio.rows, part)
			}
		}
		r.line("\n## Message sizes, %s\n\nBytes of bodies per second, one way; each is echoed.\n", configText(config))
		speed.write(&r.b)
		r.line("")
		ratio.write(&r.b)
	}
}

func (r *reporter) slow() {
	fast, slow := r.d.cells[cellKey{tableSlow, fastCandidate, slowConfig, 0}], r.d.cells[cellKey{tableSlow, slowCandidate, slowConfig, 0}]
	if len(fast)+len(slow) == 0 {
		return
	}
	t := table{head: []string{r.d.Machine.processor(), "calls/s", "÷ without", "p50", "÷ without", "p99", "max"}}
	p50 := func(w window) float64 { return float64(w.Load.P50) }
	for _, row := range []struct {
		name string
		cell cell
	}{{"no handler sleeps", fast}, {"1% sleep 10 ms", slow}} {
		t.rows = append(t.rows, []string{row.name, rateText(row.cell.rate()), ratioText(row.cell.over(fast, window.rate, r.d.Gate)),
			durationText(row.cell.of(p50)), ratioText(row.cell.over(fast, p50, r.d.Gate)),
			durationText(row.cell.of(func(w window) float64 { return float64(w.Load.P99) })),
			durationText(row.cell.of(func(w window) float64 { return float64(w.Load.Max) }))})
	}
	r.line("\n## Slow handlers, %s\n", configText(slowConfig))
	t.write(&r.b)
	for name, c := range map[string]cell{fastCandidate: fast, slowCandidate: slow} {
		if c.rate() == 0 {
			r.line("\n**%s: %s**", name, c.failure())
		}
	}
}
