package tp

import (
	"sync"
	"sync/atomic"
)

const (
	// bytesBits is how many bits of workload.word hold bytes.
	bytesBits = 40
	bytesMask = 1<<bytesBits - 1
)

// workload counts the requests that a session handles, and the bytes they take.
type workload struct {
	word    atomic.Int64 // requests << bytesBits | bytes
	drawn   atomic.Int64 // bytes of them in env.memory
	awaited atomic.Bool  // room is not nil

	gate sync.Mutex    // held by a handler that waits for memory for its reply
	mu   sync.Mutex    // guards room
	room chan struct{} // closed when a request has ended; nil: no goroutine waits for that
}

func (w *workload) running() int { return int(w.word.Load() >> bytesBits) }
func (w *workload) bytes() int64 { return w.word.Load() & bytesMask }

// add counts so many requests and bytes more, or fewer, and returns the sums.
func (w *workload) add(requests int, n int64) (running int, bytes int64) {
	word := w.word.Add(int64(requests)<<bytesBits + n)
	return int(word >> bytesBits), word & bytesMask
}

// await returns a channel that is closed by signal.
func (w *workload) await() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.room == nil {
		w.room = make(chan struct{})
		w.awaited.Store(true)
	}
	return w.room
}

// signal lets goroutines that wait for a request to end check their conditions.
func (w *workload) signal() {
	if !w.awaited.Load() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.room != nil {
		close(w.room)
		w.room = nil
		w.awaited.Store(false)
	}
}
