package watchdog

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// reader is a Reader that runs a handler with that number.
type reader struct{ handler, stolen atomic.Uint64 }

func (r *reader) Handler() uint64      { return r.handler.Load() }
func (r *reader) Steal(handler uint64) { r.stolen.Store(handler); r.handler.CompareAndSwap(handler, 0) }

func newWatchdog(t *testing.T, always bool) *Watchdog[reader, *reader] {
	t.Helper()
	w := new(Watchdog[reader, *reader])
	w.Init(always)
	t.Cleanup(w.Close)
	return w
}

// after waits for so many checks.
func after(checks int) {
	time.Sleep(time.Duration(checks)*Period + Period/2)
	synctest.Wait()
}

func TestStealsFromWhatDoesNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchdog(t, false)
		w.Wake()
		slow, quick := new(reader), new(reader)
		for i, r := range []*reader{slow, quick} {
			if w.Acquire(uint32(i), r) == nil {
				t.Fatal("no slot")
			}
		}
		slow.handler.Store(7)
		for i := range uint64(3 * Checks) {
			quick.handler.Store(i + 1) // another handler at each check
			after(0)
			time.Sleep(Period / 2)
		}
		if got := slow.stolen.Load(); got != 7 {
			t.Errorf("stolen from handler %d, want 7", got)
		}
		if got := quick.stolen.Load(); got != 0 {
			t.Errorf("stolen from handler %d, which has returned", got)
		}
	})
}

func TestSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchdog(t, false)
		r := new(reader)
		if w.Awake() || w.Acquire(0, r) != nil {
			t.Error("awake before the first Wake")
		}
		w.Wake()
		s := w.Acquire(0, r)
		after(3 * IdleChecks)
		if !w.Awake() || w.Taken() != 1 {
			t.Errorf("awake is %v with %d slots taken, want true with 1", w.Awake(), w.Taken())
		}
		s.Release()
		after(3 * IdleChecks)
		if w.Awake() {
			t.Error("awake with nothing to watch")
		}
		w.Wake()
		if !w.Awake() {
			t.Error("it does not wake again")
		}
	})
}

func TestAlways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchdog(t, true)
		after(3 * IdleChecks)
		if !w.Awake() {
			t.Error("asleep")
		}
	})
}

// A slot has one reader at a time.
func TestOneReaderASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchdog(t, true)
		a, b := new(reader), new(reader)
		n := uint32(len(w.slots))
		s := w.Acquire(3, a)
		if s == nil || w.Acquire(3+n, b) != nil {
			t.Error("want the slot for the first")
		}
		s.Release()
		if w.Acquire(3+n, b) == nil {
			t.Error("the slot is not free")
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchdog(t, false)
		w.Wake()
		w.Close()
		w.Close()
		w.Wake()
		if w.Awake() || w.Acquire(0, new(reader)) != nil {
			t.Error("awake after Close")
		}
	})
}
