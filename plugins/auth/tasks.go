package auth

import (
	"context"
	"fmt"
	"sync"

	tp "github.com/teleport-go/teleport/core"
)

// tasks counts the goroutines of a plugin, by peer, so that a peer that closes can wait
// for its own.
type tasks struct {
	mu sync.Mutex
	of map[tp.Peer]*task
}

type task struct {
	running int
	idle    chan struct{} // closed when none runs
}

func (t *tasks) begin(p tp.Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		t.of = make(map[tp.Peer]*task)
	}
	if t.of[p] == nil {
		t.of[p] = &task{idle: make(chan struct{})}
	}
	t.of[p].running++
}

func (t *tasks) end(p tp.Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.of[p]
	if k.running--; k.running == 0 {
		delete(t.of, p)
		close(k.idle)
	}
}

// wait waits until none of the peer's runs, or ctx ends.
func (t *tasks) wait(ctx context.Context, p tp.Peer, what string) error {
	t.mu.Lock()
	k := t.of[p]
	t.mu.Unlock()
	if k == nil {
		return nil
	}
	select {
	case <-k.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("auth: %s has not returned: %w", what, context.Cause(ctx))
	}
}
