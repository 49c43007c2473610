package metrics

import (
	"reflect"
	"sync"
	"time"
)

// flight is a call under way. It holds numbers only, so one that is forgotten
// here keeps nothing alive.
type flight struct {
	series *series
	start  int64   // on the clock of Metrics
	until  int64   // when it is over for certain; 0: unknown
	sess   uintptr // the address of its session
	seq    int32   // of an incoming one
	lost   bool    // counted as None already
}

// flights finds calls by the address of their message. That is unique as long as
// the message is used; a call found at the address of another one has ended
// without a hook that says so.
type flights struct {
	shards [64]struct {
		mu sync.Mutex
		m  map[uintptr]flight
		_  [48]byte // no two locks on one cache line
	}
}

// grace is how long after its time a call is still waited for.
const grace = int64(time.Second)

// maxGone is how many sessions may end until calls are settled without a scrape.
const maxGone = 4096

// ending is the end of a session, or of its connection.
type ending struct {
	at     int64
	redial bool
}

// address tells one thing from others that live at the same time.
func address(pointer any) uintptr {
	v := reflect.ValueOf(pointer)
	if v.Kind() != reflect.Pointer {
		return 0
	}
	return v.Pointer()
}

func (f *flights) put(key uintptr, begun flight) {
	s := &f.shards[shard(key)]
	s.mu.Lock()
	old, stale := s.m[key]
	if s.m == nil {
		s.m = make(map[uintptr]flight)
	}
	s.m[key] = begun
	s.mu.Unlock()
	if stale {
		old.lose()
	}
}

// take removes the call at an address, if it is this one.
func (f *flights) take(key, sess uintptr, seq int32) (flight, bool) {
	s := &f.shards[shard(key)]
	s.mu.Lock()
	got, ok := s.m[key]
	if ok {
		delete(s.m, key)
	}
	s.mu.Unlock()
	if ok && (got.sess != sess || got.seq != seq) {
		got.lose()
		return flight{}, false
	}
	return got, ok
}

// shard is the top six bits of a hash: addresses differ in their middle.
func shard(key uintptr) int { return int(uint64(key) * 0x9E3779B97F4A7C15 >> 58) }

func (f *flight) lose() {
	if !f.lost {
		f.lost = true
		f.series.call(codeNone)
	}
}

// settle counts the calls that have ended without a hook that says so, as far as
// that can be known, and returns how many of each series are being handled.
func (m *Metrics) settle() (running map[*series]int) {
	m.settling.Lock() // who comes second would take the calls of gone for running ones
	defer m.settling.Unlock()
	m.mu.Lock()
	gone := m.gone
	m.gone = make(map[uintptr]ending)
	m.mu.Unlock()
	now := m.now()
	running = make(map[*series]int)
	for i := range m.flights.shards {
		s := &m.flights.shards[i]
		s.mu.Lock()
		for key, f := range s.m {
			in := f.series.direction == directionIn
			end, ended := gone[f.sess]
			ended = ended && f.start <= end.at && (in || !end.redial) // the calls made here may wait for the redial
			late := f.until != 0 && now > f.until+grace
			switch {
			case ended || late && !in:
				f.lose()
				delete(s.m, key)
			case late && !f.lost: // its reply may wait for its turn
				f.lose()
				s.m[key] = f
			case in && !f.lost:
				running[f.series]++
			}
		}
		s.mu.Unlock()
	}
	return running
}

// end notes that the calls of a session are over: the incoming ones, and the
// others unless it redials.
func (m *Metrics) end(sess any, redial bool) {
	at, now := address(sess), m.now()
	m.mu.Lock()
	m.gone[at] = ending{now, redial}
	full := len(m.gone) > maxGone
	m.mu.Unlock()
	if full {
		m.settle()
	}
}

func (m *Metrics) now() int64 { return int64(time.Since(m.base)) }
