package suite

import "testing"

// Allocs returns the least number of allocations of a call of f, or want if that is
// more. It measures single calls, up to 5000: the runtime and other goroutines allocate
// meanwhile, a garbage collection empties each sync.Pool, and the race detector drops a
// quarter of the values put into one: a call that pools twenty values allocates in all
// but one of 300.
func Allocs(want float64, f func()) float64 {
	least := testing.AllocsPerRun(1, f)
	for range 5000 {
		if least <= want {
			return want
		}
		least = min(least, testing.AllocsPerRun(1, f))
	}
	return least
}
