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
	for _, from := range []string{"parked", "reading"} {
		var r readerState
		if from == "parked" {
			r.park()
			if !r.seize() || r.seize() {
				t.Error("want a parked connection to be seized once")
			}
		} else {
			if r.seize() {
				t.Error("a connection that is read was seized")
			}
			r.hold()
		}
		is(t, &r, held, false)
		w := r.word.Load()
		if r.unpark(0) || r.unpark(onPoller) || r.interrupt(w) || r.steal(r.generation()) || r.returned(r.generation()) {
			t.Errorf("%s: somebody else has become the reader", from)
		}
		if !r.unhold() || r.unhold() {
			t.Error("want one goroutine to become the reader")
		}
		is(t, &r, reading, false)
	}
}
