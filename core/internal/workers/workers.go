// Package workers runs handlers on goroutines that are used again: a goroutine
// that has run a handler has a stack that is large enough, and growing a stack
// costs more than starting a goroutine.
package workers

import (
	"runtime"
	"sync"

	"github.com/teleport-go/teleport/core/internal/sweep"
)

const (
	// period is the time between two calls of Expire, in nanoseconds.
	period = int64(2e9)
	// maxIdle is how many idle workers a shard keeps at most.
	maxIdle = 1024
)

// Pool runs values on goroutines. There is no bound: a value never waits for a
// worker. Idle workers end within a few seconds. All methods may be called
// concurrently.
type Pool[T any] struct {
	sweep.Handle
	run     func(T)
	sweeper *sweep.Sweeper
	shards  []shard[T]
}

type shard[T any] struct {
	mu     sync.Mutex // guards the fields below
	idle   []*worker[T]
	least  int // the smallest number of idle workers since the last Expire
	closed bool
	_      [64]byte // shards share no cache line
}

// worker is a goroutine that waits on its channel, of capacity 1.
type worker[T any] struct{ work chan T }

// New returns a pool whose workers call run. The sweeper trims the idle workers.
func New[T any](sweeper *sweep.Sweeper, run func(T)) *Pool[T] {
	return &Pool[T]{run: run, sweeper: sweeper, shards: make([]shard[T], min(runtime.GOMAXPROCS(0), 64))}
}

// Go runs v on a goroutine at once. Values of the same source use the same idle workers.
func (p *Pool[T]) Go(source uint32, v T) {
	s := &p.shards[source%uint32(len(p.shards))]
	s.mu.Lock()
	n := len(s.idle) - 1
	if n < 0 {
		s.mu.Unlock()
		go p.work(s, v)
		return
	}
	w := s.idle[n] // the last to become idle: its stack is warm
	s.idle[n] = nil
	s.idle = s.idle[:n]
	s.least = min(s.least, n)
	s.mu.Unlock()
	w.work <- v
}

// work is the goroutine of a worker. If run calls runtime.Goexit, the worker ends.
func (p *Pool[T]) work(s *shard[T], v T) {
	p.run(v)
	w := &worker[T]{make(chan T, 1)}
	for p.park(s, w) {
		v, ok := <-w.work
		if !ok {
			return
		}
		p.run(v)
	}
}

// park makes w idle. It returns false if w is not needed any more.
func (p *Pool[T]) park(s *shard[T], w *worker[T]) bool {
	s.mu.Lock()
	if s.closed || len(s.idle) >= maxIdle {
		s.mu.Unlock()
		return false
	}
	s.idle = append(s.idle, w)
	first := len(s.idle) == 1
	s.mu.Unlock()
	if first {
		p.sweeper.Touch(p, p.sweeper.Now()+period)
	}
	return true
}

// Expire ends the workers that were idle since it was called last. The sweeper calls it.
func (p *Pool[T]) Expire(now int64) (next int64) {
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		n := min(s.least, len(s.idle))
		over := s.idle[:n:n] // the longest idle
		s.idle = append([]*worker[T](nil), s.idle[n:]...)
		s.least = len(s.idle)
		if s.least > 0 {
			next = now + period
		}
		s.mu.Unlock()
		for _, w := range over {
			close(w.work)
		}
	}
	return next
}

// Close ends all idle workers, and every other one when it becomes idle.
func (p *Pool[T]) Close() {
	p.sweeper.Remove(p)
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		s.closed = true
		idle := s.idle
		s.idle = nil
		s.mu.Unlock()
		for _, w := range idle {
			close(w.work)
		}
	}
}
