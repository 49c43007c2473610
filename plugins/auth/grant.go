package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// Grant is what a Checker grants the peer: it may return a Grant in place of ret. The peer
// can renew it as long as the session lives, and a BearerPlugin does so before it ends;
// each time the Checker runs again, and what it returns replaces the Grant. An answer that
// is no Grant is one without an end and without bounds that cannot be renewed.
type Grant struct {
	// Ret is the answer for the peer's Bearer, as ret without a Grant. It is not kept.
	Ret any `json:"-"`

	// Until is when the credentials end; zero: never. Then the session is closed, unless
	// the peer has renewed them: see CheckerPlugin.ExpireWith. How long that is is measured
	// once, when the Grant is made: if the clock of the machine is set meanwhile, neither
	// side notices. A time that has passed refuses the peer with 401.
	Until time.Time

	// Routes are the paths of the service methods that the peer may call and push to; one
	// that ends in a slash stands for all that begin with it. nil: every path. Other
	// messages are refused with 403. Renewals are always allowed.
	Routes []string

	// Claims is what the handlers want to know of the peer, its name or its role for
	// example: see GrantOf. Nobody may change the map.
	Claims map[string]string
}

// Allows reports whether the peer may call and push to the service method with this path.
func (g Grant) Allows(path string) bool {
	return g.Routes == nil || slices.ContainsFunc(g.Routes, func(route string) bool { return covers(route, path) })
}

// covers reports whether route is path or stands for it, or for all that path stands for.
func covers(route, path string) bool {
	return route == path || strings.HasSuffix(route, "/") && strings.HasPrefix(path, route)
}

// within returns the routes that are in both lists.
func within(a, b []string) []string {
	if a == nil {
		return b
	}
	both := []string{}
	for _, x := range a {
		for _, y := range b {
			switch {
			case covers(x, y):
				both = append(both, y)
			case covers(y, x):
				both = append(both, x)
			}
		}
	}
	return both
}

// Swapper has a Swap: sessions, and the contexts of messages.
type Swapper interface{ Swap() *tp.Swap }

// GrantOf returns what the Checker has granted the session's peer, as it is now; of a
// context the session's. It may be called concurrently, in a handler that runs for long
// again and again. It returns false if the Checker has returned no Grant.
func GrantOf(s Swapper) (Grant, bool) {
	if g := grantedOf(s.Swap()); g != nil {
		return g.now.Load().Grant, true
	}
	return Grant{}, false
}

// Narrow takes from the session all routes but the given ones, which are as in
// Grant.Routes; it never adds any. A message that has not reached its handler when Narrow
// returns is refused with 403. A handler that runs goes on, and its reply is sent: if it
// must not, see Revoke. A renewal whose Checker runs at the time is refused with 503, since
// that may not know of it; a later one replaces what Narrow has done. Narrow returns an
// error if the session is not that of a peer with a CheckerPlugin, and tp.ErrHandedOver if a
// Reboot has handed it to the new process.
func Narrow(sess tp.Session, routes ...string) error {
	p := checkerOf(sess)
	if p == nil {
		return fmt.Errorf("auth: Narrow: the peer of the session %s has no CheckerPlugin", sess.ID())
	}
	p.granted(sess).narrow(routes)
	if errors.Is(sess.CloseReason(), tp.ErrHandedOver) {
		return fmt.Errorf("auth: Narrow: the session %s: %w, with the routes that it had", sess.ID(), tp.ErrHandedOver)
	}
	return nil
}

// Revoke ends the session at once, and tells the other side why: code, message and reason
// are in its CloseReason and in the errors of its calls, if its protocol carries them, and
// 401, 403 and 409 end its redialling; see tp.Session.CloseWith. A rerr that is nil or has
// code 0 is 401. No message reaches a handler any more; of a peer without a CheckerPlugin,
// those of Ordered routes may that wait already. The contexts of handlers that run
// end, with rerr in their cause, and what they return is dropped; their callers get 102.
// What is queued for the other side goes out before the reason: if it reads slowly, all of
// this takes up to a second, but for that no message reaches a handler. Revoke returns when
// the connection is closed, or after about a second. It may be called anywhere, also in a handler
// of the session. One that a Reboot has handed to the new process lives on there: its
// CloseReason here is tp.ErrHandedOver.
func Revoke(sess tp.Session, rerr *tp.Rerror) {
	if !rerr.HasError() {
		rerr = tp.NewRerror(tp.CodeUnauthorized, tp.CodeText(tp.CodeUnauthorized), "the credentials have been revoked")
	}
	if p := checkerOf(sess); p != nil {
		g := p.granted(sess)
		g.gone.CompareAndSwap(nil, rerr.Copy())
		p.bounded.Store(true)
		g.end()
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		sess.CloseWith(rerr)
	}()
	select {
	case <-sess.CloseNotify(): // it has taken the reason
	case <-closed:
	}
	sess.Drain(ended) // what it has cut off is not an error here
	<-closed
}

// checkerOf returns the plugin of the session's peer, nil if it has none.
func checkerOf(sess tp.Session) *CheckerPlugin {
	p, _ := sess.Peer().PluginContainer().GetByName(checkerName).(*CheckerPlugin)
	return p
}
