// Package overloader protects a peer from overload: it refuses connections over a
// number, calls and pushes over a rate, in all and by handler.
//
// It counts messages that have a handler, before their bodies are decoded; a call of
// an unknown method is answered 404 as cheaply as it could be refused, and is not
// counted.
package overloader

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	tp "github.com/teleport-go/teleport/core"
)

// MetaRetryAfter is the metadata of a refused call's reply: the seconds after
// which the next call would be let through, as decimal text such as "0.25", at
// least 0.001. It is the shortest wait, not a promise.
const MetaRetryAfter = "Retry-After"

// LimitConfig is the limits. Each number not above 0 is no limit.
type LimitConfig struct {
	// MaxConn limits the number of sessions, accepted and dialled, of all peers
	// that share the plugin. One that redials keeps its place.
	MaxConn int32
	// QPSInterval is the size of the token buckets as a time: after an idle
	// interval MaxQPS·QPSInterval messages may pass at once, at least one. Any
	// positive length is valid; not above 0 is one second.
	QPSInterval time.Duration
	// MaxTotalQPS limits the calls and pushes a second, of all handlers.
	MaxTotalQPS int32
	// MaxHandlerQPS limits single handlers. Of two entries for one the last counts.
	MaxHandlerQPS []HandlerLimit
}

// HandlerLimit limits one handler.
type HandlerLimit struct {
	// ServiceMethod is the name the handler was registered with.
	ServiceMethod string
	// MaxQPS limits its calls and pushes a second.
	MaxQPS int32
}

// Counts is how many connections and messages have passed and were refused, since
// New.
type Counts struct {
	Conns        int    // sessions that have a place now
	ConnsRefused uint64 // accepted ones were closed, Dial has failed
	Passed       uint64 // calls and pushes
	Refused      uint64
	Handlers     []HandlerCount // in the order of MaxHandlerQPS; without those that are no longer limited
}

// HandlerCount is the share of one limited handler.
type HandlerCount struct {
	ServiceMethod   string
	Passed, Refused uint64
}

// Overloader is the plugin, for a peer, a group or a handler; connections are
// limited only where it is given to a peer. It may be shared by several. All its
// methods may be called concurrently.
type Overloader struct {
	limits atomic.Pointer[limits]

	mu              sync.Mutex       // guards what follows, and taking from the total bucket
	places          map[any]struct{} // the sessions that have one
	connsRefused    uint64
	passed, refused atomic.Uint64
}

// limits is one configuration at work. It does not change, its buckets fill.
type limits struct {
	conf     LimitConfig
	total    *bucket // nil: no limit
	handlers map[string]*bucket
}

type bucket struct {
	*rate.Limiter
	passed, refused atomic.Uint64
}

var (
	_ tp.PostDialPlugin        = (*Overloader)(nil)
	_ tp.PostRedialPlugin      = (*Overloader)(nil)
	_ tp.PostAcceptPlugin      = (*Overloader)(nil)
	_ tp.HandOverPlugin        = (*Overloader)(nil)
	_ tp.PostDisconnectPlugin  = (*Overloader)(nil)
	_ tp.PreReadCallBodyPlugin = (*Overloader)(nil)
	_ tp.PreReadPushBodyPlugin = (*Overloader)(nil)
	_ tp.NonBlockingPlugin     = (*Overloader)(nil)
)

// New returns a plugin with these limits.
func New(conf LimitConfig) *Overloader {
	o := &Overloader{places: make(map[any]struct{})}
	o.limits.Store(new(limits))
	o.Update(conf)
	return o
}

// Name returns "overloader".
func (o *Overloader) Name() string { return "overloader" }

// NonBlocking promises that no hook blocks.
func (*Overloader) NonBlocking() {}

// LimitConfig returns the limits as New or Update got them; a copy.
func (o *Overloader) LimitConfig() LimitConfig {
	conf := o.limits.Load().conf
	conf.MaxHandlerQPS = slices.Clone(conf.MaxHandlerQPS)
	return conf
}

