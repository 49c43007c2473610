package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress prints how far the run is: on a terminal one line that changes, elsewhere
// a line for each window.
type progress struct {
	w        io.Writer
	terminal bool
	now      string // what is being measured
	last     string // the result of the window before
}

func newProgress(f *os.File) *progress {
	info, err := f.Stat()
	return &progress{w: f, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (p *progress) begin(n, of int, t turn) {
	p.now = fmt.Sprintf("%d/%d %s %s", n, of, t.config.Name, t.candidate.title())
	if t.size > 0 {
		p.now += " " + sizeText(t.size)
	}
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s …%s", p.now, p.last)
	}
}

// end prints the window's result and the time left.
func (p *progress) end(w window, left time.Duration) {
	rate := "no figure"
	if w.ok() {
		rate = fmt.Sprintf("%.0f calls/s", w.rate())
	}
	p.result(w.Candidate, fmt.Sprintf("%s, %s left", rate, left.Round(time.Second)))
}

// result prints a candidate's result; on a terminal, beside the next window.
func (p *progress) result(candidate, result string) {
	if p.terminal {
		p.last = fmt.Sprintf(" (%s: %s)", candidate, result)
		return
	}
	fmt.Fprintf(p.w, "%s: %s\n", p.now, result)
}

// failed prints the reason on a line that stays.
func (p *progress) failed(t turn, err error) {
	p.print("%s %s: %v", t.candidate.title(), t.config.Name, err)
}

// print prints a line that stays.
func (p *progress) print(format string, args ...any) {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	fmt.Fprintf(p.w, format+"\n", args...)
}

// close ends the changing line.
func (p *progress) close() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func sizeText(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
