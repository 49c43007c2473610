package tp

import (
	"errors"
	"sync/atomic"
)

// A connection is read by one goroutine at a time, or by none while it is parked.
// One word says which goroutine that is, and what it does:
//
//	   ┌───────────────────── park ──────────────────────┐
//	   ▼                                                 │
//	parked ── unpark ──► reading+onPoller ── detach ──► reading ── await ──► waiting
//	 ▲  │                 │  │    ▲                      │  ▲ ▲               │  │
//	 └──│──── park ───────┘  │ returned                  │  │ └─── resume ────┘  │
//	    │                    ▼    │                  begin  │ returned           │
//	    │                handling+onPoller               ▼  │             interrupt
//	    │                         │                    handling                  │
//	    │                         └────── steal ──────────┤                      ▼
//	    └── unpark (close, no poller) ──► reading ◄───────┘     waiting+interrupted
//
// The goroutine in the phase reading or waiting is the reader. It owns the reading half
// of the connection and the fields of reader, and it alone leaves these phases. Every
// other transition is one compare-and-swap: a new goroutine takes the reading over from
// a handler that does not return, or that calls back (steal); a parked connection gets
// a reader when bytes arrive or when it is closed (unpark); the sweeper ends a long
// wait, and the reader parks the connection (interrupt). The generation counts waits,
// handlers and changes of the reader: if it is equal to a value loaded earlier, the
// wait, the handler or the reader is still the same.
//
// A reader that waits for memory is in the phase paused, from reading and back to it, and
// stays the reader. A connection that moves to another process is held: the goroutine that
// moves it takes it from parked (seize), or from a reader that has come to the edge of a
// message and offers it (yield). The reader may take an offer back that nobody has taken
// (recall): that is a compare-and-swap too, since a goroutine that has given up may be
// followed by another one meanwhile. Then nobody reads, and the goroutine that moves the
// connection has what is the reader's until it is the reader itself (unhold).
type readerState struct{ word atomic.Uint64 }

const (
	reading  uint64 = iota // reads, decodes, dispatches, runs hooks; also prepares the connection at first
	parked                 // no goroutine: the poller waits for bytes
	waiting                // for the first byte of a message
	handling               // runs a handler
	paused                 // waits for memory that other messages take
	offered                // no goroutine: the reader has left it to the one that moves the connection
	held                   // no goroutine: the connection moves to another process
	phases          = 7

	onPoller    uint64 = 1 << 3 // the reader is the poll loop
	escaped     uint64 = 1 << 4 // the handler has called Session or Peer, and so may call back
	interrupted uint64 = 1 << 5 // the sweeper ends the wait

	generationShift = 8
)

func wordOf(generation, phase, flags uint64) uint64 {
	return generation<<generationShift | phase | flags
}
func phaseOf(w uint64) uint64      { return w & phases }
func generationOf(w uint64) uint64 { return w >> generationShift }

func (r *readerState) phase() uint64      { return phaseOf(r.word.Load()) }
func (r *readerState) generation() uint64 { return generationOf(r.word.Load()) }

// registered reports whether the connection is registered with the poller.
func (r *readerState) registered() bool {
	w := r.word.Load()
	return phaseOf(w) == parked || w&onPoller != 0
}

// next changes to a phase, with flags, in a new generation. Only the reader calls it.
func (r *readerState) next(phase, flags uint64) (generation uint64) {
	generation = r.generation() + 1
	r.word.Store(wordOf(generation, phase, flags))
	return generation
}

func (r *readerState) pause()                  { r.word.Store(wordOf(r.generation(), paused, 0)) }
func (r *readerState) unpause()                { r.word.Store(wordOf(r.generation(), reading, 0)) }
func (r *readerState) park()                   { r.next(parked, 0) }
func (r *readerState) await() (wait uint64)    { return r.next(waiting, 0) }
func (r *readerState) begin() (handler uint64) { return r.next(handling, r.word.Load()&onPoller) }
func (r *readerState) resume() (wasEnded bool) {
	return r.word.Swap(wordOf(r.generation(), reading, 0))&interrupted != 0
}

