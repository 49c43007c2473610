package codectest

import "sync"

var mu sync.Mutex

func add(n *int, d int) int {
	mu.Lock()
	defer mu.Unlock()
	*n += d
	return *n
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
