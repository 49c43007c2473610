package resume

import (
	"sync"
	"syscall"
)

// This file holds how a stream is read when that is not for a goroutine that calls Read.

// inboundMax is how many bytes that nobody has read pump collects, unless a Write waits.
const inboundMax = 64 << 10

// pump reads a connection that cannot be read without a wait, until the stream has another
// one.
func (c *Conn) pump(k *carrier) {
	small := make([]byte, 2<<10)
	b := small
	for {
		n, err := k.conn.Read(b)
		c.awaitSettled()
		c.rmu.Lock()
		if c.cur.Load() != k {
			c.rmu.Unlock()
			return
		}
		if n > 0 {
			_, bad := c.take(b[:n], true)
			if bad != nil {
				c.rmu.Unlock()
				return
			}
		}
		c.rmu.Unlock()
		if err != nil {
			c.lose(k, err)
			return
		}
		c.awaitTaken(k)
		b = fit(b, small, n)
	}
}

// largeBuffers are those of pumps that read much.
var largeBuffers = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

// fit returns the buffer for the next read of a pump, which has read n bytes into b: an idle
// stream keeps a small one.
func fit(b, small []byte, n int) []byte {
	switch isSmall := len(b) == len(small); {
	case isSmall && n == len(b):
		return *largeBuffers.Get().(*[]byte)
	case !isSmall && n < len(small):
		largeBuffers.Put(&b)
		return small
	}
	return b
}

// awaitTaken waits until there is room for what arrives.
func (c *Conn) awaitTaken(k *carrier) {
	defer c.stuffed.Store(false)
	for {
		c.rmu.Lock()
		have := len(c.inbound) - c.off
		c.rmu.Unlock()
		limit := inboundMax
		if c.starved.Load() {
			limit = c.o.Buffer
		}
		if have < limit || isClosed(c.closing) || c.cur.Load() != k {
			return
		}
		c.stuffed.Store(true)
		select {
		case <-c.taken:
		case <-c.closing:
		case <-c.over:
		}
	}
}

// help is called by a Write that waits for room: it reads acknowledgements, unless others
// read.
func (c *Conn) help() {
	signal(c.taken)
	if !c.reading.TryLock() {
		return
	}
	defer c.reading.Unlock()
	if k := c.cur.Load(); k != nil && k.raw != nil {
		c.pull(k, make([]byte, 4<<10))
	}
}

// pull reads what has arrived, without a wait, and collects it.
func (c *Conn) pull(k *carrier, b []byte) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	for c.cur.Load() == k && c.frozen == nil && len(c.inbound)-c.off < c.o.Buffer {
		n, err := k.raw.read(b)
		switch {
		case err == errAgain:
			return
		case err != nil:
			c.lose(k, err)
			return
		}
		if n, err = c.take(b[:n], true); err != nil {
			return
		}
		if n > 0 {
			c.mu.Lock()
			c.roam()
			c.mu.Unlock()
		}
	}
}

// onlyAcks reports whether acknowledgements are all that is still of use, since the other
// side's direction has ended or this side has closed the stream. No Read looks for those:
// the goroutine readAcks does.
func (c *Conn) onlyAcks() bool { return c.peerEnd.Load() || isClosed(c.closing) }

// readAcks reads until the stream has ended.
func (c *Conn) readAcks() {
	c.awaitReads()
	b := make([]byte, 4<<10)
	for !isClosed(c.over) {
		k := c.cur.Load()
		if k == nil || k.raw == nil { // or it is read by pump
			select {
			case <-c.attached:
			case <-c.over:
			}
			continue
		}
		c.awaitSettled()
		k.conn.SetReadDeadline(noDeadline)
		failed := k.raw.waitRead(func(uintptr) bool {
			c.pull(k, b)
			return c.cur.Load() != k || c.isFrozen()
		})
		if failed != nil {
			c.lose(k, failed)
		}
	}
}

// awaitReads waits until a Read that waits has ended.
func (c *Conn) awaitReads() {
	c.reading.Lock()
	defer c.reading.Unlock()
}

// Descriptor returns what a poller can wait with, for the engine; nil while only Read and
// TryRead can tell what has arrived.
func (c *Conn) Descriptor() syscall.RawConn {
	k := c.cur.Load()
	if k == nil || k.raw == nil || c.stocked.Load() || c.onlyAcks() {
		return nil
	}
	return k.raw.descriptor()
}

// Watch returns the Descriptor, and sets a function that is called when that is another
// value, for the engine.
func (c *Conn) Watch(roamed func()) syscall.RawConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roamed, c.watched = roamed, c.cur.Load()
	return c.Descriptor()
}

// Roamed reports whether Descriptor has changed since the last Watch.
func (c *Conn) Roamed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watched == nil || c.watched != c.cur.Load() || c.Descriptor() == nil
}

// Drained reports whether the last TryRead left nothing behind, most likely.
func (c *Conn) Drained() bool { return c.drained.Load() }

// roam calls the function of Watch. The caller holds c.mu.
func (c *Conn) roam() {
	if c.roamed != nil {
		c.roamed()
	}
}
