package tp

import (
	"math"
	"time"
)

// Live is the part of a PeerConfig that Peer.Adjust can change while the peer works. The
// fields mean what they mean there, and 0 has the same defaults.
type Live struct {
	DefaultSessionAge  time.Duration // of sessions that begin later
	DefaultContextAge  time.Duration // of sessions that begin later
	DefaultCallTimeout time.Duration // of calls that begin later
	MaxHandlers        int
	SlowCometDuration  time.Duration
	AccessLog          bool
	PrintDetail        bool
	CountTime          bool // of messages that begin later
}

// live returns the part that can change, with defaults.
func (c *PeerConfig) live() *Live {
	l := &Live{
		DefaultSessionAge: c.DefaultSessionAge, DefaultContextAge: c.DefaultContextAge,
		DefaultCallTimeout: c.DefaultCallTimeout, MaxHandlers: c.MaxHandlers,
		SlowCometDuration: c.SlowCometDuration, AccessLog: c.AccessLog,
		PrintDetail: c.PrintDetail, CountTime: c.CountTime,
	}
	l.fill()
	return l
}

func (l *Live) fill() {
	l.DefaultSessionAge = max(l.DefaultSessionAge, 0)
	l.DefaultContextAge = max(l.DefaultContextAge, 0)
	l.DefaultCallTimeout = max(l.DefaultCallTimeout, 0)
	positive(&l.MaxHandlers, 10_000)
	positive(&l.SlowCometDuration, math.MaxInt64)
}

func (p *peer) Adjust(change func(*Live)) {
	p.adjusting.Lock()
	defer p.adjusting.Unlock()
	next := *p.env.live.Load()
	change(&next)
	next.fill()
	if next.PrintDetail {
		showDetail()
	}
	p.env.live.Store(&next)
}
