package inbox

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// ErrMemory says that the frames of a peer that have arrived in part need more memory
// than the limit, and that this Reader's frame is the largest of them.
var ErrMemory = errors.New("inbox: messages that have arrived in part take too much memory")

// Memory bounds the bytes that frames over 64 KiB use while they arrive, over all
// Readers that share it. When the limit is exceeded, the Readers with the largest
// accounts fail, one after the other, until it is not; their memory is free when their
// owners have closed them. A Memory may be used concurrently.
type Memory struct {
	limit int64

	mu       sync.Mutex // guards the fields below and the accounts
	used     int64      // bytes of the accounts that are not condemned
	accounts []*account // the accounts with bytes
}

// NewMemory returns a Memory of limit bytes. With 0 or less it counts bytes, but does
// not limit them.
func NewMemory(limit int64) *Memory { return &Memory{limit: limit} }

// Used returns the bytes in use, without those of Readers that have failed.
func (m *Memory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// account holds the bytes that one Reader uses of a Memory.
type account struct {
	memory *Memory // nil: not counted
	exceed func(error)
	cause  atomic.Pointer[error] // why it is condemned; set once, by any goroutine

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

// set makes the account hold n bytes. It fails if the Reader is, or becomes,
// condemned.
func (a *account) set(n int) error {
	m := a.memory
	if m == nil {
		return nil
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

// set sets the bytes of a, and condemns and returns the accounts that must fail.
func (m *Memory) set(a *account, n int64) (condemned []*account) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a.condemned() != nil {
		return nil
	}
	switch {
	case a.bytes == 0 && n > 0:
		a.index = len(m.accounts)
		m.accounts = append(m.accounts, a)
	case a.bytes > 0 && n == 0:
		m.remove(a)
	}
	m.used += n - a.bytes
	a.bytes = n
	for m.limit > 0 && m.used > m.limit {
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
