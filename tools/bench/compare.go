package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// compare writes the comparison of the two sides, a line for each row and candidate.
// Its error names the rows with a median ratio below least, and those without one.
func (d *document) compare(w io.Writer, least float64) error {
	r := &reporter{d: d}
	r.line("# Calls per second: work tree ÷ %.12s (%s)\n", d.Against, d.Machine.processor())
	r.conditions()
	r.line("Ratios are of the two windows of a round, which follow each other; below %v is marked.", least)
	var bad []string
	r.compareCalls(least, &bad)
	r.compareIdle(least, &bad)
	if _, err := io.WriteString(w, r.b.String()); err != nil {
		return err
	}
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "; "))
	}
	return nil
}

// compareCalls writes the rows of the windows. It appends to bad.
func (r *reporter) compareCalls(least float64, bad *[]string) {
	sides := map[string][]window{}
	var keys []cellKey // without candidates
	for _, w := range r.d.Windows {
		sides[w.Side] = append(sides[w.Side], w)
		k := w.key()
		k.candidate = ""
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return
	}
	old, now := cells(sides[before]), cells(sides[after])
	t := table{head: []string{r.d.Machine.processor(), "calls/s before", "after", "÷", "low", "high", "CPU ÷", "allocs before", "after", ""}}
	cpu := func(w window) float64 { return w.perCall(uint64(w.Load.Usage.CPU + w.Server.CPU)) }
	allocs := func(w window) float64 { return w.perCall(w.Load.Usage.Allocs + w.Server.Allocs) }
	for _, k := range keys {
		for _, c := range r.d.Candidates {
			k.candidate = c.Name
			was, is := old[k], now[k]
			if len(was)+len(is) == 0 {
				continue
			}
			name := k.row() + " " + c.Name
			low, mid, high, note := "–", "–", "–", "no figure"
			if ratios := is.ratios(was, window.rate, r.d.Gate); len(ratios) > 0 {
				low, mid, high = preciseText(slices.Min(ratios)), preciseText(median(ratios)), preciseText(slices.Max(ratios))
				note = mark(name, median(ratios), least, bad)
			} else {
				*bad = append(*bad, fmt.Sprintf("%s has no figure (before: %s; after: %s)", name, was.outcome(), is.outcome()))
			}
			t.rows = append(t.rows, []string{name, rateText(was.rate()), rateText(is.rate()), mid, low, high,
				ratioText(is.over(was, cpu, r.d.Gate)), fmt.Sprintf("%.1f", was.of(allocs)), fmt.Sprintf("%.1f", is.of(allocs)), note})
		}
	}
	r.line("")
	t.write(&r.b)
}

// mark returns the mark of a ratio. If the ratio is below least, it appends to bad.
func mark(name string, ratio, least float64, bad *[]string) string {
	if ratio >= least {
		return ""
	}
	*bad = append(*bad, fmt.Sprintf("%s is at %s, below %v", name, preciseText(ratio), least))
	return "below"
}

// compareIdle writes the rows of idle sessions. Their ratio is before ÷ after, since
// more memory is worse. It appends to bad.
func (r *reporter) compareIdle(least float64, bad *[]string) {
	t := table{head: []string{r.d.Machine.processor(), "KiB a session before", "after", "before ÷ after", ""}}
	for _, was := range r.d.Idle {
		for _, is := range r.d.Idle {
			if was.Side != before || is.Side != after || was.Candidate != is.Candidate || was.Called != is.Called {
				continue
			}
			name := fmt.Sprintf("%d idle %s", was.Sessions, was.Candidate)
			if was.Called {
				name += ", called once"
			}
			row := []string{name, kibText(was.RSS), kibText(is.RSS), "–", ""}
			if was.Error != "" || is.Error != "" || was.RSS <= 0 || is.RSS <= 0 {
				row[4] = "no figure"
				*bad = append(*bad, fmt.Sprintf("%s has no figure (before: %s; after: %s)", name, orDash(was.Error), orDash(is.Error)))
			} else {
				ratio := float64(was.RSS) / float64(is.RSS)
				row[3], row[4] = preciseText(ratio), mark(name, ratio, least, bad)
			}
			t.rows = append(t.rows, row)
		}
	}
	if len(t.rows) > 0 {
		r.line("")
		t.write(&r.b)
	}
}

// row returns the name of a cell's row in a comparison.
func (k cellKey) row() string {
	if k.table == tableSizes {
		return k.config + " " + sizeText(k.size)
	}
	return k.config
}
