package tptest

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// check is one check of a suite.
type check struct {
	name string
	want string // what it checks
	real bool   // by the real clock, not in a bubble
	run  func(*recorder, *suite)
}

// runChecks runs all checks of a suite.
func runChecks(t *testing.T, s *suite, checks []check) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			for _, fault := range s.try(t, c) {
				t.Errorf("%s\nThe check: %s", fault, c.want)
			}
		})
	}
}

// try runs one check and returns the faults it has found.
func (s *suite) try(t *testing.T, c check) (faults []string) {
	if c.real {
		return record(t, s.patient, func(r *recorder) { c.run(r, s) })
	}
	defer func() {
		if p := recover(); p != nil { // goroutines that stay blocked for ever
			faults = append(faults, fmt.Sprint(p))
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		faults = record(t, s.patient, func(r *recorder) { c.run(r, s) })
	})
	return faults
}

// recorder is a testing.TB that records failures instead of failing, so that the suites
// can be tested themselves.
type recorder struct {
	testing.TB
	ctx     context.Context
	patient time.Duration     // how long all may take; one operation may take a third of that
	hung    []<-chan struct{} // closed at the end of what took longer; record's own

	mu       sync.Mutex // guards the fields below
	faults   []string
	cleanups []func()
	over     bool // there are no more cleanups to come
}

var _ testing.TB = (*recorder)(nil)

// record runs f and its cleanups, and returns the faults. If f takes longer than patient
// that is a fault; the cleanups, which close what f has opened, must then end it. What is
// left of it would otherwise go on beside the next check, and be taken for a leak of that.
func record(t testing.TB, patient time.Duration, f func(*recorder)) []string {
	ctx, cancel := context.WithCancel(context.Background())
	r := &recorder{TB: t, ctx: ctx, patient: patient}
	r.do(func() { f(r) })
	cancel()
	for {
		r.mu.Lock()
		n := len(r.cleanups) - 1
		if n < 0 {
			r.over = true
			r.mu.Unlock()
			break
		}
		cleanup := r.cleanups[n]
		r.cleanups = r.cleanups[:n]
		r.mu.Unlock()
		r.do(cleanup)
	}
	r.awaitHung()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.faults)
}

// do runs f on a goroutine of its own, since FailNow ends one.
func (r *recorder) do(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		f()
	}()
	timer := time.NewTimer(r.patient)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		r.hung = append(r.hung, done)
		r.Errorf("hangs: no end after %v", r.patient)
	}
}

// awaitHung waits for what took too long.
func (r *recorder) awaitHung() {
	timer := time.NewTimer(r.patient)
	defer timer.Stop()
	for _, done := range r.hung {
		select {
		case <-done:
		case <-timer.C:
			r.Errorf("hangs: no end %v after the clean-ups either", r.patient)
			return
		}
	}
}

func (r *recorder) fault(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, text)
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.faults) > 0
}

// Cleanup runs f at once if all cleanups have run: then the check has hung, and its
// goroutine is ended.
func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	over := r.over
	if !over {
		r.cleanups = append(r.cleanups, f)
	}
	r.mu.Unlock()
	if over {
		f()
		runtime.Goexit()
	}
}

func (r *recorder) Context() context.Context          { return r.ctx }
func (r *recorder) Fail()                             { r.fault("failed") }
func (r *recorder) FailNow()                          { r.Fail(); runtime.Goexit() }
func (r *recorder) Error(args ...any)                 { r.fault(fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.fault(fmt.Sprintf(format, args...)) }
func (r *recorder) Fatal(args ...any)                 { r.Error(args...); runtime.Goexit() }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}
