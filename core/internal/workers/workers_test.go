package workers

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/sweep"
)

// newPool returns a pool of functions, which is closed at the end of the test.
func newPool(t *testing.T) *Pool[func()] {
	t.Helper()
	sweeper := sweep.New()
	p := New(sweeper, func(f func()) { f() })
	t.Cleanup(func() { p.Close(); sweeper.Close() })
	return p
}

func (p *Pool[T]) idle() (n int) {
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		n += len(s.idle)
		s.mu.Unlock()
	}
	return n
}

// No value waits for another one, however many there are.
func TestNothingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		release := make(chan struct{})
		var begun sync.WaitGroup
		for i := range uint32(100) {
			begun.Add(1)
			p.Go(i, func() { begun.Done(); <-release })
		}
		begun.Wait()
		close(release)
	})
}

// runOne runs a value of the source and waits for its end.
func runOne(p *Pool[func()], source uint32) {
	done := make(chan struct{})
	p.Go(source, func() { close(done) })
	<-done
}

// The same worker runs values that come one after the other.
func TestWorkersAreUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		for range 100 {
			runOne(p, 7)
			synctest.Wait() // the worker is idle
		}
		if n := p.idle(); n != 1 {
			t.Errorf("%d workers have run 100 values, want 1", n)
		}
	})
}

// Workers that are not needed any more end.
func TestIdleWorkersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		release := make(chan struct{})
		for range 50 {
			p.Go(0, func() { <-release })
		}
		close(release)
		synctest.Wait()
		if n := p.idle(); n != 50 {
			t.Fatalf("%d idle workers, want 50", n)
		}
		time.Sleep(3 * time.Duration(period))
		synctest.Wait()
		if n := p.idle(); n != 0 {
			t.Errorf("%d idle workers are left, want none", n)
		}
	})
}

// A value that ends its goroutine ends the worker, and no other.
func TestGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		p.Go(0, func() { runtime.Goexit() })
		runOne(p, 0)
		synctest.Wait()
		if n := p.idle(); n != 1 {
			t.Errorf("%d idle workers, want 1", n)
		}
	})
}

// After Close idle workers end, and busy ones when they are done; new values still run.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		release := make(chan struct{})
		p.Go(0, func() { <-release })
		runOne(p, 0)
		synctest.Wait()
		p.Close()
		if n := p.idle(); n != 0 {
			t.Errorf("%d idle workers after Close", n)
		}
		runOne(p, 0)
		close(release)
		synctest.Wait()
		if n := p.idle(); n != 0 {
			t.Errorf("%d idle workers after the last value", n)
		}
	})
}
