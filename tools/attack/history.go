//go:build linux

package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// call is what the history knows of a call.
type call struct {
	begun, ended, ok bool
	runs             int
	code             int
	text             string // of its error
}

// history is what the processes of a fault round have printed. The servers print each
// run themselves, before the reply can leave, so whether a call ran once needs no
// search for an order of events: it is counted.
type history struct {
	mu      sync.Mutex // guards the fields below
	calls   map[int]*call
	good    int // calls that have their reply
	bad     int // calls that have an error
	servers int // servers that have begun to serve
	pid     int // of the newest
	addr    string
	odd     []string // lines that cannot be
	changed chan struct{}
}

func newHistory() *history {
	return &history{calls: map[int]*call{}, changed: make(chan struct{}, 1)}
}

// add takes a line. A process that is killed may leave the last one unfinished, which
// the reader of its output drops.
func (h *history) add(line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case h.changed <- struct{}{}:
	default:
	}
	f := strings.SplitN(line, " ", 4)
	if len(f) < 2 {
		h.odd = append(h.odd, line)
		return
	}
	n, err := strconv.Atoi(f[1])
	if err != nil {
		h.odd = append(h.odd, line)
		return
	}
	if f[0] == "serves" && len(f) == 3 {
		h.servers++
		h.pid, h.addr = n, f[2]
		return
	}
	c := h.calls[n]
	if c == nil {
		c = new(call)
		h.calls[n] = c
	}
	switch {
	case f[0] == "run":
		c.runs++
	case f[0] == "begin" && !c.begun:
		c.begun = true
	case f[0] == "ok" && c.begun && !c.ended:
		c.ended, c.ok = true, true
		h.good++
	case f[0] == "err" && len(f) == 4 && c.begun && !c.ended:
		c.ended, c.text = true, f[3]
		c.code, _ = strconv.Atoi(f[2])
		h.bad++
	default:
		h.odd = append(h.odd, line)
	}
}

// totals are the sums over a history.
type totals struct {
	calls, failed, ran int            // ran: calls that failed although they were run
	errors             map[string]int // by text
}

// check returns what is wrong with a history that has ended: every call has to end, to
// have run once if it has its reply, and at most once and with an error that has a code
// and words if it has not.
func (h *history) check() (t totals, wrong []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t.errors = map[string]int{}
	for _, line := range h.odd {
		wrong = append(wrong, fmt.Sprintf("line %q", line))
	}
	for n, c := range h.calls {
		t.calls++
		switch {
		case !c.begun:
			wrong = append(wrong, fmt.Sprintf("call %d ran and was never made", n))
		case !c.ended:
			wrong = append(wrong, fmt.Sprintf("call %d has neither a reply nor an error", n))
		case c.runs > 1:
			wrong = append(wrong, fmt.Sprintf("call %d ran %d times", n, c.runs))
		case c.ok && c.runs == 0:
			wrong = append(wrong, fmt.Sprintf("call %d has a reply and never ran", n))
		case !c.ok && (c.code == 0 || c.text == ""):
			wrong = append(wrong, fmt.Sprintf("call %d failed with code %d, %q", n, c.code, c.text))
		}
		if c.ended && !c.ok {
			t.failed++
			t.errors[c.text]++
			if c.runs > 0 {
				t.ran++
			}
		}
	}
	return t, wrong
}
