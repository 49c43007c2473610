package metrics

import (
	"reflect"
	"sync"
	"time"
)

// flight is a call under way.
type flight struct {
	series *series
	start  int64 // on the clock of Metrics
}

// flights finds calls by the address of their message, which is unique until they
// have ended. It holds no pointer to a message, so it keeps none alive, and a call
// needs no memory of its own.
type flights struct {
	shards [64]struct {
		mu sync.Mutex
		m  map[uintptr]flight
		_  [48]byte // no two locks on one cache line
	}
}

// address identifies a value among those that exist at the same time.
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
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = make(map[uintptr]flight)
	}
	s.m[key] = begun
}

// take removes the call at an address; false if there is none.
func (f *flights) take(key uintptr) (flight, bool) {
	s := &f.shards[shard(key)]
	s.mu.Lock()
	defer s.mu.Unlock()
	got, ok := s.m[key]
	if ok {
		delete(s.m, key)
	}
	return got, ok
}

// running counts the calls under way, by series.
func (f *flights) running() map[*series]int {
	n := make(map[*series]int)
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		for _, begun := range s.m {
			n[begun.series]++
		}
		s.mu.Unlock()
	}
	return n
}

// shard is the top six bits of a hash: addresses differ in their middle.
func shard(key uintptr) int { return int(uint64(key) * 0x9E3779B97F4A7C15 >> 58) }

func (m *Metrics) now() int64 { return int64(time.Since(m.base)) }