// detach makes a reader that was the poll loop an ordinary one. It reports whether it
// was the poll loop.
func (r *readerState) detach() bool {
	w := r.word.Load()
	if w&onPoller == 0 {
		return false
	}
	r.word.Store(w &^ onPoller)
	return true
}

// unpark makes the caller the reader; flag is onPoller for the poll loop, else 0. It
// returns false if the connection is not parked.
func (r *readerState) unpark(flag uint64) bool {
	w := r.word.Load()
	return phaseOf(w) == parked && r.word.CompareAndSwap(w, wordOf(generationOf(w)+1, reading, flag))
}

// offer is the reader's last act, unless it recalls the offer: see offered.
func (r *readerState) offer() (offer uint64) { return r.next(offered, 0) }

// recall makes the goroutine that has offered the reading the reader again. It returns
// false if another one has taken it.
func (r *readerState) recall(offer uint64) bool {
	return r.word.CompareAndSwap(wordOf(offer, offered, 0), wordOf(offer+1, reading, 0))
}

// seize makes a connection held that is parked, or that its reader offers; from is which.
func (r *readerState) seize() (from uint64, ok bool) {
	w := r.word.Load()
	from = phaseOf(w)
	return from, (from == parked || from == offered) && r.word.CompareAndSwap(w, wordOf(generationOf(w)+1, held, 0))
}

// unhold makes the caller the reader of a connection that is held, or offered and not seized.
func (r *readerState) unhold() bool {
	w := r.word.Load()
	p := phaseOf(w)
	return (p == held || p == offered) && r.word.CompareAndSwap(w, wordOf(generationOf(w)+1, reading, 0))
}

// interrupt ends the wait during which w was loaded.
func (r *readerState) interrupt(w uint64) bool {
	return phaseOf(w) == waiting && r.word.CompareAndSwap(w, w|interrupted)
}

// handler returns the generation of the handler that the reader runs, 0 for none, and
// whether it has escaped.
func (r *readerState) handler() (handler uint64, hasEscaped bool) {
	if w := r.word.Load(); phaseOf(w) == handling {
		return generationOf(w), w&escaped != 0
	}
	return 0, false
}

// change replaces the word while the reader runs the handler. It returns false if the
// reader does not run it any more.
func (r *readerState) change(handler uint64, f func(w uint64) uint64) bool {
	for {
		w := r.word.Load()
		if phaseOf(w) != handling || generationOf(w) != handler {
			return false
		}
		if r.word.CompareAndSwap(w, f(w)) {
			return true
		}
	}
}

// holder says what keeps the reader of a closed connection from its end.
func (r *readerState) holder() string {
	switch r.phase() {
	case waiting:
		return "a Read of its closed connection"
	case parked:
		return "the poller, which waits for its closed connection,"
	case paused:
		return "the wait for memory"
	case offered, held:
		return "the new process, which is to take it over,"
	}
	return "a hook, a codec or a Read that its reader runs"
}

// escape notes that the handler has its session, with which it can call.
func (r *readerState) escape(handler uint64) {
	if now, hasEscaped := r.handler(); now == handler && !hasEscaped {
		r.change(handler, func(w uint64) uint64 { return w | escaped })
	}
}

// returned makes the goroutine of the handler the reader again. It returns false if
// another goroutine has stolen the reading.
func (r *readerState) returned(handler uint64) bool {
	return r.change(handler, func(w uint64) uint64 { return wordOf(handler, reading, w&onPoller) })
}

// steal makes the caller the reader in place of the goroutine of the handler.
func (r *readerState) steal(handler uint64) bool {
	return r.change(handler, func(w uint64) uint64 { return wordOf(handler+1, reading, w&onPoller) })
}

// errNotReader says that this goroutine is not the reader of the connection any more.
var errNotReader = errors.New("tp: the connection is read elsewhere")
