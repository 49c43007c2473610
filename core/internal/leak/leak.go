// Package leak tells a test which goroutines it has left running.
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
	grace      = 2 * time.Second // for goroutines that are about to end
	maxStacks  = 64 << 20        // bytes of stacks looked at
)

// LeakCheck makes the test fail when, at its end, goroutines still run that
// were started since this call and have to do with this project: a function of
// it stands in the stack or has started the goroutine. It gives them up to 2
// seconds to end.
//
// Call it first in a test, so that its cleanup runs last. It sees the whole
// process, so neither the test nor its subtests may run in parallel to others.
//
// In a testing/synctest bubble it looks at the bubble's own goroutines, and the
// 2 seconds are the bubble's: they cost no time. The bubble itself would end a
// test that leaks in a panic; LeakCheck reports it first, with the stacks of
// just the guilty. Outside of bubbles it leaves the goroutines of bubbles alone.
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

// wait returns the stacks of the goroutines that outlive the grace.
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

// goroutine is what a dump says of one.
type goroutine struct {
	id     string
	bubble string // empty: in none
	stack  string // with the headline
}

// ours tells whether the project has to do with it. The goroutines in which
// package testing runs tests do not count.
func (g goroutine) ours() bool {
	return strings.Contains(g.stack, modulePath) &&
		!strings.Contains(g.stack, "\ncreated by testing.") &&
		!strings.Contains(g.stack, "\ncreated by testing/synctest.") &&
		!strings.Contains(g.stack, "\ntesting.(*M).Run(")
}

// goroutines returns all of the process, the running one first.
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

// parse reads the stack of a goroutine. Its headline is like
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
