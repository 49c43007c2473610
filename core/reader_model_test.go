package tp

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// stateModel is a connection whose reader makes random transitions while other
// goroutines take the reading over. Only the state's word decides which goroutine is the
// reader; owners counts them.
type stateModel struct {
	state  readerState
	owners atomic.Int32
	ended  atomic.Bool // no reader starts any more
	wg     sync.WaitGroup

	mu    sync.Mutex
	wrong []string
	steps map[string]int
}

func (m *stateModel) step(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.steps[name]++
}

func (m *stateModel) bad(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wrong = append(m.wrong, fmt.Sprintf(format, args...))
}

// Each reader calls own first, and disown last, before another goroutine can take the
// reading over. Two owners at once are a fault.
func (m *stateModel) own() {
	if n := m.owners.Add(1); n != 1 {
		m.bad("%d readers at once", n)
	}
}

func (m *stateModel) disown() { m.owners.Add(-1) }

// read is one reader: it makes random transitions until it is not the reader any more.
func (m *stateModel) read(rng *rand.Rand) {
	defer m.wg.Done()
	m.own()
	for {
		if m.ended.Load() {
			m.disown()
			return
		}
		mine := m.state.generation()
		switch rng.IntN(5) {
		case 0: // park, as the poll loop or not
			m.step("park")
			m.disown()
			m.state.park()
			if m.ended.Load() && m.state.unpark(0) { // as after a concurrent close
				return
			}
			return
		case 1:
			m.step("detach")
			m.state.detach()
			if m.state.registered() {
				m.bad("detached, and still registered")
			}
		case 2: // wait
			m.state.detach()
			m.step("await")
			wait := m.state.await()
			if wait != mine+1 {
				m.bad("wait %d in generation %d", wait, mine)
			}
			for range rng.IntN(3) {
				runtime.Gosched()
			}
			if m.state.resume() {
				m.step("interrupted")
			}
			if p := m.state.phase(); p != reading || m.state.generation() != wait {
				m.bad("phase %d of generation %d after wait %d", p, m.state.generation(), wait)
			}
		case 4: // a wait for memory
			m.state.detach()
			m.step("pause")
			m.state.pause()
			for range rng.IntN(3) {
				runtime.Gosched()
			}
			if p := m.state.phase(); p != paused || m.state.generation() != mine {
				m.bad("phase %d of generation %d in a pause of %d", p, m.state.generation(), mine)
			}
			m.state.unpause()
		case 3: // a handler
			m.step("begin")
			m.disown() // from here on the reading may be stolen
			polled := m.state.registered()
			handler := m.state.begin()
			if rng.IntN(2) == 0 {
				m.state.escape(handler)
				m.state.escape(handler - 1) // another handler's: no effect
			}
			for range rng.IntN(4) {
				runtime.Gosched()
			}
			if !m.state.returned(handler) {
				m.step("stolen")
				if m.state.returned(handler) {
					m.bad("handler %d returned twice", handler)
				}
				return
			}
			m.own()
			if m.state.registered() != polled {
				m.bad("polled is %v after the handler, was %v", m.state.registered(), polled)
			}
			if _, asked := m.state.handler(); asked {
				m.bad("asked for its session, and runs no handler")
			}
		}
	}
}

func (m *stateModel) start(rng *rand.Rand) {
	m.wg.Add(1)
	go m.read(rand.New(rand.NewPCG(rng.Uint64(), 1)))
}

// take acts once as the poller, a close, the watchdog, a caller or the sweeper.
func (m *stateModel) take(rng *rand.Rand) {
	switch rng.IntN(5) {
	case 0:
		if m.state.unpark(onPoller) {
			m.step("unpark by the poller")
			m.start(rng)
		}
	case 1:
		if m.state.unpark(0) {
			m.step("unpark by a close")
			m.start(rng)
		}
	case 2:
		if handler, _ := m.state.handler(); handler != 0 && m.state.steal(handler) {
			m.step("steal")
			m.start(rng)
		}
	case 3:
		if handler, asked := m.state.handler(); asked && m.state.steal(handler) {
			m.step("steal by a caller")
			m.start(rng)
		}
	case 4:
		word := m.state.word.Load()
		runtime.Gosched()
		if m.state.interrupt(word) {
			m.step("interrupt")
		}
	}
}

