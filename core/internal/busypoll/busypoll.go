// Package busypoll bounds how many goroutines of the process poll at a time: at most half
// as many as there are processors, so none if there is only one.
package busypoll

import (
	"runtime"
	"sync/atomic"
)

var polling atomic.Int32

// Begin reports whether the caller may poll. If so, the caller calls End when it is done.
func Begin() bool {
	if int(polling.Add(1)) <= runtime.GOMAXPROCS(0)/2 {
		return true
	}
	polling.Add(-1)
	return false
}

// End ends what Begin has begun.
func End() { polling.Add(-1) }

// Count returns how many goroutines poll.
func Count() int { return int(polling.Load()) }
