package outbox

import (
	"net"
	"os"
	"sync"
	"time"
)

// gate is a connection whose writes wait until the test passes them. It has deadlines,
// and records the bytes written and their memory.
type gate struct {
	net.Conn // nil: the other methods are not called

	mu       sync.Mutex
	cond     *sync.Cond
	timer    *time.Timer
	expired  bool
	let      int // bytes that may pass; negative: all
	err      error
	data     []byte
	at       map[*byte]bool
	sizes    []int
	deadline time.Time
	noLimit  bool                 // SetWriteDeadline fails
	write    func(b []byte) error // called before each write, unless nil
}

func newGate() *gate {
	c := &gate{at: map[*byte]bool{}}
	c.cond = sync.NewCond(&c.mu)
	return c
}

func (c *gate) LocalAddr() net.Addr  { return nil }
func (c *gate) RemoteAddr() net.Addr { return nil }
func (c *gate) open()                { c.pass(-1) }

// pass lets n bytes through, all if n is negative.
func (c *gate) pass(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.let >= 0 {
		c.let += n
	}
	if n < 0 {
		c.let = n
	}
	c.cond.Broadcast()
}

// fail ends all writes with err.
func (c *gate) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	c.cond.Broadcast()
}

func (c *gate) isExpired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.expired
}

func (c *gate) got() ([]byte, map[*byte]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.data, c.at
}

func (c *gate) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.noLimit {
		return os.ErrNoDeadline
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	c.deadline, c.expired = t, false
	if !t.IsZero() {
		c.timer = time.AfterFunc(time.Until(t), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.expired = true
			c.cond.Broadcast()
		})
	}
	return nil
}

func (c *gate) Write(b []byte) (n int, err error) {
	if c.write != nil {
		if err := c.write(b); err != nil {
			return 0, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at[&b[0]] = true
	c.sizes = append(c.sizes, len(b))
	for {
		k := len(b) - n
		if c.let >= 0 {
			k = min(k, c.let)
			c.let -= k
		}
		c.data = append(c.data, b[n:n+k]...)
		n += k
		switch {
		case c.err != nil:
			return n, c.err
		case n == len(b):
			return n, nil
		case c.expired:
			return n, os.ErrDeadlineExceeded
		}
		c.cond.Wait()
	}
}
