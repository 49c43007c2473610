package thriftproto

import (
	"sync"
	"sync/atomic"
)

// A connection remembers at most this many calls and bytes of names.
const (
	maxCalls = 1 << 14
	maxNames = 1 << 20
)

// calls are the names of the calls that were read and not answered: a client made by
// Thrift's own library expects the name in the reply, and the reply of a handler has
// none. It holds only calls of such clients.
type calls struct {
	any atomic.Bool // there ever was one; saves the lock if there was none

	mu    sync.Mutex // guards what follows
	names map[int32]string
	bytes int // of the names
}

// add remembers a call, unless there are too many.
func (c *calls) add(seq int32, name string) {
	c.any.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(seq)
	if len(c.names) >= maxCalls || c.bytes+len(name) > maxNames {
		return
	}
	if c.names == nil {
		c.names = make(map[int32]string)
	}
	c.names[seq] = name
	c.bytes += len(name)
}

// name returns the name of a call; ok is false if it is not remembered.
func (c *calls) name(seq int32) (name string, ok bool) {
	if !c.any.Load() {
		return "", false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	name, ok = c.names[seq]
	return name, ok
}

// done forgets a call.
func (c *calls) done(seq int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(seq)
}

func (c *calls) drop(seq int32) {
	if name, ok := c.names[seq]; ok {
		delete(c.names, seq)
		c.bytes -= len(name)
	}
}
