// Package poller waits for many connections at once, on one goroutine. An idle
// connection needs no goroutine of its own, and work that can be done at once when
// bytes arrive needs none either.
package poller

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
)

// ErrClosed is the error of Register after Close.
var ErrClosed = errors.New("poller: closed")

// Conn is a *T that a Poller serves.
type Conn[T any] interface {
	*T
	// OnReadable is called on the poll loop when bytes, or the end of the connection,
	// can be read, again and again as long as some are left. No other connection of
	// the Poller is served until it returns, so it must call loop.Detach before it
	// blocks.
	OnReadable(loop *Loop)
	// OnHangUp is called in its place when the other sides of many connections have hung
	// up at once, bytes or not: it leaves reading to another goroutine, and ends the
	// registration.
	OnHangUp()
}

// keepSlots is how many slots an empty Poller keeps.
const keepSlots = 256

// Poller serves connections of type *T. All methods may be called concurrently. The
// zero value is ready for use; it has a goroutine from the first Register to Close.
type Poller[T any, C Conn[T]] struct {
	current atomic.Pointer[T] // see Current

	mu      sync.Mutex // guards the fields below
	epoll   *epoll
	failed  error // why there can be no epoll
	closed  bool
	slots   []slot[C]
	byFD    map[int32]uint32 // index of the slot of a descriptor
	free    []uint32         // indexes
	orphans []C              // connections to serve once, since their descriptors were closed
	serial  uint32           // of the last Key
	wg      sync.WaitGroup   // of the poll loop, whichever goroutine runs it

	_ [64]byte // Pollers in an array share no cache line
}

// slot is one registration.
type slot[C any] struct {
	c      C
	raw    syscall.RawConn
	serial uint32 // of its Key; 0: the slot is free
	fd     int32
}

// Key identifies a registration. The zero value identifies none.
type Key uint64 // a serial number, and in the low half the index of a slot

// Loop is the poll loop while one goroutine runs it.
type Loop struct {
	// Local is what a Conn leaves there for the next one. Only the goroutine of the Loop
	// uses it.
	Local any

	detached atomic.Bool
	restart  func() // starts another goroutine that runs the poll loop
}

// Detached reports whether Detach was called.
func (l *Loop) Detached() bool { return l.detached.Load() }

// Detach lets another goroutine run the poll loop: the goroutine of l may block from
// now on. The connection that it serves must be deregistered before, or both would
// serve it. Only the first call counts. Any goroutine may call Detach.
func (l *Loop) Detach() {
	if l.detached.CompareAndSwap(false, true) {
		l.restart()
	}
}

// Register makes the Poller serve c whenever bytes, or the end of the connection, can
// be read from raw, until Deregister. c may be served before Register returns; store is
// called with the key before that. If raw is closed in this process, c is served within
// a few seconds. The error is errors.ErrUnsupported on systems without a poller.
func (p *Poller[T, C]) Register(raw syscall.RawConn, c C, store func(Key)) (err error) {
	p.mu.Lock()
	if err = p.open(); err != nil {
		p.mu.Unlock()
		return err
	}
	epoll := p.epoll
	p.mu.Unlock()
	// While Control runs the descriptor cannot be closed, and its number reused.
	failed := raw.Control(func(n uintptr) {
		key := p.take(raw, int32(n), c)
		store(key)
		if err = epoll.add(key, int32(n)); err != nil {
			p.release(key)
		}
	})
	if failed != nil {
		err = failed
	}
	return err
}

// take fills a slot.
func (p *Poller[T, C]) take(raw syscall.RawConn, fd int32, c C) Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.serial++; p.serial == 0 {
		p.serial = 1
	}
	i, used := p.byFD[fd]
	switch last := len(p.free) - 1; {
	case used: // the old descriptor has been closed, and its number is used again
		p.orphans = append(p.orphans, p.slots[i].c)
	case last >= 0:
		i, p.free = p.free[last], p.free[:last]
	default:
		i = uint32(len(p.slots))
		p.slots = append(p.slots, slot[C]{})
	}
	key := Key(p.serial)<<32 | Key(i)
	p.byFD[fd], p.slots[i] = i, slot[C]{c, raw, p.serial, fd}
	return key
}

// Deregister ends a registration. A call of OnReadable may have begun before. A key
// whose registration has ended is ignored.
func (p *Poller[T, C]) Deregister(key Key) {
	if s, ok := p.release(key); ok {
		s.raw.Control(func(uintptr) { p.epoll.remove(s.fd) }) // Control fails for a closed descriptor, which has left the epoll
	}
}

// Current returns the connection that the poll loop is serving, nil if none.
func (p *Poller[T, C]) Current() C { return p.current.Load() }

