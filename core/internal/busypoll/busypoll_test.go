package busypoll

import (
	"runtime"
	"testing"
)

func TestHalfOfTheProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, test := range []struct{ procs, want int }{{1, 0}, {2, 1}, {3, 1}, {4, 2}} {
		runtime.GOMAXPROCS(test.procs)
		got := 0
		for Begin() {
			got++
		}
		if got != test.want || Count() != test.want {
			t.Errorf("%d processors: %d poll, counted %d; want %d", test.procs, got, Count(), test.want)
		}
		for range got {
			End()
		}
	}
}
