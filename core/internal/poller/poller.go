// Package poller waits for many connections at once, on one goroutine. A
// connection on which nothing arrives needs no goroutine of its own meanwhile,
// and what can be done at once when something arrives needs none either.
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
	// OnReadable is called on the poll loop when the connection can be read or has
	// come to its end, again and again as long as there is something left. No
	// other connection of the Poller is served until it returns, so it calls
	// loop.Detach before it blocks.
	OnReadable(loop *Loop)
}

// keepSlots is how many slots an empty Poller keeps.
const keepSlots = 256

// Poller serves connections of type *T. Its methods may be called concurrently. The
// zero value is ready; it has a goroutine from the first Register to Close.
type Poller[T any, C Conn[T]] struct {
	current atomic.Pointer[T] // see Current

	mu      sync.Mutex // guards the fields below
	epoll   *epoll
	failed  error // of making the epoll
	closed  bool
	slots   []slot[C]
	byFD    map[int32]uint32 // index of the slot of a descriptor
	free    []uint32         // indexes
	orphans []C              // to be served: somebody else has closed their descriptors
	serial  uint32           // of the last Key
	wg      sync.WaitGroup   // of the poll loop, whichever goroutine runs it

	_ [64]byte // Pollers lie side by side
}

// slot is one registration.
type slot[C any] struct {
	c   C
	raw syscall.RawConn
	key Key // zero: the slot is free
	fd  int32
}

// Key identifies a registration. The zero value is of none.
type Key uint64 // a serial number, and in the low half the index of a slot

// Loop is the poll loop while one goroutine runs it.
type Loop struct {
	detached atomic.Bool
	restart  func() // on a goroutine of its own
}

// Detach lets another goroutine run the poll loop: the one that did may block from
// now on. The connection being served has to be deregistered before, or it would be
// served by both. Only the first call counts. Detach may be called by any goroutine.
func (l *Loop) Detach() {
	if l.detached.CompareAndSwap(false, true) {
		l.restart()
	}
}

// Register serves c whenever raw can be read or has come to its end, perhaps before
// Register has returned, until Deregister. The key is stored before that. That raw
// was closed in this process is noticed within a few seconds only. The error is
// errors.ErrUnsupported where the system has no means.
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
	case used: // that descriptor has been closed, and its number is reused
		p.orphans = append(p.orphans, p.slots[i].c)
	case last >= 0:
		i, p.free = p.free[last], p.free[:last]
	default:
		i = uint32(len(p.slots))
		p.slots = append(p.slots, slot[C]{})
	}
	key := Key(p.serial)<<32 | Key(i)
	p.byFD[fd], p.slots[i] = i, slot[C]{c, raw, key, fd}
	return key
}

// Deregister ends a registration. A call of OnReadable may have begun already. A key
// that has ended is ignored.
func (p *Poller[T, C]) Deregister(key Key) {
	if s, ok := p.release(key); ok {
		s.raw.Control(func(uintptr) { p.epoll.remove(s.fd) }) // a closed descriptor has left the epoll by that
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

// slot returns what is registered with the key. Called with the lock.
func (p *Poller[T, C]) slot(key Key) (s slot[C], ok bool) {
	if i := uint32(key); key != 0 && int(i) < len(p.slots) {
		s = p.slots[i]
	}
	return s, key != 0 && s.key == key
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
	p.dispatchOrphans(loop) // what the loop before has left
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
		for i := range n {
			if loop.detached.Load() {
				return // the others are events of the next loop too
			}
			p.dispatch(events.key(i), loop)
		}
	}
}

// sweep serves those whose descriptors somebody else has closed: of that there is no
// event.
func (p *Poller[T, C]) sweep(loop *Loop) {
	p.mu.Lock()
	for i, s := range p.slots {
		if s.key != 0 && s.raw.Control(func(uintptr) {}) != nil {
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
	p.current.CompareAndSwap(c, nil) // not another's: the loop may be detached
}

// Close ends the goroutine. It calls no OnReadable.
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
