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
func LeakCheck(t testing.TB) {
	t.Helper()
	before := make(map[string]bool)
	for _, g := range goroutines() {
		before[g.id] = true
	}
	t.Cleanup(func() {
		t.Helper()
		left := wait(before)
		if len(left) > 0 {
			t.Errorf("leak: %d goroutines are still running:\n\n%s", len(left), strings.Join(left, "\n\n"))
		}
	})
}

// wait returns the stacks of the goroutines that still run after grace.
func wait(before map[string]bool) (left []string) {
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
func leaked(before map[string]bool) (left []string) {
	all := goroutines()
	self := all[0]
	for _, g := range all[1:] {
		if g.bubble == self.bubble && !before[g.id] && g.ours() {
			left = append(left, g.stack)
		}
	}
	return left
}

// goroutine is one goroutine of a dump.
type goroutine struct {
	id     string
	bubble string // empty: not in a bubble
	stack  string // with its first line
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
// "goroutine 7 [chan receive, 2 minutes, synctest bubble 5]:".
func parse(stack string) goroutine {
	g := goroutine{stack: stack}
	head, _, _ := strings.Cut(stack, "\n")
	fmt.Sscanf(head, "goroutine %s", &g.id)
	if _, bubble, ok := strings.Cut(head, "synctest bubble "); ok {
		g.bubble = strings.TrimRight(bubble, "]:")
	}
	return g
}
