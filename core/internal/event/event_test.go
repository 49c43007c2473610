package event

import (
	"sync"
	"testing"
)

func over(e *Event) bool {
	select {
	case <-e.Done():
		return true
	default:
		return false
	}
}

func TestEvent(t *testing.T) {
	var before, after Event
	waits := before.Done()
	if over(&before) {
		t.Error("it has happened already")
	}
	for range 2 {
		before.Fire()
		after.Fire()
		if !over(&before) || !over(&after) {
			t.Error("it has not happened")
		}
	}
	<-waits
}

// Each wait ends, in whatever order Done and Fire run.
func TestEventConcurrently(t *testing.T) {
	for range 1000 {
		var e Event
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { <-e.Done() })
		}
		wg.Go(e.Fire)
		wg.Go(e.Fire)
		wg.Wait()
	}
}
