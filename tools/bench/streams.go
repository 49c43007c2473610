package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// streamConfigs are those of the table of streams: one way over one stream and over eight
// of a connection, and ping-pong over one.
const streamConfigs = "t1,t8,p1"

// planStreams returns the turns of the table of streams.
func planStreams(list []candidate, rounds int) (turns []turn) {
	return planNamed(tableStreams, list, streamConfigs, rounds, alsoHas)
}

// alsoHas reports whether a candidate has a configuration other than those of calls.
func alsoHas(c candidate, cfg harness.Config) bool {
	return strings.ContainsRune(c.also, rune(cfg.Name[0]))
}

// mayHave reports whether a candidate has a row in one of the tables with these letters,
// before its program is built.
func mayHave(name, letters string) bool {
	return slices.ContainsFunc(own(), func(c harness.Candidate) bool { return c.Name == name && strings.ContainsAny(c.Info().Also, letters) }) ||
		slices.ContainsFunc(peers, func(p peer) bool { return strings.ContainsAny(p.also, letters) && slices.Contains(p.names, name) })
}

// streams writes the table of streams.
func (r *reporter) streams() {
	if len(r.d.configs(tableStreams)) == 0 {
		return
	}
	processor := r.d.Machine.processor()
	rates := table{head: []string{processor, "one stream, messages/s", "÷ peer", "8 streams", "÷ peer", "ping-pong, round trips/s", "÷ peer", "p50", "p99"}}
	costs := table{head: []string{processor, "CPU-µs client", "server", "allocs client", "server", "bytes client", "server", "RSS MB client", "server"}}
	var failures []string
	for _, c := range r.d.Candidates {
		row, some := []string{c.Name}, false
		for _, config := range strings.Split(streamConfigs, ",") {
			k := cellKey{tableStreams, c.Name, config, 0}
			windows := r.d.cells[k]
			some = some || len(windows) > 0
			rate := rateText(windows.rate())
			if len(windows) > 0 && windows.rate() == 0 {
				rate = "failed"
				failures = append(failures, fmt.Sprintf("%s %s: %s", config, c.Name, windows.failure()))
			}
			row = append(row, rate, ratioText(windows.over(r.d.best(k), window.rate, r.d.Gate)))
			switch {
			case config[0] == harness.PingPong:
				row = append(row, durationText(windows.of(func(w window) float64 { return float64(w.Load.P50) })),
					durationText(windows.of(func(w window) float64 { return float64(w.Load.P99) })))
			case config == "t8" && windows.rate() > 0:
				costs.rows = append(costs.rows, windows.costs(c.Name))
			}
		}
		if some {
			rates.rows = append(rates.rows, row)
		}
	}
	r.line("\n## Streams\n\nMessages that have arrived, over streams of one connection. At the end of a window each stream waits until the server has\nreceived all its messages, and their number is checked.\n")
	rates.write(&r.b)
	if best := r.bests(tableStreams); best != "" {
		r.line("\n%s", best)
	}
	r.line("\nCost of a message one way over 8 streams, and resident memory at the end:\n")
	costs.write(&r.b)
	r.failures(failures)
}

// bests returns a line with the best peer of each configuration of a table; "" if there is
// none.
func (r *reporter) bests(table string) string {
	var best []string
	for _, config := range r.d.configs(table) {
		if name := r.d.bestPeer(cellKey{table: table, config: config}); name != "" {
			best = append(best, config+" "+name)
		}
	}
	if len(best) == 0 {
		return ""
	}
	return fmt.Sprintf("The best peers: %s.", strings.Join(best, ", "))
}

func (r *reporter) failures(list []string) {
	for _, f := range slices.Compact(list) {
		r.line("\n**%s**", strings.ReplaceAll(f, "\n", "; "))
	}
}

// costs returns the row of a table of costs: of a call, and the memory at the end.
func (c cell) costs(name string) []string {
	figure := func(format string, f func(w window) float64) string { return fmt.Sprintf(format, c.of(f)) }
	return []string{
		name,
		figure("%.2f", func(w window) float64 { return w.perCall(uint64(w.Load.Usage.CPU)) / 1e3 }),
		figure("%.2f", func(w window) float64 { return w.perCall(uint64(w.Server.CPU)) / 1e3 }),
		figure("%.1f", func(w window) float64 { return w.perCall(w.Load.Usage.Allocs) }),
		figure("%.1f", func(w window) float64 { return w.perCall(w.Server.Allocs) }),
		figure("%.0f", func(w window) float64 { return w.perCall(w.Load.Usage.Bytes) }),
		figure("%.0f", func(w window) float64 { return w.perCall(w.Server.Bytes) }),
		figure("%.1f", func(w window) float64 { return float64(w.Load.Usage.RSS) / 1e6 }),
		figure("%.1f", func(w window) float64 { return float64(w.Server.RSS) / 1e6 }),
	}
}
