package inbox

import (
	"math"
	"runtime"
	"runtime/metrics"
)

// What is given back is not free before the garbage collector has run, and that may be
// late: by then the process has taken as much again, or several times as much where the
// pieces are few and large. So what is given back counts until then, once it is a fourth of
// the limit: when somebody needs the room, the collector runs. It does not if most of it has
// served again meanwhile (bufpool), so that it is no garbage.

// largeHeap is how many times the limit the heap of a process is in which garbage does not
// count: the collector leaves as much again as that heap, and to run it is work.
const largeHeap = 4

// Over reports whether the limit is reached.
func (m *Memory) Over() bool {
	if m.over.Load() {
		m.collect(0)
	}
	return m.over.Load()
}

// collect runs the garbage collector if there would be room for n bytes more but for
// garbage. It must not be called with a lock.
func (m *Memory) collect(n int64) {
	if !m.needsCollection(n) {
		return
	}
	m.collecting.Lock()
	defer m.collecting.Unlock()
	if !m.needsCollection(n) {
		return // another goroutine has done it
	}
	m.mu.Lock()
	counted, garbage := m.used+m.drawn, m.garbage
	m.mu.Unlock()
	if live, all := heap(); live <= largeHeap*m.limit && all-counted >= m.limit/wasteShare {
		runtime.GC()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.garbage -= garbage
	m.changed(-garbage)
}

func (m *Memory) needsCollection(n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wasted() > 0 && m.exceeds(n)
}

// heap returns how many bytes of the heap the garbage collector has kept last, and how many
// there are now, garbage included.
func heap() (live, all int64) {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(samples)
	for _, s := range samples {
		if s.Value.Kind() != metrics.KindUint64 {
			return 0, math.MaxInt64 // a runtime that does not say it
		}
	}
	return int64(samples[0].Value.Uint64()), int64(samples[1].Value.Uint64())
}
