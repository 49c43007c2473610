package outproc

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// A message costs host and guest more than a small item does. So small items of callers
// that wait at the same time cross in one message, a bundle: the first caller begins it, lets
// the goroutines run that are ready to, and sends what they have added. An item whose caller
// is alone crosses by itself, and so does each item that a bundle has left without a result,
// for whatever reason: a bundle that fails costs time, and nothing else.

// The rules of bundles that fail: none is sent for a pause, which doubles from one such
// bundle to the next.
const (
	bundleWait     = 50 * time.Millisecond // after which a bundle has failed, unless a quarter of Guest.Timeout is less
	minBundlePause = 10 * time.Millisecond
	maxBundlePause = time.Second
)

// errNoResult is the error of an item that its bundle has left without a result.
var errNoResult = errors.New("the bundle has left the item without a result")

// bundler makes the bundles of an instance.
type bundler struct {
	items int // of a bundle at most; 0: the guest takes none
	bytes int // of a bundle at most
	wait  time.Duration

	mu   sync.Mutex // guards open, and the bundle in it
	open *bundle    // that items are added to; nil if there is none

	pause  atomic.Int64 // after the last bundle, in nanoseconds; 0 if it has not failed
	paused atomic.Int64 // Unix nanoseconds until when there are no bundles; 0: there are
}

// bundle is items and their answers. It belongs to the bundler while it is open, and then to the
// caller that has begun it.
type bundle struct {
	exchanges   []*exchange
	body, reply []byte

	ctx   context.Context // ends by late
	late  *time.Timer
	spent bool // ctx has ended: the bundle is not used again
}

var bundles = sync.Pool{New: func() any {
	ctx, cancel := context.WithCancel(context.Background())
	b := &bundle{ctx: ctx, late: time.AfterFunc(time.Hour, cancel)}
	b.late.Stop()
	return b
}}

func (b *bundler) init(g *Guest, items int) {
	b.items = min(max(items, 0), contract.MaxBundle)
	b.bytes = min(contract.MaxBundleBytes, g.MaxItem)
	b.wait = min(bundleWait, g.Timeout/4)
}

// takes reports whether x may cross in a bundle.
func (b *bundler) takes(x *exchange) bool {
	if b.items < 2 || len(x.item) > contract.MaxBundleItem || contract.BundledSize(x.route, x.item) > b.bytes {
		return false
	}
	until := b.paused.Load()
	return until == 0 || time.Now().UnixNano() >= until
}

// join adds x to a bundle. If the bundle is not nil the caller has begun it and must send it;
// else another one does, and x.done gets the outcome.
func (b *bundler) join(x *exchange) *bundle {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.open
	begins := o == nil || len(o.body)+contract.BundledSize(x.route, x.item) > b.bytes
	if begins {
		o = bundles.Get().(*bundle)
		b.open = o
	}
	o.body = contract.AppendBundled(o.body, x.route, x.item)
	o.exchanges = append(o.exchanges, x)
	if len(o.exchanges) == b.items {
		b.open = nil
	}
	if begins {
		return o
	}
	return nil
}

// take ends the adding to o.
func (b *bundler) take(o *bundle) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == o {
		b.open = nil
	}
}

// note notes the end of a bundle. Guests whose items take long get them by themselves, and so
// does one that is late, or breaks the rules of bundles.
func (b *bundler) note(failed bool) {
	switch {
	case failed:
		d := min(max(2*b.pause.Load(), int64(minBundlePause)), int64(maxBundlePause))
		b.pause.Store(d)
		b.paused.Store(time.Now().UnixNano() + d)
	case b.pause.Load() != 0:
		b.pause.Store(0)
		b.paused.Store(0)
	}
}

// exchangeBundled is exchange for an item that bundler takes, while others are under way. It
// returns errNoResult if the item is to cross by itself.
func (i *instance) exchangeBundled(x *exchange) error {
	o := i.bundler.join(x)
	if o == nil {
		return <-x.done
	}
	runtime.Gosched()
	i.bundler.take(o)
	if len(o.exchanges) == 1 {
		o.free()
		return i.exchange(context.Background(), x)
	}
	return i.sendBundle(o, x)
}

// sendBundle sends o, ends the exchanges in it, and returns the error of first, whose caller
// it runs on.
func (i *instance) sendBundle(o *bundle, first *exchange) error {
	o.late.Reset(i.bundler.wait)
	err := tp.InvokeInto(o.ctx, i.lane, contract.RouteBundle, &o.body, &o.reply)
	o.spent = !o.late.Stop()
	missing := o.share(err)
	if err == nil && !i.heard.Load() {
		i.heard.Store(true)
	}
	if !lost(err) {
		i.bundler.note(2*missing >= len(o.exchanges))
	}
	err = first.err
	for _, x := range o.exchanges {
		if x != first {
			x.done <- x.err // from here on x is its caller's
		}
	}
	o.free()
	return err
}

// share sets the results and errors of the exchanges, and returns how many have no result. err
// is that of the CALL.
func (o *bundle) share(err error) (missing int) {
	rest := o.reply
	for _, x := range o.exchanges {
		var result []byte
		answered := false
		if err == nil {
			result, rest, answered, err = contract.CutResult(rest)
		}
		if answered {
			x.reply, x.err = append(x.reply[:0], result...), nil
		} else {
			x.err = errNoResult
			missing++
		}
	}
	return missing
}

func (o *bundle) free() {
	if o.spent {
		return
	}
	clear(o.exchanges)
	o.exchanges, o.body = o.exchanges[:0], o.body[:0]
	if cap(o.reply) > contract.MaxBundleBytes {
		o.reply = nil
	}
	bundles.Put(o)
}
