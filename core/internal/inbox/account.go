package inbox

import (
	"fmt"
	"math"
)

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
	if n > 0 && a.wouldWait(int64(n)) && (a.await == nil || !a.await(func() bool { return a.wouldWait(int64(n)) })) {
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
	m.collect(n)
	m.mu.Lock()
	defer m.mu.Unlock()
	more := n - a.bytes
	return more > 0 && m.drawn > 0 && m.exceeds(more) && m.used+more <= m.limit/2 && a.condemned() == nil
}

// handOver makes the bytes of the account, but for n, those of the message: the frame that
// has arrived, which its Reader does not touch any more.
func (a *account) handOver(n int64) {
	m := a.memory
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if a.condemned() != nil {
		return
	}
	frame := a.bytes - n
	if a.bytes > 0 && n == 0 {
		m.remove(a)
	}
	m.used, a.bytes = m.used-frame, n
	m.drawn += frame
	a.reserved += frame
	a.frame = uint32(min(int64(a.frame)+frame, math.MaxUint32))
}

// take ends what the account holds for a message, and returns how much that is: it stays
// in the Memory, and the caller has it from now on.
func (a *account) take() (n int64) {
	if a.reserved == 0 {
		return 0
	}
	n, a.reserved, a.frame = a.reserved, 0, 0
	return n
}

// drop gives back what take would return.
func (a *account) drop() {
	if n := a.take(); n > 0 {
		a.memory.Draw(-n)
	}
}

// reserve makes the Reader's reservation n bytes beside the frame, and waits for room.
// Meanwhile it has none: what was reserved before must not be needed any more.
func (a *account) reserve(n int64) error {
	m := a.memory
	if m == nil {
		return nil
	}
	has := a.reserved - int64(a.frame)
	if n <= has {
		a.adjust(n)
		return nil
	}
	if m.limit > 0 && n > m.limit {
		return fmt.Errorf("%w: a message needs at least %d bytes, the limit is %d", ErrMemory, n, m.limit)
	}
	m.Draw(-has) // else all Readers may hold a part, and wait for the rest
	a.reserved -= has
	c := m.Claim(ToUnpack, a.reserved, n)
	defer c.Free()
	if !c.Granted() && a.await != nil {
		a.await(func() bool { return !c.Granted() })
	}
	if !c.Granted() {
		return m.noRoom(n)
	}
	c.Take()
	a.reserved += n
	return nil
}

// adjust makes the Reader's reservation n bytes, whatever the limit is.
func (a *account) adjust(n int64) {
	if a.memory == nil {
		return
	}
	more := n - (a.reserved - int64(a.frame))
	a.memory.Draw(more)
	a.reserved += more
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
	m.waste(a.bytes - n)
	switch {
	case a.bytes == 0 && n > 0:
		a.index = int32(len(m.accounts))
		m.accounts = append(m.accounts, a)
	case a.bytes > 0 && n == 0:
		m.remove(a)
	}
	m.used += n - a.bytes
	a.bytes = n
	for m.limit > 0 && m.used+m.drawn > m.limit && m.used > m.limit/2 || m.arrivals > 0 && m.used > m.arrivals {
		o := m.largest(a)
		err := fmt.Errorf("%w: %d bytes, over the limit of %d; this message has %d of them", ErrMemory, m.used, m.limit, o.bytes)
		o.cause.Store(&err)
		m.used -= o.bytes
		m.waste(o.bytes)
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
