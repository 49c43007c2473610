// Package inorder runs functions on values one at a time, in the order of the values.
package inorder

import "sync"

// Queues are queues of values by key. The values of one key run one after the other,
// those of different keys concurrently. The zero value is ready for use. All methods may
// be called concurrently. A queue has a goroutine while it is not empty, and no bound.
type Queues[K comparable, V any] struct {
	mu     sync.Mutex // guards the fields below
	queues map[K]*queue[V]
}

type queue[V any] struct {
	values  []V
	running bool
}

// Add calls run with v, on another goroutine, after the values that the key has already.
// If run calls runtime.Goexit, the next values still run.
func (q *Queues[K, V]) Add(key K, v V, run func(V)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.queues == nil {
		q.queues = make(map[K]*queue[V])
	}
	k := q.queues[key]
	if k == nil {
		k = new(queue[V])
		q.queues[key] = k
	}
	k.values = append(k.values, v)
	if !k.running {
		k.running = true
		go q.drain(k, run)
	}
}

// drain runs one value after the other until none is left.
func (q *Queues[K, V]) drain(k *queue[V], run func(V)) {
	empty := false
	defer func() {
		if !empty { // run has ended the goroutine
			go q.drain(k, run)
		}
	}()
	for {
		v, ok := q.next(k)
		if !ok {
			empty = true
			return
		}
		run(v)
	}
}

func (q *Queues[K, V]) next(k *queue[V]) (v V, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(k.values) == 0 {
		k.values, k.running = nil, false
		return v, false
	}
	v = k.values[0]
	clear(k.values[:1])
	k.values = k.values[1:]
	return v, true
}
