package multiclient

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

const (
	defaultMaxQuota        = 64
	defaultMaxIdleDuration = 3 * time.Minute

	// largeQueue is how many bytes a session may have to send and still count as idle.
	largeQueue = 64 << 10
)

// ErrClosed is the cause of the errors of a MultiClient after Close.
var ErrClosed = errors.New("multiclient: the client is closed")

// A MultiClient calls and pushes to one address over several sessions. It is safe for
// concurrent use. It is a tp.Caller, which tp.Invoke takes.
type MultiClient struct {
	peer     tp.Peer
	addr     string
	quota    int
	maxIdle  time.Duration
	pf       []tp.ProtoFunc
	ctx      context.Context // ends with Close
	cancel   context.CancelCauseFunc
	routines sync.WaitGroup // goroutines, and messages that use a session

	mu      sync.Mutex // guards the fields below
	members []*member  // the one that was used last is the last one
	dialing int
	waiters []*waiter // callers without a session, the oldest first
	timer   *time.Timer
	created uint64
	done    uint64
	closed  bool
	ended   chan struct{} // closed when Close has finished
	err     error         // of Close
}

var (
	_ tp.Caller = (*MultiClient)(nil)
	_ tp.Pusher = (*MultiClient)(nil)
)

// member is a session of the client.
type member struct {
	sess  tp.Session
	doing int32     // calls and pushes that use it
	since time.Time // when doing became 0
}

// waiter waits for a session.
type waiter struct {
	got chan assignment // of capacity 1
}

// assignment is what a waiter gets.
type assignment struct {
	*member
	rerr *tp.Rerror
}

// Stats are figures of a MultiClient at one moment.
type Stats struct {
	Worker  int32  // sessions
	Idle    int32  // sessions that no call uses
	Created uint64 // sessions dialled so far
	Doing   int32  // calls and pushes under way
	Done    uint64 // calls and pushes finished
	MaxLoad int32  // calls and pushes of the session with the most
	MinLoad int32  // and of the one with the least
}

// New makes a client of the address, over sessions that the peer dials with the protocol,
// if one is given. It dials nothing yet. At most sessMaxQuota sessions are open at a time
// (default 64; 4 are enough for most), and one that was idle for sessMaxIdleDuration
// (default 3 minutes) is closed.
//
// A session that breaks is replaced at the next call, unless the peer redials it
// (PeerConfig.RedialTimes).
func New(peer tp.Peer, addr string, sessMaxQuota int, sessMaxIdleDuration time.Duration, protoFunc ...tp.ProtoFunc) *MultiClient {
	if sessMaxQuota <= 0 {
		sessMaxQuota = defaultMaxQuota
	}
	if sessMaxIdleDuration <= 0 {
		sessMaxIdleDuration = defaultMaxIdleDuration
	}
	c := &MultiClient{peer: peer, addr: addr, quota: sessMaxQuota, maxIdle: sessMaxIdleDuration, pf: protoFunc, ended: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// Addr returns the address.
func (c *MultiClient) Addr() string { return c.addr }

// Peer returns the peer that dials.
func (c *MultiClient) Peer() tp.Peer { return c.peer }

// Stats returns the present figures.
func (c *MultiClient) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{Worker: int32(len(c.members)), Created: c.created, Done: c.done}
	for i, m := range c.members {
		s.Doing += m.doing
		s.MaxLoad = max(s.MaxLoad, m.doing)
		if i == 0 || m.doing < s.MinLoad {
			s.MinLoad = m.doing
		}
		if m.doing == 0 {
			s.Idle++
		}
	}
	return s
}

// Call is Session.Call over an idle session, or over a new one, or over the one with the
// least to do if the quota is used up. It may wait for a dial; the context of WithContext
// bounds that too.
func (c *MultiClient) Call(serviceMethod string, arg, result any, setting ...tp.MessageSetting) tp.CallCmd {
	m, rerr := c.acquire(setting)
	if rerr != nil {
		return tp.NewFakeCallCmd(serviceMethod, arg, result, rerr)
	}
	defer c.release(m)
	return m.sess.Call(serviceMethod, arg, result, setting...)
}

// AsyncCall is Session.AsyncCall over the session that Call would use. It returns once it
// has a session, so it may wait for a dial. If there is none, the call that it returns,
// and sends to callCmdChan, has failed.
func (c *MultiClient) AsyncCall(serviceMethod string, arg, result any, callCmdChan chan<- tp.CallCmd, setting ...tp.MessageSetting) tp.CallCmd {
	if callCmdChan != nil && cap(callCmdChan) == 0 {
		panic("multiclient: AsyncCall: callCmdChan channel is unbuffered")
	}
	m, rerr := c.acquire(setting)
	if rerr != nil {
		cmd := tp.NewFakeCallCmd(serviceMethod, arg, result, rerr)
		c.deliver(cmd, callCmdChan)
		return cmd
	}
	cmd := m.sess.AsyncCall(serviceMethod, arg, result, callCmdChan, setting...)
	go func() { // Close waits for release
		<-cmd.Done()
		c.release(m)
	}()
	return cmd
}

// deliver sends a call that has failed to the user's channel. If that is full, it waits
// for room in the background, at most until Close.
func (c *MultiClient) deliver(cmd tp.CallCmd, to chan<- tp.CallCmd) {
	if to == nil {
		return
	}
	select {
	case to <- cmd:
		return
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return // Close does not wait any more
	}
	c.routines.Go(func() {
		select {
		case to <- cmd:
		case <-c.ctx.Done():
		}
	})
}

// Push is Session.Push over the session that Call would use.
func (c *MultiClient) Push(serviceMethod string, arg any, setting ...tp.MessageSetting) *tp.Rerror {
	m, rerr := c.acquire(setting)
	if rerr != nil {
		return rerr
	}
	defer c.release(m)
	return m.sess.Push(serviceMethod, arg, setting...)
}

// Close ends waiting and dialling with an error, closes all sessions as Session.Close
// does, and waits for the calls under way. It returns the errors of closing. Later calls
// fail with 102 (CodeConnClosed).
func (c *MultiClient) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		<-c.ended
		return c.err
	}
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	members := c.members
	c.members = nil
	for _, w := range c.waiters {
		w.got <- assignment{rerr: closedRerror()}
	}
	c.waiters = nil
	c.mu.Unlock()
	c.cancel(ErrClosed)
	errs := make([]error, len(members))
	for i, m := range members {
		c.routines.Go(func() { errs[i] = m.sess.Close() })
	}
	c.routines.Wait()
	c.err = errors.Join(errs...)
	close(c.ended)
	return c.err
}

func closedRerror() *tp.Rerror {
	return tp.NewRerror(tp.CodeConnClosed, tp.CodeText(tp.CodeConnClosed), ErrClosed.Error()).WithCause(ErrClosed)
}

// remove takes a member out of the list. The caller holds c.mu.
func (c *MultiClient) remove(m *member) {
	if i := slices.Index(c.members, m); i >= 0 {
		c.members = slices.Delete(c.members, i, i+1)
	}
}
