package leak

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// recorder is a testing.TB that records cleanups and failures.
type recorder struct {
	testing.TB
	cleanup func()
	errors  []string
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanup = f }
func (r *recorder) Errorf(f string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(f, args...))
}

// report ends the test and returns its failure.
func (r *recorder) report() string {
	r.errors = nil
	r.cleanup()
	return strings.Join(r.errors, "\n")
}

func leaky(release <-chan struct{}) { <-release }

func TestLeakCheck(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(release chan struct{})
		want string // in the report; empty: none
	}{
		{"nothing", func(chan struct{}) {}, ""},
		{"ends in time", func(chan struct{}) { go func() { <-time.After(grace / 2) }() }, ""},
		{"leaks", func(release chan struct{}) { go leaky(release) }, "1 goroutines are still running"},
		{"names it", func(release chan struct{}) { go leaky(release) }, "leak.leaky("},
		{"leaks two", func(release chan struct{}) { go leaky(release); go leaky(release) }, "2 goroutines"},
		{"ends late", func(release chan struct{}) {
			go func() {
				select {
				case <-time.After(grace + time.Second):
				case <-release:
				}
			}()
		}, "1 goroutines"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				defer close(release)
				r := &recorder{TB: t}
				LeakCheck(r)
				test.run(release)
				got := r.report()
				if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
					t.Errorf("reported %q; want %q", got, test.want)
				}
			})
		})
	}
}

func TestOutsideOfBubbles(t *testing.T) {
	release := make(chan struct{})
	go leaky(release) // was there before
	r := &recorder{TB: t}
	LeakCheck(r)

	done := make(chan struct{})
	go func() { defer close(done); leaky(release) }()
	if left := r.report(); !strings.Contains(left, "1 goroutines") {
		t.Errorf("reported %q; want 1 goroutine", left)
	}
	close(release)
	<-done
	if left := r.report(); left != "" {
		t.Errorf("reported %q; want nothing", left)
	}
}

// The test before has left a goroutine, which starts another: the report names both.
func TestLeftByOthers(t *testing.T) {
	release, running, begin, begun, done := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	go leftOver(running, begin, begun, release, done)
	<-running
	r := &recorder{TB: t}
	LeakCheck(r)
	close(begin)
	<-begun
	left := r.report()
	for _, want := range []string{"1 goroutines", "leak.leaky(", "started by what ran before this test", "leak.leftOver("} {
		if !strings.Contains(left, want) {
			t.Errorf("reported %q; want it to have %q", left, want)
		}
	}
	close(release)
	<-done
}

func leftOver(running, begin, begun, release, done chan struct{}) {
	close(running)
	<-begin
	go func() { defer close(done); leaky(release) }()
	close(begun)
}

func TestSubtests(t *testing.T) {
	LeakCheck(t)
	t.Run("bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			LeakCheck(t)
			go leaky(t.Context().Done()) // which ends before the cleanup
		})
	})
	t.Run("plain", func(t *testing.T) {
		LeakCheck(t)
		go leaky(t.Context().Done())
	})
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, stack, id, bubble, creator string
		ours                             bool
	}{
		{"ours", "goroutine 7 [running]:\n" + modulePath + "/core.f()\n\t/x.go:1", "7", "", "", true},
		{"started by us", "goroutine 7 [select]:\nnet/http.f()\n\t/x.go:1\ncreated by " + modulePath + "/core.f in goroutine 1", "7", "", "1", true},
		{"foreign", "goroutine 8 [select]:\nnet/http.f()\n\t/x.go:1\ncreated by net/http.g in goroutine 12\n\t/x.go:1 +0x1", "8", "", "12", false},
		{"a test", "goroutine 9 [running]:\n" + modulePath + "/core.TestX()\n\t/x.go:1\ncreated by testing.(*T).Run in goroutine 1", "9", "", "1", false},
		{"bubble", "goroutine 10 [chan receive (durable), 1 minutes, synctest bubble 25]:\n", "10", "25", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := parse(test.stack)
			if g.id != test.id || g.bubble != test.bubble || g.creator != test.creator || g.ours() != test.ours {
				t.Errorf("parse = %q, %q, %q, %v; want %q, %q, %q, %v", g.id, g.bubble, g.creator, g.ours(), test.id, test.bubble, test.creator, test.ours)
			}
		})
	}
}
