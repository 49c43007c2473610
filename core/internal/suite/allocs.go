package suite

import "testing"

// Allocs returns the least number of allocations of a call of f, or want if that is
// more. It measures single calls, up to 200: the runtime and other goroutines allocate
// meanwhile, a garbage collection empties each sync.Pool, and the race detector drops
// values from them at random.
func Allocs(want float64, f func()) float64 {
	least := testing.AllocsPerRun(1, f)
	for range 200 {
		if least <= want {
			return want
		}
		least = min(least, testing.AllocsPerRun(1, f))
	}
	return least
}
