package tp

import "testing"

// Nobody reads a connection that is held, and one goroutine ends that.
func TestHeldConnectionHasNoReader(t *testing.T) {
	is := func(t *testing.T, r *readerState, phase uint64, registered bool) {
		t.Helper()
		if r.phase() != phase || r.registered() != registered {
			t.Errorf("phase %d, registered %v; want %d, %v", r.phase(), r.registered(), phase, registered)
		}
	}
	for from, leave := range map[uint64]func(r *readerState){
		parked:  func(r *readerState) { r.park() },
		offered: func(r *readerState) { r.offer() },
	} {
		var r readerState
		if _, ok := r.seize(); ok {
			t.Error("a connection that is read was seized")
		}
		leave(&r)
		if was, ok := r.seize(); !ok || was != from {
			t.Errorf("a connection in phase %d was seized: %v, in phase %d", from, ok, was)
		}
		if _, ok := r.seize(); ok {
			t.Errorf("a connection in phase %d was seized twice", from)
		}
		is(t, &r, held, false)
		w := r.word.Load()
		if r.unpark(0) || r.unpark(onPoller) || r.interrupt(w) || r.steal(r.generation()) || r.returned(r.generation()) {
			t.Errorf("phase %d: somebody else has become the reader", from)
		}
		if !r.unhold() || r.unhold() {
			t.Error("want one goroutine to become the reader")
		}
		is(t, &r, reading, false)
	}
}

// A reader takes its offer back, or another goroutine has it: also one that comes when the
// reader has seen that nobody wants the reading any more.
func TestOfferIsTakenOnce(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(r *readerState) bool // between the offer and the attempt to take it back
		back   bool
		phase  uint64
	}{
		{"nobody came", func(*readerState) bool { return true }, true, reading},
		{"it was seized", func(r *readerState) bool { _, ok := r.seize(); return ok }, false, held},
		{"who has wanted it has given up, and reads", (*readerState).unhold, false, reading},
		{"another reader has offered it", func(r *readerState) bool { ok := r.unhold(); r.offer(); return ok }, false, offered},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r readerState
			offer := r.offer()
			if !test.before(&r) {
				t.Fatal("the offer is not there")
			}
			if back := r.recall(offer); back != test.back || r.phase() != test.phase || r.registered() {
				t.Errorf("it was taken back: %v, in phase %d; want %v, %d", back, r.phase(), test.back, test.phase)
			}
			if _, ok := r.seize(); ok != (test.phase == offered) {
				t.Errorf("it was seized behind that: %v", ok)
			}
		})
	}
}
