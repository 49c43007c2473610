// Package leak reports the goroutines that a test has left running.
package leak

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

const (
	modulePath = "github.com/teleport-go/teleport"
	grace      = 2 * time.Second // time for goroutines to end
	maxStacks  = 64 << 20        // most bytes of stacks that are read
)

// LeakCheck makes the test fail if, at its end, goroutines of this project still run
// that were started since this call: those with a function of the project in the stack,
// or started by one. It gives them up to 2 seconds to end.
//
// Call it first in a test, so that its cleanup runs last. It checks the whole
// process, so neither the test nor its subtests may run in parallel to others.
//
// In a testing/synctest bubble it checks the bubble's own goroutines, and the 2 seconds
// are the bubble's: they cost no time. The bubble itself would panic if a goroutine
// leaks; LeakCheck reports it first, with the stacks of only the leaked goroutines.
// Outside of bubbles it ignores the goroutines of bubbles.
//
// A goroutine that an earlier test has left may start others during this one. The report
// has the stack that it had before.
func LeakCheck(t testing.TB) {
	t.Helper()
	all := goroutines()
	before := snapshot{all[0].id, make(map[string]goroutine)}
	for _, g := range all {
		before.all[g.id] = g
	}
	t.Cleanup(func() {
		t.Helper()
		left := wait(before)
		if len(left) > 0 {
			t.Errorf("leak: %d goroutines are still running:\n\n%s", len(left), strings.Join(left, "\n\n"))
		}
	})
}

// snapshot is what ran when LeakCheck was called.
type snapshot struct {
	caller string // of LeakCheck: its id
	all    map[string]goroutine
}

// wait returns the stacks of the goroutines that still run after grace.
func wait(before snapshot) (left []string) {
	end := time.Now().Add(grace)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		runtime.Gosched()
		if left = leaked(before); len(left) == 0 || !time.Now().Before(end) {
			return left
		}
		<-time.After(pause)
	}
}

// leaked returns the stacks of the project's goroutines that are not in before.
func leaked(before snapshot) (left []string) {
	all := goroutines()
	self := all[0]
	for _, g := range all[1:] {
		if _, old := before.all[g.id]; old || g.bubble != self.bubble || !g.ours() {
			continue
		}
		stack := g.stack
		if by, old := before.all[g.creator]; old && by.id != before.caller && by.ours() {
			stack += "\nIt was started by what ran before this test, where it was then:\n" + by.stack
		}
		left = append(left, stack)
	}
	return left
}

// goroutine is one goroutine of a dump.
type goroutine struct {
	id      string
	bubble  string // empty: not in a bubble
	creator string // the id of the goroutine that has started it; empty: none
	stack   string // with its first line
}

// ours reports whether it is a goroutine of the project. The goroutines in which
// package testing runs tests do not count.
func (g goroutine) ours() bool {
	return strings.Contains(g.stack, modulePath) &&
		!strings.Contains(g.stack, "\ncreated by testing.") &&
		!strings.Contains(g.stack, "\ncreated by testing/synctest.") &&
		!strings.Contains(g.stack, "\ntesting.(*M).Run(")
}

// goroutines returns all goroutines of the process, the running one first.
func goroutines() (all []goroutine) {
	for dump := range bytes.SplitSeq(dump(), []byte("\n\n")) {
		all = append(all, parse(string(dump)))
	}
	return all
}

// dump returns the stacks of all goroutines, as many as maxStacks holds.
func dump() []byte {
	for size := 64 << 10; ; size *= 2 {
		buf := make([]byte, size)
		if n := runtime.Stack(buf, true); n < size || size >= maxStacks {
			return bytes.TrimSpace(buf[:n])
		}
	}
}

// parse parses the stack of a goroutine. Its first line is like
// "goroutine 7 [chan receive, 2 minutes, synctest bubble 5]:", the last but one like
// "created by net/http.f in goroutine 1".
func parse(stack string) goroutine {
	g := goroutine{stack: stack}
	head, _, _ := strings.Cut(stack, "\n")
	fmt.Sscanf(head, "goroutine %s", &g.id)
	if _, bubble, ok := strings.Cut(head, "synctest bubble "); ok {
		g.bubble = strings.TrimRight(bubble, "]:")
	}
	if i := strings.LastIndex(stack, "\ncreated by "); i >= 0 {
		line, _, _ := strings.Cut(stack[i+1:], "\n")
		if _, id, ok := strings.Cut(line, " in goroutine "); ok {
			g.creator = id
		}
	}
	return g
}
