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
	word  atomic.Int64 // requests << bytesBits | bytes
	drawn atomic.Int64 // bytes of them in env.memory
	room  atomic.Pointer[roomWait]
}

// roomWait is what goroutines need that wait for requests to end. Few sessions have one.
type roomWait struct {
	gate    chan struct{} // of capacity 1; full while a handler waits for memory for its reply
	waiting atomic.Int64  // bytes of it, and of those that wait for the gate
	awaited atomic.Bool   // ended is not nil

	mu    sync.Mutex    // guards ended
	ended chan struct{} // closed when a request has ended; nil: no goroutine waits for that
}

func (w *workload) running() int { return int(w.word.Load() >> bytesBits) }
func (w *workload) bytes() int64 { return w.word.Load() & bytesMask }

// add counts so many requests and bytes more, or fewer, and returns the sums.
func (w *workload) add(requests int, n int64) (running int, bytes int64) {
	word := w.word.Add(int64(requests)<<bytesBits + n)
	return int(word >> bytesBits), word & bytesMask
}

// waitRoom returns w.room, made if necessary.
func (w *workload) waitRoom() *roomWait {
	if r := w.room.Load(); r != nil {
		return r
	}
	w.room.CompareAndSwap(nil, &roomWait{gate: make(chan struct{}, 1)})
	return w.room.Load()
}

// await returns a channel that is closed by signal.
func (w *workload) await() <-chan struct{} {
	r := w.waitRoom()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended == nil {
		r.ended = make(chan struct{})
		r.awaited.Store(true)
	}
	return r.ended
}

// signal lets goroutines that wait for a request to end check their conditions.
func (w *workload) signal() {
	r := w.room.Load()
	if r == nil || !r.awaited.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil {
		close(r.ended)
		r.ended = nil
		r.awaited.Store(false)
	}
}
