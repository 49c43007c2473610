// Package lot waits for many connections at once, on one goroutine: whoever has
// nothing to do until its connection can be read needs none of its own meanwhile.
package lot

import (
	"errors"
	"sync"
	"syscall"
)

// ErrClosed says that nothing can be parked any more.
var ErrClosed = errors.New("lot: closed")

// Waiter is who is told, once, that its connection can be read. It is called on
// the lot's goroutine and must not block.
type Waiter interface {
	comparable
	Readable()
}

// Lot holds waiters. Its methods may be called concurrently. The zero value is
// ready; it has a goroutine from the first Park to Close.
type Lot[W Waiter] struct {
	mu      sync.Mutex // guards what follows
	poller  *poller
	failed  error // of making the poller
	closed  bool
	waiting map[int32]W
	wg      sync.WaitGroup
}

// Park waits until c can be read or has come to its end, and then calls
// w.Readable, perhaps before Park has returned. fd tells Forget which it was. An
// error says that nothing is waited for; it is errors.ErrUnsupported where the
// system has no means.
func (l *Lot[W]) Park(c syscall.RawConn, w W) (fd int32, err error) {
	l.mu.Lock()
	if err = l.open(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	p := l.poller
	l.mu.Unlock()
	// The descriptor cannot be closed, and its number be another's, inside.
	failed := c.Control(func(n uintptr) {
		fd = int32(n)
		l.mu.Lock()
		l.waiting[fd] = w
		l.mu.Unlock()
		if err = p.arm(fd); err != nil {
			l.Forget(fd, w)
		}
	})
	if failed != nil {
		err = failed
	}
	return fd, err
}

// Forget lets go of a waiter that is not to be told any more. It may be told all
// the same, if that has begun.
func (l *Lot[W]) Forget(fd int32, w W) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting[fd] == w {
		delete(l.waiting, fd)
	}
}

// open makes the poller at the first use. Called with the lock.
func (l *Lot[W]) open() error {
	if l.closed {
		return ErrClosed
	}
	if l.poller != nil || l.failed != nil {
		return l.failed
	}
	p, err := newPoller()
	if err != nil {
		l.failed = err
		return err
	}
	l.poller, l.waiting = p, make(map[int32]W)
	l.wg.Go(func() { p.run(l.ready) })
	return nil
}

// ready tells the waiter of a descriptor.
func (l *Lot[W]) ready(fd int32) {
	l.mu.Lock()
	w, ok := l.waiting[fd]
	delete(l.waiting, fd)
	l.mu.Unlock()
	if ok {
		w.Readable()
	}
}

// Close ends the goroutine; who is parked is not told.
func (l *Lot[W]) Close() {
	l.mu.Lock()
	l.closed = true
	p := l.poller
	l.mu.Unlock()
	if p != nil {
		p.close()
		l.wg.Wait()
	}
}
