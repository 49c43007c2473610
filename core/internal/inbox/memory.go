package inbox

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrMemory says that the messages of a peer need more memory than the limit, and that
// this Reader's is the largest of those that have arrived in part, or that no memory
// became free in time.
var ErrMemory = errors.New("inbox: messages that have arrived in part take too much memory")

// Memory bounds the bytes that messages take, over all Readers that share it: frames over
// 64 KiB while they arrive, and what Draw, Claim and the Reserve of a Reader count. When
// the limit is exceeded and frames that arrive take more than half of it, or they alone
// exceed theirs, the Readers with the largest accounts fail, one after the other, until it
// is not; their memory is free when their owners have closed them. Otherwise Readers wait.
//
// What was given back counts until it is collected: see garbage.go. A Memory may be used
// concurrently.
type Memory struct {
	limit    int64
	arrivals int64       // limit of the frames that arrive; 0: none
	drawFunc func(int64) // Draw
	over     atomic.Bool // the limit is reached

	mu        sync.Mutex      // guards the fields below and the accounts
	used      int64           // bytes of the accounts that are not condemned
	drawn     int64           // bytes of Draw, Claim and Reserve
	garbage   int64           // bytes that were given back, and perhaps not collected yet
	accounts  []*account      // the accounts with bytes
	claims    []*Claim        // that wait
	waiting   [purposes]int64 // bytes that the claimants hold whose claims wait
	overshoot *Claim          // granted beyond the limit; nil: none
	room      chan struct{}   // closed when bytes become free; nil: no goroutine waits for that

	collecting sync.Mutex // held while the garbage collector runs
}

// Purpose is what a claimant needs memory for: how far a message is.
type Purpose uint8

const (
	ToUnpack Purpose = iota // to reverse the filters of a message
	ToBegin                 // to decode it, and to run its handler
	ToEnd                   // to send the reply, and so to give back what it holds
	purposes
)

// Claim is memory that its claimant needs to go on, while it holds other memory: a request
// for its argument or its reply, for example. So claimants could wait for each other. They
// do not: what those hold that wait is not in the way of claims of the same Purpose, or of
// one that is further. Nor does a claim wait for room any longer after a second, or if it is
// alone: then it is granted beyond the limit, one at a time.
type Claim struct {
	m       *Memory
	n, held int64
	purpose Purpose
	granted bool // this and late are guarded by m.mu
	late    bool // it has waited for patience
}

// Limit returns the limit, 0 or less for none.
func (m *Memory) Limit() int64 { return m.limit }

// account holds the bytes that one Reader uses of a Memory.
type account struct {
	memory   *Memory // nil: not counted
	exceed   func(error)
	await    func(blocked func() bool) bool // see Config.AwaitMemory
	cause    atomic.Pointer[error]          // why it is condemned; set once, by any goroutine
	reserved int64                          // bytes of Reserve and of frames that were handed over; the Reader's alone
	frame    uint32                         // of these of frames
	index    int32                          // in memory.accounts; guarded by memory.mu, as bytes is
	bytes    int64
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

// Draw counts n bytes more, or fewer if n is negative, whatever the limit is.
func (m *Memory) Draw(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drawn += n
	m.waste(-n)
	m.changed(n)
}

// TryDraw counts n bytes more if that does not exceed the limit. If it returns false, it
// has not.
func (m *Memory) TryDraw(n int64) bool {
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
func (m *Memory) exceeds(n int64) bool {
	return m.limit > 0 && m.used+m.drawn+m.wasted()+n > m.limit
}

// changed is called when there are n bytes more.
func (m *Memory) changed(n int64) {
	if n < 0 {
		m.grant()
		m.signal()
	}
	if over := m.limit > 0 && m.exceeds(1); over != m.over.Load() {
		m.over.Store(over)
	}
}

// signal wakes those that wait for room. Called with mu.
func (m *Memory) signal() {
	if m.room != nil {
		close(m.room)
		m.room = nil
	}
}

// grant grants the claims for which there is room. Called with mu.
func (m *Memory) grant() {
	for i := 0; i < len(m.claims); {
		c := m.claims[i]
		within := m.fits(c)
		if !within && !m.mayOvershoot(c) {
			i++
			continue
		}
		if !within {
			m.overshoot = c
		}
		m.forget(i)
		m.drawn += c.n
		c.granted = true
		m.signal()
		m.changed(c.n)
	}
}

// fits reports whether there is room for a claim, or would be but for those that are not in
// its way. Called with mu.
func (m *Memory) fits(c *Claim) bool {
	return !m.exceeds(c.n) || m.others(c.purpose)+c.held+c.n <= m.limit
}

// mayOvershoot reports whether a claim is granted beyond the limit. Called with mu.
func (m *Memory) mayOvershoot(c *Claim) bool {
	others := m.others(c.purpose)
	return m.overshoot == nil && (c.late || others <= m.limit/8 || c.purpose == ToEnd && others+c.n <= m.limit)
}

// others returns what those have that are in the way of a claim. Called with mu.
func (m *Memory) others(p Purpose) int64 {
	n := m.used + m.drawn + m.wasted()
	for _, held := range m.waiting[:p+1] {
		n -= held
	}
	return n
}

// forget removes a claim from those that wait. Called with mu.
func (m *Memory) forget(i int) {
	m.waiting[m.claims[i].purpose] -= m.claims[i].held
	m.claims = slices.Delete(m.claims, i, i+1)
}

// wasteShare says of how many parts of the limit one has to be garbage before it counts.
const wasteShare = 4

// waste notes that n bytes were given back. Called with mu.
func (m *Memory) waste(n int64) {
	if n > 0 && m.limit > 0 {
		m.garbage += n
	}
}

// wasted returns the garbage that counts. Called with mu.
func (m *Memory) wasted() int64 {
	if m.garbage < m.limit/wasteShare {
		return 0
	}
	return m.garbage
}