// Update sets new limits, for messages and connections from now on: sessions over a lower
// MaxConn stay. A rate that was limited before does not get a full bucket again.
func (o *Overloader) Update(conf LimitConfig) {
	conf.MaxHandlerQPS = slices.Clone(conf.MaxHandlerQPS)
	interval := conf.QPSInterval
	if interval <= 0 {
		interval = time.Second
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	old := o.limits.Load()
	l := &limits{conf: conf, handlers: make(map[string]*bucket)}
	l.total = old.total.refit(conf.MaxTotalQPS, interval)
	for _, h := range conf.MaxHandlerQPS {
		delete(l.handlers, h.ServiceMethod)
		if b := old.handlers[h.ServiceMethod].refit(h.MaxQPS, interval); b != nil {
			l.handlers[h.ServiceMethod] = b
		}
	}
	o.limits.Store(l)
}

// refit returns b with another rate, a new one if b is nil, nil for no limit.
func (b *bucket) refit(qps int32, interval time.Duration) *bucket {
	if qps <= 0 {
		return nil
	}
	burst := int(min(max(float64(qps)*interval.Seconds(), 1), math.MaxInt32))
	if b == nil {
		return &bucket{Limiter: rate.NewLimiter(rate.Limit(qps), burst)}
	}
	now := time.Now()
	b.SetLimitAt(now, rate.Limit(qps))
	b.SetBurstAt(now, burst)
	return b
}

// Counts returns the counts so far.
func (o *Overloader) Counts() Counts {
	l := o.limits.Load()
	c := Counts{Passed: o.passed.Load(), Refused: o.refused.Load()}
	listed := make(map[string]bool)
	for _, h := range l.conf.MaxHandlerQPS {
		if b := l.handlers[h.ServiceMethod]; b != nil && !listed[h.ServiceMethod] {
			listed[h.ServiceMethod] = true
			c.Handlers = append(c.Handlers, HandlerCount{h.ServiceMethod, b.passed.Load(), b.refused.Load()})
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	c.Conns, c.ConnsRefused = len(o.places), o.connsRefused
	return c
}

// PostDial takes a place for a dialled session; 429 if there is none.
func (o *Overloader) PostDial(s tp.PreSession) *tp.Rerror { return o.takePlace(s) }

// PostRedial takes nothing: the session still has its place.
func (o *Overloader) PostRedial(tp.PreSession) *tp.Rerror { return nil }

// PostAccept takes a place for an accepted session; 429 if there is none, which
// closes the connection.
func (o *Overloader) PostAccept(s tp.PreSession) *tp.Rerror { return o.takePlace(s) }

// Save saves nothing: the session's place is its only state.
func (*Overloader) Save(tp.BaseSession) ([]byte, error) { return nil, nil }

// Restore takes a place for a session that a Reboot hands to this process, over the limit
// too: it had one in the old process.
func (o *Overloader) Restore(s tp.PreSession, _ []byte) *tp.Rerror {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.places[s] = struct{}{}
	return nil
}

func (o *Overloader) takePlace(s tp.PreSession) *tp.Rerror {
	o.mu.Lock()
	defer o.mu.Unlock()
	most := o.limits.Load().conf.MaxConn
	if most > 0 && len(o.places) >= int(most) {
		o.connsRefused++
		return tooMany(fmt.Sprintf("connection overload, limit=%d, now=%d", most, len(o.places)))
	}
	o.places[s] = struct{}{} // PostDisconnect gets the same session as another interface
	return nil
}

// PostDisconnect frees the place, if the session had one.
func (o *Overloader) PostDisconnect(s tp.BaseSession) *tp.Rerror {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.places, s)
	return nil
}

// PreReadCallBody refuses a call over the rate: 429, with [MetaRetryAfter].
func (o *Overloader) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror {
	wait, r := o.admit(ctx.Path())
	if r == nil {
		return nil
	}
	if reply, ok := ctx.(tp.WriteCtx); ok {
		reply.Output().Meta().Set(MetaRetryAfter, seconds(wait))
	}
	return r
}

// PreReadPushBody drops a push over the rate.
func (o *Overloader) PreReadPushBody(ctx tp.ReadCtx) *tp.Rerror {
	_, r := o.admit(ctx.Path())
	return r
}

// admit takes a token of each bucket the handler draws from, or of none.
func (o *Overloader) admit(path string) (wait time.Duration, r *tp.Rerror) {
	l := o.limits.Load()
	b := l.handlers[path]
	switch {
	case l.total == nil && b == nil:
	case l.total == nil:
		if now := time.Now(); !b.AllowN(now, 1) {
			wait, r = b.refuse(now, "handler_limit")
		}
	default:
		wait, r = o.admitBoth(l.total, b)
	}
	if r != nil {
		o.refused.Add(1)
		return wait, r
	}
	if b != nil {
		b.passed.Add(1)
	}
	o.passed.Add(1)
	return 0, nil
}

// admitBoth checks the total bucket before it takes from the handler's, so that a
// message refused by one limit takes nothing from the other.
func (o *Overloader) admitBoth(total, b *bucket) (time.Duration, *tp.Rerror) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if total.TokensAt(now) < 1 {
		if b != nil {
			b.refused.Add(1)
		}
		return total.refuse(now, "total_limit")
	}
	if b != nil && !b.AllowN(now, 1) {
		return b.refuse(now, "handler_limit")
	}
	total.AllowN(now, 1)
	return 0, nil
}

// refuse returns the error, and how long it takes until there is a token.
func (b *bucket) refuse(now time.Time, which string) (time.Duration, *tp.Rerror) {
	b.refused.Add(1)
	missing := max(1-b.TokensAt(now), 0)
	wait := time.Duration(missing / float64(b.Limit()) * float64(time.Second))
	return wait, tooMany(fmt.Sprintf("qps overload, %s=%v", which, b.Limit()))
}

func tooMany(reason string) *tp.Rerror {
	return tp.NewRerror(tp.CodeTooManyRequests, tp.CodeText(tp.CodeTooManyRequests), reason)
}

// seconds writes a wait as decimal seconds, rounded up to a millisecond.
func seconds(d time.Duration) string {
	ms := max((d+time.Millisecond-1)/time.Millisecond, 1)
	return strconv.FormatFloat(float64(ms)/1000, 'f', -1, 64)
}
