package inbox

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// ErrMemory says that the half-arrived frames of a peer need more memory than
// they may, and that this Reader's frame is the largest of them.
var ErrMemory = errors.New("inbox: half-arrived frames take too much memory")

// Memory bounds the bytes that frames over 64 KiB hold while they arrive, over
// all Readers that share it. When the bound is passed, the Readers with the
// largest accounts fail, one after the other, until it is kept; what they hold
// is free when their owners have closed them. It may be used concurrently.
type Memory struct {
	limit int64

	mu       sync.Mutex // guards the fields below and the accounts
	used     int64      // by accounts that are not condemned
	accounts []*account // those with bytes
}

// NewMemory returns a Memory of limit bytes; 0 or less: it counts, but never
// refuses.
func NewMemory(limit int64) *Memory { return &Memory{limit: limit} }

// Used returns the bytes in use, without those of Readers that failed for it.
func (m *Memory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// account is what one Reader has of a Memory.
type account struct {
	memory *Memory // nil: not counted
	offend func(error)
	cause  atomic.Pointer[error] // why it is condemned; set once, by anybody

	bytes int64 // this and index are guarded by memory.mu
	index int   // in memory.accounts
}

// condemned returns why the reader must fail, nil if it need not.
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
	offenders := m.set(a, int64(n))
	for _, o := range offenders {
		if o.offend != nil {
			o.offend(o.condemned())
		}
	}
	if n == 0 {
		return nil
	}
	return a.condemned()
}

// set books, and condemns whom it must.
func (m *Memory) set(a *account, n int64) (offenders []*account) {
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
		err := fmt.Errorf("%w: %d bytes of this one make it %d, over the limit of %d", ErrMemory, o.bytes, m.used, m.limit)
		o.cause.Store(&err)
		m.used -= o.bytes
		m.remove(o)
		offenders = append(offenders, o)
	}
	return offenders
}

// largest returns the largest account; among equals the one that is growing.
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
