//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

const (
	tableBegin = "<!-- attacks:begin -->"
	tableEnd   = "<!-- attacks:end -->"
)

// String is the line of an attack.
func (res result) String() string {
	return fmt.Sprintf("%s: %s; canary p50 %v, p99 %v, max %v of %d calls; settled after %v; %s", res.name(), mib(res.peak),
		round2(res.canary.P50), round2(res.canary.P99), round2(res.canary.Max), res.canary.Calls, round2(res.settled), brief(res.end))
}

// String is the line of a fault.
func (res faultResult) String() string {
	text, _ := most(res.totals.errors)
	return fmt.Sprintf("%s, %d times: %d calls, %d failed, %d of them had run; %v; %s", res.name(), res.times,
		res.totals.calls, res.totals.failed, res.totals.ran, round2(res.took), brief(text))
}

// brief makes a text fit into a cell.
func brief(text string) string {
	text = addresses.ReplaceAllString(text, "…")
	text = strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ").Replace(text)
	if r := []rune(text); len(r) > 110 {
		return string(r[:110]) + "…"
	}
	return text
}

var addresses = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// table returns what was played as two tables: a row for each kind of attack, with the
// worst figures of the protocols it was played on, and one for each fault.
func (r *round) table() string {
	var b strings.Builder
	kind := "the short round"
	if r.long {
		kind = "the long round"
	}
	fmt.Fprintf(&b, "%s, %s/%s, %d processors; `ReadMemory` %s; %s. Budgets: %.3g × `ReadMemory` resident; the canary's p99 %v, but for attacks on the processors (†).\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), mib(r.budget.memory), kind, r.budget.factor, r.budget.canary)
	b.WriteString("| attack | protocols | what is sent | memory | canary p99, longest | end |\n|---|---|---|--:|--:|---|\n")
	var kinds []string
	rows := map[string][]result{}
	for _, res := range r.attacks {
		if rows[res.what] == nil {
			kinds = append(kinds, res.what)
		}
		rows[res.what] = append(rows[res.what], res)
	}
	for _, what := range kinds {
		list := rows[what]
		worst := slices.MaxFunc(list, func(x, y result) int { return int(x.peak>>10 - y.peak>>10) })
		var protos []string
		broken := 0
		for _, res := range list {
			protos = append(protos, res.proto.name)
			worst.canary.P99, worst.canary.Max = max(worst.canary.P99, res.canary.P99), max(worst.canary.Max, res.canary.Max)
			broken += min(len(res.broken), 1)
		}
		busy := ""
		if worst.busy {
			busy = " †"
		}
		end := brief(worst.end)
		if broken > 0 {
			end = strings.TrimSuffix(fmt.Sprintf("**%d over budget**; %s", broken, end), "; ")
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %v, %v%s | %s |\n", what, strings.Join(protos, ", "), worst.sent(r.long), mib(worst.peak),
			round2(worst.canary.P99), round2(worst.canary.Max), busy, end)
	}
	b.WriteString("\n| fault | protocol | what happens | calls | failed | of them had run | by |\n|---|---|---|--:|--:|--:|---|\n")
	for _, res := range r.faults {
		text, _ := most(res.totals.errors)
		text = brief(text)
		if len(res.broken) > 0 {
			text = strings.TrimSuffix("**over budget**; "+text, "; ")
		}
		fmt.Fprintf(&b, "| %s, %d × | %s | %s | %d | %d | %d | %s |\n", res.what, res.times, res.proto.name, res.does, res.totals.calls, res.totals.failed, res.totals.ran, text)
	}
	return b.String()
}

// writeTable writes the table between the two marks of a file.
func (r *round) writeTable(name string) error {
	old, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	text, err := putTable(old, r.table())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return os.WriteFile(name, text, 0o644)
}

// putTable returns the text with the table between the two marks.
func putTable(text []byte, table string) ([]byte, error) {
	before, rest, ok := bytes.Cut(text, []byte(tableBegin))
	_, after, ok2 := bytes.Cut(rest, []byte(tableEnd))
	if !ok || !ok2 {
		return nil, fmt.Errorf("there is no %s and %s for the table of attacks", tableBegin, tableEnd)
	}
	return slices.Concat(before, []byte(tableBegin+"\n"+table+tableEnd), after), nil
}