// The reader of a connection makes random transitions, and other goroutines take the
// reading over at random moments: there is always exactly one reader, or none while
// the connection is parked.
func TestReaderStateModel(t *testing.T) {
	steps := map[string]int{}
	for range 20 {
		seed := rand.Uint64()
		m := &stateModel{steps: map[string]int{}}
		rng := rand.New(rand.NewPCG(seed, 0))
		m.start(rng)
		var takers sync.WaitGroup
		for i := range 3 {
			own := rand.New(rand.NewPCG(seed, uint64(i)+2))
			takers.Go(func() {
				for range 2000 {
					m.take(own)
					runtime.Gosched()
				}
			})
		}
		takers.Wait()
		m.ended.Store(true)
		m.wg.Wait()
		// The last one is a reader that has seen the end, or the connection is parked.
		switch p := m.state.phase(); p {
		case parked, reading:
		default:
			m.bad("the last phase is %d", p)
		}
		for _, w := range m.wrong {
			t.Errorf("seed %d: %s", seed, w)
		}
		for name, n := range m.steps {
			steps[name] += n
		}
		if t.Failed() {
			return
		}
	}
	for _, name := range []string{"park", "detach", "await", "begin", "pause", "stolen", "unpark by the poller", "unpark by a close", "steal", "steal by a caller"} {
		if steps[name] == 0 {
			t.Errorf("no walk had the step %q", name)
		}
	}
}

// Each transition, and those that must not happen.
func TestReaderStateTransitions(t *testing.T) {
	is := func(t *testing.T, r *readerState, phase uint64, registered bool) {
		t.Helper()
		if r.phase() != phase || r.registered() != registered {
			t.Errorf("phase %d, registered %v; want %d, %v", r.phase(), r.registered(), phase, registered)
		}
	}
	t.Run("a new connection is read by the goroutine that prepares it", func(t *testing.T) {
		var r readerState
		is(t, &r, reading, false)
		if r.unpark(0) || r.detach() || r.steal(0) || r.interrupt(0) {
			t.Error("another goroutine has taken the reading")
		}
	})
	t.Run("one goroutine unparks a parked connection", func(t *testing.T) {
		var r readerState
		r.park()
		is(t, &r, parked, true)
		if !r.unpark(onPoller) || r.unpark(0) || r.unpark(onPoller) {
			t.Error("want the first unpark to succeed, and no other")
		}
		is(t, &r, reading, true)
		if !r.detach() || r.detach() {
			t.Error("want it to detach once")
		}
		is(t, &r, reading, false)
	})
	t.Run("the reading is stolen once from a handler, which notices", func(t *testing.T) {
		for _, polled := range []bool{false, true} {
			var r readerState
			r.park()
			flag := uint64(0)
			if polled {
				flag = onPoller
			}
			r.unpark(flag)
			handler := r.begin()
			is(t, &r, handling, polled)
			if r.steal(handler-1) || r.steal(handler+1) || !r.steal(handler) || r.steal(handler) || r.returned(handler) {
				t.Error("want one thief")
			}
			is(t, &r, reading, polled)
			if r.generation() == handler {
				t.Error("the generation is still that of the handler")
			}
		}
	})
	t.Run("the reading cannot be stolen from a handler that has returned", func(t *testing.T) {
		var r readerState
		handler := r.begin()
		r.escape(handler)
		if now, asked := r.handler(); now != handler || !asked {
			t.Errorf("handler %d, asked %v; want %d, true", now, asked, handler)
		}
		if !r.returned(handler) || r.steal(handler) || r.returned(handler) {
			t.Error("want it to return once")
		}
		next := r.begin()
		r.escape(handler)
		if now, asked := r.handler(); now != next || asked {
			t.Errorf("handler %d, asked %v; want %d, false: another one has asked", now, asked, next)
		}
	})
	t.Run("interrupt ends only the wait that was seen", func(t *testing.T) {
		var r readerState
		r.await()
		seen := r.word.Load()
		if r.resume() {
			t.Error("the wait was not ended")
		}
		r.await()
		if r.interrupt(seen) {
			t.Error("the wait before was ended")
		}
		if seen = r.word.Load(); !r.interrupt(seen) || r.interrupt(seen) || !r.resume() {
			t.Error("want the wait to be ended once, and the reader to know")
		}
	})
}
