package tp

import "runtime"

// This file starts the goroutines that clean up after connections.

// add lets another goroutine clean up after a connection whose reading has ended with err.
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
		for _, e := range list {
			go e.cleanUp(e.l, e.err)
			runtime.Gosched()
		}
	}
}
