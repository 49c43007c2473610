package tp

import (
	"runtime"
	"time"
)

// This file starts the goroutines that clean up after connections.

const (
	// endsInARow is how many connections are cleaned up after in a row.
	endsInARow = 8
	// endPause is the pause then: a processor with nothing to do looks at the network.
	endPause = 20 * time.Microsecond
)

// add lets another goroutine clean up after a connection whose reading has ended with
// err; or, with nil, read it to its end before.
func (q *endQueue) add(cleanUp func(*link, error), l *link, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, endedLink{cleanUp, l, err})
	if !q.running {
		q.running = true
		go q.run()
	}
}

func (q *endQueue) run() {
	for {
		q.mu.Lock()
		list := q.list
		q.list = nil
		q.running = len(list) > 0
		q.mu.Unlock()
		if len(list) == 0 {
			return
		}
		for i, e := range list {
			go e.cleanUp(e.l, e.err)
			switch {
			case i == len(list)-1: // so that nothing is left when the last session has ended
			case i%endsInARow == endsInARow-1:
				time.Sleep(endPause)
			default:
				runtime.Gosched()
			}
		}
	}
}
