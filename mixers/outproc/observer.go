package outproc

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// The limits of an observer. A ring of events of maxText bytes a text is the most memory
// that a guest that does not answer can make its host hold.
const (
	ringEvents  = 8192
	batchEvents = 256
	maxText     = 1024 // bytes of a method, a message or a value of metadata; the rest is cut off
	maxMetaKeys = 16
	gatherTime  = 20 * time.Millisecond // an event waits for others that go with it
)

// observer is an Observer that runs in a guest. Its hooks put events into a ring, and one
// goroutine sends them.
type observer struct {
	h     *Handle
	name  string
	route string
	meta  []string

	some, full chan struct{} // hold a token when there are events, and a batch of them
	stop       chan struct{} // closed by finish
	finishing  sync.Once
	ended      chan struct{} // closed when run has returned; nil if it was not started

	mu      sync.Mutex
	ring    []guest.Event // of the events first to first+count-1, modulo its size
	first   int
	count   int
	dropped uint64 // since the batch that was taken last
	over    bool   // run has returned, or is about to: nothing is put any more

	lost atomic.Uint64 // all that were dropped
}

func newObserver(h *Handle, desc contract.Part) (part, error) {
	if err := contract.CheckRouteName(desc.Name); err != nil {
		return nil, fmt.Errorf("its observer: %w", err)
	}
	var options contract.ObserverOptions
	if err := parseOptions(desc, &options); err != nil {
		return nil, err
	}
	if len(options.Meta) > maxMetaKeys {
		return nil, fmt.Errorf("its observer %s asks for %d keys of metadata, at most %d are allowed", desc.Name, len(options.Meta), maxMetaKeys)
	}
	return &observer{
		h: h, name: desc.Name, route: contract.ObserverRoute(desc.Name), meta: options.Meta,
		some: make(chan struct{}, 1), full: make(chan struct{}, 1), stop: make(chan struct{}),
	}, nil
}

func (o *observer) prepare(ctx context.Context, inst *instance) error {
	if _, err := inst.ask(ctx, o.route, []byte(`{"events":[]}`)); err != nil {
		return fmt.Errorf("observer %s: the self-test with an empty batch: %w", o.name, err)
	}
	return nil
}

func (o *observer) register(really bool) error {
	if really {
		o.ended = make(chan struct{})
		o.h.owned.Go(o.run)
	}
	return nil
}

// finish sends what is in the ring, while the guest takes it and at most Guest.Timeout
// long, and ends the goroutine.
func (o *observer) finish() {
	if o.ended != nil {
		o.finishing.Do(func() { close(o.stop) })
		<-o.ended
	}
}

// run sends batches until finish is called.
func (o *observer) run() {
	defer close(o.ended)
	for {
		select {
		case <-o.some:
		case <-o.stop:
			o.last()
			return
		}
		gathered := time.NewTimer(gatherTime)
		select {
		case <-o.full:
		case <-gathered.C:
		case <-o.stop:
		}
		gathered.Stop()
		for o.waiting() {
			inst := o.h.await(o.stop, nil)
			if inst == nil {
				o.last()
				return
			}
			o.send(context.Background(), inst)
		}
	}
}

