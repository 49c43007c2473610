package main

import (
	"fmt"
	"strings"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// bulkConfigs are a lone caller without and with a bulk stream on its connection.
const bulkConfigs = "a1,l1"

// planBulk returns the turns of the table of calls beside a bulk stream.
func planBulk(list []candidate, rounds int) []turn {
	return planNamed(tableBulk, list, bulkConfigs, rounds, func(c candidate, _ harness.Config) bool {
		return strings.ContainsRune(c.also, harness.Bulk)
	})
}

// planBroadcast returns the turns of the table of broadcasts to n sessions.
func planBroadcast(list []candidate, n, rounds int) []turn {
	return planNamed(tableBroadcast, list, fmt.Sprintf("%c%d", harness.Group, n), rounds, alsoHas)
}

// bulk writes the table of calls beside a bulk stream.
func (r *reporter) bulk() {
	if len(r.d.configs(tableBulk)) == 0 {
		return
	}
	t := table{head: []string{r.d.Machine.processor(), "calls/s alone", "p50", "p99", "beside the stream", "p50", "p99", "p99 ÷ alone", "MB/s of the stream"}}
	p50 := func(w window) float64 { return float64(w.Load.P50) }
	p99 := func(w window) float64 { return float64(w.Load.P99) }
	var failures []string
	for _, c := range r.d.Candidates {
		alone, beside := r.d.cells[cellKey{tableBulk, c.Name, "a1", 0}], r.d.cells[cellKey{tableBulk, c.Name, "l1", 0}]
		if len(alone)+len(beside) == 0 {
			continue
		}
		for _, cell := range []cell{alone, beside} {
			if cell.rate() == 0 {
				failures = append(failures, fmt.Sprintf("%s: %s", c.Name, cell.failure()))
			}
		}
		t.rows = append(t.rows, []string{c.Name, rateText(alone.rate()), durationText(alone.of(p50)), durationText(alone.of(p99)),
			rateText(beside.rate()), durationText(beside.of(p50)), durationText(beside.of(p99)), ratioText(beside.over(alone, p99, r.d.Gate)),
			fmt.Sprintf("%.0f", beside.of(func(w window) float64 { return float64(w.Load.Bulk) / w.Load.Elapsed.Seconds() / 1e6 }))})
	}
	r.line("\n## Calls beside a bulk stream\n\nOne caller; beside it a stream of the same connection sends 64 MiB again and again, in messages of 64 KiB.\n")
	t.write(&r.b)
	r.failures(failures)
}

// broadcast writes the table of broadcasts.
func (r *reporter) broadcast() {
	for _, config := range r.d.configs(tableBroadcast) {
		cfg, err := harness.ParseConfig(config)
		if err != nil {
			continue
		}
		t := table{head: []string{r.d.Machine.processor(), "broadcasts/s", "pushes/s", "÷ peer", "server's CPU-µs a push", "client's", "server's allocs a broadcast", "KiB"}}
		var failures []string
		for _, c := range r.d.Candidates {
			k := cellKey{tableBroadcast, c.Name, config, 0}
			windows := r.d.cells[k]
			if len(windows) == 0 {
				continue
			}
			if windows.rate() == 0 {
				failures = append(failures, fmt.Sprintf("%s: %s", c.Name, windows.failure()))
				continue
			}
			figure := func(format string, f func(w window) float64) string { return fmt.Sprintf(format, windows.of(f)) }
			sessions := float64(cfg.Conns)
			t.rows = append(t.rows, []string{c.Name, rateText(windows.rate()), rateText(windows.rate() * sessions),
				ratioText(windows.over(r.d.best(k), window.rate, r.d.Gate)),
				figure("%.2f", func(w window) float64 { return w.perCall(uint64(w.Server.CPU)) / sessions / 1e3 }),
				figure("%.2f", func(w window) float64 { return w.perCall(uint64(w.Load.Usage.CPU)) / sessions / 1e3 }),
				figure("%.0f", func(w window) float64 { return w.perCall(w.Server.Allocs) }),
				figure("%.0f", func(w window) float64 { return w.perCall(w.Server.Bytes) / 1024 }),
			})
		}
		r.line("\n## Broadcast to %d sessions\n\nA client has the server send a message to all sessions, which it has itself, waits until all have received it, and begins again.\n", cfg.Conns)
		t.write(&r.b)
		r.failures(failures)
	}
}
