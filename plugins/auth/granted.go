package auth

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// metaExpires is the metadata of an AUTH_REPLY by which the accepting side says that the
// peer may renew its credentials, and in how many milliseconds they end; 0: never.
const metaExpires = "X-Auth-Expires"

// ended is a context that has ended.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// granted is what the accepting side knows of a session whose Checker has returned a Grant,
// or whose routes were narrowed. It is in the session's Swap.
type granted struct {
	plugin *CheckerPlugin
	sess   tp.Session
	now    atomic.Pointer[terms]
	gone   atomic.Pointer[tp.Rerror] // why the session was revoked: no message may reach a handler; nil: it was not

	mu       sync.Mutex  // guards the fields below, and the changes of now
	version  uint64      // counts the changes
	timer    *time.Timer // calls expire; nil: the Grant has no end
	term     uint64      // counts the timers
	ended    bool        // the session ends
	checking bool        // a renewal is checked
	calm     time.Time   // when as many renewals are allowed at once as at first
}

// terms is all of it that another process would need to go on with the session. A value
// does not change.
type terms struct {
	Grant     Grant
	ID        string // that the Checker has set; empty: none
	Renewable bool
}

type grantedKey struct{}

func grantedOf(swap *tp.Swap) *granted {
	v, _ := swap.Load(grantedKey{})
	g, _ := v.(*granted)
	return g
}

// granted returns the state of the session, which it makes if there is none.
func (p *CheckerPlugin) granted(sess tp.Session) *granted {
	if g := grantedOf(sess.Swap()); g != nil {
		return g
	}
	g := &granted{plugin: p, sess: sess}
	g.now.Store(new(terms))
	v, _ := sess.Swap().LoadOrStore(grantedKey{}, g)
	return v.(*granted)
}

// change replaces the terms. The caller holds g.mu.
func (g *granted) change(t terms) {
	t.Grant.Ret = nil
	if t.Grant.Routes != nil {
		g.plugin.bounded.Store(true)
	}
	g.version++
	g.now.Store(&t)
}

// put begins new terms, also as to when they end. The caller holds g.mu.
func (g *granted) put(t terms) {
	g.change(t)
	g.term++
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	if term := g.term; !t.Grant.Until.IsZero() && !g.ended {
		g.timer = time.AfterFunc(time.Until(t.Grant.Until), func() { g.expire(term) })
	}
}

// begin puts what the Checker has granted before the session is ready.
func (g *granted) begin(t terms) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.put(t)
}

func (g *granted) narrow(routes []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := *g.now.Load()
	t.Grant.Routes = within(t.Grant.Routes, append([]string{}, routes...)) // not nil, which is every path
	g.change(t)
}

// end ends the use of the state, since the session ends.
func (g *granted) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	if g.timer != nil {
		g.timer.Stop()
	}
}

// expire closes the session, unless new terms have begun.
func (g *granted) expire(term uint64) {
	g.mu.Lock()
	over := g.term == term && !g.ended
	if over {
		g.ended = true
		g.plugin.tasks.begin(g.sess.Peer())
		defer g.plugin.tasks.end(g.sess.Peer())
	}
	g.mu.Unlock()
	if over {
		g.sess.CloseWith(g.plugin.expired)
	}
}

// As many renewals of a session are allowed at once, and then one in each renewEvery.
const (
	renewBurst = 5
	renewEvery = time.Second
)

// beginRenewal begins to check a renewal, of which there is one at a time. It returns the
// version of the terms that it renews.
func (g *granted) beginRenewal() (version uint64, r *tp.Rerror) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	switch {
	case g.ended:
		return 0, g.plugin.expired.Copy()
	case !g.now.Load().Renewable:
		return 0, notRenewable()
	case g.checking:
		return 0, tooMany("one of the session is being checked")
	case g.calm.Sub(now) > (renewBurst-1)*renewEvery:
		return 0, tooMany("more than " + strconv.Itoa(renewBurst) + " at once, and more than one in " + renewEvery.String())
	}
	if g.calm.Before(now) {
		g.calm = now
	}
	g.calm = g.calm.Add(renewEvery)
	g.checking = true
	return g.version, nil
}

func (g *granted) checked() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.checking = false
}

// renew puts what the Checker has returned for the terms with this version. id is what it
// has set, empty if nothing.
func (g *granted) renew(version uint64, grant Grant, id string) *tp.Rerror {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := *g.now.Load()
	switch {
	case g.ended:
		return g.plugin.expired.Copy()
	case id != "" && id != t.ID:
		return tp.NewRerror(tp.CodeForbidden, tp.CodeText(tp.CodeForbidden), "the renewed credentials are those of another peer: a session keeps its id")
	case g.version != version:
		return tp.NewRerror(tp.CodeBusy, tp.CodeText(tp.CodeBusy), "the session's rights have changed while its credentials were checked")
	}
	t.Grant = grant
	g.put(t)
	return nil
}

func notRenewable() *tp.Rerror {
	return tp.NewRerror(tp.CodeMtypeNotAllowed, tp.CodeText(tp.CodeMtypeNotAllowed), "the credentials of the session cannot be renewed")
}

func tooMany(reason string) *tp.Rerror {
	return tp.NewRerror(tp.CodeTooManyRequests, tp.CodeText(tp.CodeTooManyRequests), "renewals of credentials: "+reason)
}

// expiresText is the time from now to until, as metadata.
func expiresText(until time.Time) string {
	if until.IsZero() {
		return "0"
	}
	return strconv.FormatInt(max(1, time.Until(until).Milliseconds()), 10)
}

// parseExpires reads what expiresText has made. A time that is too long for a Duration is
// the longest one.
func parseExpires(text []byte) (left time.Duration, ok bool) {
	n, err := strconv.ParseUint(string(text), 10, 63)
	if err != nil {
		return 0, false
	}
	return time.Duration(min(n, uint64(longest/time.Millisecond))) * time.Millisecond, true
}

const longest = time.Duration(1<<63 - 1)
