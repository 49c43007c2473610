package inbox

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// ErrMemory says that the messages of a peer need more memory than the limit, and that
// this Reader's is the largest of those that have arrived in part, or that no memory
// became free in time.
var ErrMemory = errors.New("inbox: messages that have arrived in part take too much memory")

// Memory bounds the bytes that messages take, over all Readers that share it: frames over
// 64 KiB while they arrive, and what Draw and Reserve count. When the limit is exceeded
// and frames that arrive take more than half of it, or they alone exceed theirs, the Readers with the largest accounts
// fail, one after the other, until it is not; their memory is free when their owners have
// closed them. Otherwise Readers wait. A Memory may be used concurrently.
type Memory struct {
	limit    int64
	arrivals int64       // limit of the frames that arrive; 0: none
	drawFunc func(int64) // Draw
	over     atomic.Bool // the limit is reached

	mu       sync.Mutex    // guards the fields below and the accounts
	used     int64         // bytes of the accounts that are not condemned
	drawn    int64         // bytes of Draw and Reserve
	accounts []*account    // the accounts with bytes
	room     chan struct{} // closed when bytes become free; nil: no goroutine waits for that
}

// NewMemory returns a Memory of limit bytes. With 0 or less it counts bytes, but does
// not limit them.
func NewMemory(limit int64) *Memory {
	m := &Memory{limit: limit}
	m.drawFunc = m.Draw
	return m
}

// DrawFunc returns Draw, as a function that is made once.
func (m *Memory) DrawFunc() func(n int64) { return m.drawFunc }

// LimitArrivals bounds the frames that arrive by n bytes. It must be called before the
// Memory is used.
func (m *Memory) LimitArrivals(n int64) { m.arrivals = n }

// Used returns the bytes in use, without those of Readers that have failed.
func (m *Memory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used + m.drawn
}

// Over reports whether the limit is reached.
func (m *Memory) Over() bool { return m.over.Load() }

// Draw counts n bytes more, or fewer if n is negative, whatever the limit is.
func (m *Memory) Draw(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drawn += n
	m.changed(n)
}

// Reserve counts n bytes more if that does not exceed the limit. If it returns false, it
// has not.
func (m *Memory) Reserve(n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.exceeds(n) {
		return false
	}
	m.drawn += n
	m.changed(n)
	return true
}

// Room returns a channel that is closed when bytes become free.
func (m *Memory) Room() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.room == nil {
		m.room = make(chan struct{})
	}
	return m.room
}

// exceeds reports whether n bytes more are over the limit. Called with mu, as changed.
func (m *Memory) exceeds(n int64) bool { return m.limit > 0 && m.used+m.drawn+n > m.limit }

// changed is called when there are n bytes more.
func (m *Memory) changed(n int64) {
	if over := m.limit > 0 && m.used+m.drawn >= m.limit; over != m.over.Load() {
		m.over.Store(over)
	}
	if n < 0 && m.room != nil {
		close(m.room)
		m.room = nil
	}
}

// account holds the bytes that one Reader uses of a Memory.
type account struct {
	memory   *Memory // nil: not counted
	exceed   func(error)
	await    func(blocked func() bool) bool // see Config.AwaitMemory
	cause    atomic.Pointer[error]          // why it is condemned; set once, by any goroutine
	reserved int64                          // bytes of Reserve; the Reader's alone

	bytes int64 // this and index are guarded by memory.mu
	index int   // in memory.accounts
}

// condemned returns why the Reader must fail, nil if it need not.
func (a *account) condemned() error {
	if p := a.cause.Load(); p != nil {
		return *p
	}
	return nil
}

// set makes the account hold n bytes, and waits for room if others do not hold frames
// that arrive. It fails if the Reader is, or becomes, condemned.
func (a *account) set(n int) error {
	m := a.memory
	if m == nil {
		return nil
	}
	if a.wouldWait(int64(n)) && (a.await == nil || !a.await(func() bool { return a.wouldWait(int64(n)) })) {
		if err := a.condemned(); err != nil {
			return err
		}
		return m.noRoom(int64(n))
	}
	condemned := m.set(a, int64(n))
	for _, o := range condemned {
		if o.exceed != nil {
			o.exceed(o.condemned())
		}
	}
	if n == 0 {
		return nil
	}
	return a.condemned()
}

// wouldWait reports whether an account of n bytes has to wait for messages that have
// arrived already.
func (a *account) wouldWait(n int64) bool {
	m := a.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	more := n - a.bytes
	return more > 0 && m.drawn > 0 && m.exceeds(more) && m.used+more <= m.limit/2 && a.condemned() == nil
}

// reserve makes the Reader's reservation n bytes, and waits for room. Meanwhile it has
// none: what was reserved before must not be needed any more.
func (a *account) reserve(n int64) error {
	m := a.memory
	switch {
	case m == nil:
		return nil
	case n <= a.reserved:
		m.Draw(n - a.reserved)
		a.reserved = n
		return nil
	}
	if m.limit > 0 && n > m.limit {
		return fmt.Errorf("%w: a message needs at least %d bytes, the limit is %d", ErrMemory, n, m.limit)
	}
	if m.Reserve(n - a.reserved) {
		a.reserved = n
		return nil
	}
	m.Draw(-a.reserved) // else all Readers may hold a part, and wait for the rest
	a.reserved = 0
	done := false
	if a.await == nil || !a.await(func() bool { done = done || m.Reserve(n); return !done }) && !done {
		return m.noRoom(n)
	}
	a.reserved = n
	return nil
}

func (m *Memory) noRoom(n int64) error {
	return fmt.Errorf("%w: %d bytes of %d are used, and a message of at least %d had to wait for too long", ErrMemory, m.Used(), m.limit, n)
}

// set sets the bytes of a, and condemns and returns the accounts that must fail.
func (m *Memory) set(a *account, n int64) (condemned []*account) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a.condemned() != nil {
		return nil
	}
	before := m.used
	defer func() { m.changed(m.used - before) }()
	switch {
	case a.bytes == 0 && n > 0:
		a.index = len(m.accounts)
		m.accounts = append(m.accounts, a)
	case a.bytes > 0 && n == 0:
		m.remove(a)
	}
	m.used += n - a.bytes
	a.bytes = n
	for m.exceeds(0) && m.used > m.limit/2 || m.arrivals > 0 && m.used > m.arrivals {
		o := m.largest(a)
		err := fmt.Errorf("%w: %d bytes, over the limit of %d; this message has %d of them", ErrMemory, m.used, m.limit, o.bytes)
		o.cause.Store(&err)
		m.used -= o.bytes
		m.remove(o)
		condemned = append(condemned, o)
	}
	return condemned
}

// largest returns the largest account; among equal ones the one that grows.
func (m *Memory) largest(grows *account) *account {
	var o *account
	for _, a := range m.accounts {
		if o == nil || a.bytes > o.bytes || a.bytes == o.bytes && a == grows {
			o = a
		}
	}
	return o
}

func (m *Memory) remove(a *account) {
	last := len(m.accounts) - 1
	m.accounts[a.index] = m.accounts[last]
	m.accounts[a.index].index = a.index
	m.accounts[last] = nil
	m.accounts = m.accounts[:last]
}