// last sends what is left, if there is an instance.
func (o *observer) last() {
	ctx, cancel := context.WithTimeout(context.Background(), o.h.guest.Timeout)
	defer cancel()
	for inst := o.h.active.Load(); inst != nil && o.waiting(); {
		if !o.send(ctx, inst) {
			break
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	o.lost.Add(uint64(o.count))
}

func (o *observer) waiting() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.count > 0
}

// send takes a batch out of the ring and sends it once: an event comes never twice. It
// returns false if the events were dropped.
func (o *observer) send(ctx context.Context, inst *instance) bool {
	o.mu.Lock()
	b := guest.Batch{Events: make([]guest.Event, min(o.count, batchEvents)), Dropped: o.dropped}
	for i := range b.Events {
		at := (o.first + i) % len(o.ring)
		b.Events[i], o.ring[at] = o.ring[at], guest.Event{}
	}
	n := len(b.Events)
	o.first, o.count, o.dropped = (o.first+n)%len(o.ring), o.count-n, 0
	o.mu.Unlock()
	body, err := json.Marshal(b)
	if err == nil && len(body) > o.h.guest.MaxItem {
		err = fmt.Errorf("a batch of %d bytes is over Guest.MaxItem, %d", len(body), o.h.guest.MaxItem)
	}
	if err == nil {
		_, err = inst.ask(ctx, o.route, body)
	}
	if err == nil {
		return true
	}
	o.mu.Lock()
	o.dropped += b.Dropped + uint64(n)
	o.mu.Unlock()
	if before := o.lost.Add(uint64(n)) - uint64(n); before == 0 {
		o.h.guest.Logger.Warn("outproc: an observer has not taken events, which are dropped; Handle.Dropped counts them", "guest", o.h.name, "observer", o.name, "error", err)
	}
	return false
}

// put puts an event into the ring, in place of the oldest one if there is no room.
func (o *observer) put(e guest.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		o.lost.Add(1)
		return
	}
	if o.ring == nil {
		o.ring = make([]guest.Event, ringEvents)
	}
	if o.count == len(o.ring) {
		o.first, o.count = (o.first+1)%len(o.ring), o.count-1
		o.dropped++
		o.lost.Add(1)
	}
	o.ring[(o.first+o.count)%len(o.ring)] = e
	o.count++
	if o.count == 1 {
		signal(o.some)
	}
	if o.count == batchEvents {
		signal(o.full)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Dropped returns how many events the guest's observers have not got: they came faster
// than the guest took them, or it was away for longer than the room for 8192 events lasts,
// or it did not answer within Guest.Timeout.
func (h *Handle) Dropped() (n uint64) {
	for _, p := range h.parts {
		if o, ok := p.part.(*observer); ok {
			n += o.lost.Load()
		}
	}
	return n
}

// begun is in the context of a message from the moment that its cost is counted from.
type begun struct {
	context.Context
	of    tp.Message
	by    *observer
	start time.Time
}

func (b *begun) Value(key any) any {
	if key == b.by {
		return b
	}
	return b.Context.Value(key)
}

// observing is the plugin of an observer.
type observing struct{ *observer }

var (
	_ tp.PreReadCallBodyPlugin = observing{}
	_ tp.PreReadPushBodyPlugin = observing{}
	_ tp.PreWriteCallPlugin    = observing{}
	_ tp.PreWritePushPlugin    = observing{}
	_ tp.PostExchangePlugin    = observing{}
	_ tp.NonBlockingPlugin     = observing{}
)

func (o observing) Name() string { return "outproc observer " + o.name }

func (observing) NonBlocking() {}

func (o observing) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror { return o.begin(ctx.Input()) }
func (o observing) PreReadPushBody(ctx tp.ReadCtx) *tp.Rerror { return o.begin(ctx.Input()) }
func (o observing) PreWriteCall(ctx tp.WriteCtx) *tp.Rerror   { return o.begin(ctx.Output()) }
func (o observing) PreWritePush(ctx tp.WriteCtx) *tp.Rerror   { return o.begin(ctx.Output()) }

func (o observing) begin(m tp.Message) *tp.Rerror {
	m.(*socket.Envelope).SetContext(&begun{m.Context(), m, o.observer, time.Now()})
	return nil
}

func (o observing) PostExchange(ctx tp.PreCtx, r *tp.Rerror) {
	e := guest.Event{Kind: "call", Time: time.Now(), Session: ctx.Session().ID(), Remote: ctx.IP()}
	var m tp.Message
	if in, served := ctx.(tp.ReadCtx); served {
		m = in.Input()
		e.Method = in.ServiceMethod()
	} else {
		m = ctx.(tp.WriteCtx).Output()
		e.Sent, e.Method = true, m.ServiceMethod()
	}
	e.Method = cut(e.Method)
	if m.Mtype() == tp.TypePush {
		e.Kind = "push"
	}
	if r.HasError() {
		e.Code, e.Message = r.Code, cut(r.Message)
	}
	if b, ok := m.Context().Value(o.observer).(*begun); ok && b.of == m {
		e.Cost = e.Time.Sub(b.start)
	}
	for _, key := range o.meta {
		if v := m.Meta().Peek(key); v != nil {
			if e.Meta == nil {
				e.Meta = make(map[string]string, len(o.meta))
			}
			e.Meta[key] = string(v[:min(len(v), maxText)])
		}
	}
	o.put(e)
}

// cut returns at most maxText bytes of s.
func cut(s string) string { return s[:min(len(s), maxText)] }