func (p *Poller[T, C]) release(key Key) (s slot[C], ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok = p.slot(key); ok {
		p.clear(uint32(key))
	}
	return s, ok
}

// slot returns the registration of the key. Called with the lock.
func (p *Poller[T, C]) slot(key Key) (s slot[C], ok bool) {
	if i := uint32(key); key != 0 && int(i) < len(p.slots) {
		s = p.slots[i]
	}
	return s, key != 0 && s.serial == uint32(key>>32)
}

// clear frees a slot. Called with the lock.
func (p *Poller[T, C]) clear(i uint32) {
	delete(p.byFD, p.slots[i].fd)
	p.slots[i] = slot[C]{}
	p.free = append(p.free, i)
	if len(p.byFD) == 0 && len(p.slots) > keepSlots {
		p.byFD, p.slots, p.free = make(map[int32]uint32), nil, nil
	}
}

// open makes the epoll at the first use. Called with the lock.
func (p *Poller[T, C]) open() error {
	if p.closed {
		return ErrClosed
	}
	if p.epoll != nil || p.failed != nil {
		return p.failed
	}
	e, err := newEpoll()
	if err != nil {
		if errors.Is(err, errors.ErrUnsupported) {
			p.failed = err // for ever
		}
		return err
	}
	p.epoll, p.byFD = e, make(map[int32]uint32)
	p.wg.Add(1)
	go p.loop()
	return nil
}

// loop is the poll loop, until it is detached or the Poller is closed.
func (p *Poller[T, C]) loop() {
	loop := &Loop{restart: func() {
		p.current.Store(nil)
		go p.loop()
	}}
	closed := false
	defer func() {
		switch {
		case loop.detached.Load():
		case closed:
			p.wg.Done()
		default:
			loop.Detach() // OnReadable has ended the goroutine
		}
	}()
	p.dispatchOrphans(loop) // those that the last loop has left
	var events events
	for !loop.detached.Load() {
		n, err := p.epoll.wait(&events)
		switch {
		case err == errSweep:
			p.sweep(loop)
		case err != nil:
			closed = true
			return
		}
		crowd := events.hangUps(n) > fewHangUps
		for i := range n {
			if loop.detached.Load() {
				return // the next loop gets the other events again
			}
			if crowd && events.hungUp(i) {
				p.hangUp(events.key(i))
				continue
			}
			p.dispatch(events.key(i), loop)
		}
	}
}

// sweep serves the connections whose descriptors were closed, since epoll reports no
// event for that.
func (p *Poller[T, C]) sweep(loop *Loop) {
	p.mu.Lock()
	for i, s := range p.slots {
		if s.serial != 0 && s.raw.Control(func(uintptr) {}) != nil {
			p.clear(uint32(i))
			p.orphans = append(p.orphans, s.c)
		}
	}
	p.mu.Unlock()
	p.dispatchOrphans(loop)
}

func (p *Poller[T, C]) dispatchOrphans(loop *Loop) {
	for !loop.detached.Load() {
		p.mu.Lock()
		n := len(p.orphans) - 1
		if n < 0 {
			p.orphans = nil
			p.mu.Unlock()
			return
		}
		c := p.orphans[n]
		p.orphans = p.orphans[:n]
		p.mu.Unlock()
		p.serve(c, loop)
	}
}

// fewHangUps is how many connections that are served at once may end on the poll loop.
const fewHangUps = 8

// hangUps returns how many of the first n events say that the other side has hung up.
func (e *events) hangUps(n int) (sum int) {
	for i := range n {
		if e.hungUp(i) {
			sum++
		}
	}
	return sum
}

func (p *Poller[T, C]) hangUp(key Key) {
	p.mu.Lock()
	s, ok := p.slot(key)
	p.mu.Unlock()
	if ok {
		s.c.OnHangUp()
	}
}

func (p *Poller[T, C]) dispatch(key Key, loop *Loop) {
	p.mu.Lock()
	s, ok := p.slot(key)
	p.mu.Unlock()
	if ok {
		p.serve(s.c, loop)
	}
}

func (p *Poller[T, C]) serve(c C, loop *Loop) {
	p.current.Store(c)
	c.OnReadable(loop)
	p.current.CompareAndSwap(c, nil) // if the loop was detached, current belongs to another loop
}

// Close ends the goroutine, and waits for that. It calls no OnReadable.
func (p *Poller[T, C]) Close() {
	p.mu.Lock()
	p.closed = true
	e := p.epoll
	p.mu.Unlock()
	if e != nil {
		e.close()
		p.wg.Wait()
	}
}
