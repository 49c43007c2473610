package outproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// instance is one run of a guest: its process and the lane to it.
type instance struct {
	h     *Handle
	lane  tp.Session
	to    endpoint
	desc  contract.Description
	since time.Time // when it was ready

	bundler bundler
	heard   atomic.Bool       // has answered something since the last ping
	refused map[string]uint64 // connections by gateway, as the last ping said; belongs to monitor

	slow bool // has not answered the last ping; guarded by h.mu
	gone bool // gets no more items, and ends or has ended; guarded by h.mu

	reason  sync.Once     // sets err
	err     error         // why it has ended, or is to; read it when done is closed
	leaving chan struct{} // closed when this side ends it, and its lane's end is no news
	killed  sync.Once
	done    chan struct{} // closed when it has ended
}

func (i *instance) hasEnded() bool {
	select {
	case <-i.done:
		return true
	default:
		return false
	}
}

// ask sends an item and returns the answer.
func (i *instance) ask(ctx context.Context, route string, item []byte) ([]byte, error) {
	x := exchange{route: route, item: item}
	err := i.exchange(ctx, &x)
	return x.reply, err
}

// exchange sends the item of x and waits for the answer.
func (i *instance) exchange(ctx context.Context, x *exchange) error {
	err := tp.InvokeInto(ctx, i.lane, x.route, &x.item, &x.reply)
	if err == nil && !i.heard.Load() {
		i.heard.Store(true)
	}
	return err
}

// start starts an instance and makes its parts ready. The first one makes the parts.
func (g *generation) start(ctx context.Context) (inst *instance, err error) {
	h := g.h
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, h.guest.StartTimeout)
	defer cancel()
	defer context.AfterFunc(g.ctx, cancel)()
	dir, done, err := useDir()
	if err != nil {
		return nil, err
	}
	defer done()
	to, err := g.source.open(ctx, dir)
	if err != nil {
		return nil, err
	}
	inst = &instance{h: h, to: to, leaving: make(chan struct{}), done: make(chan struct{}), refused: make(map[string]uint64)}
	if err := inst.open(ctx); err != nil {
		if inst.lane != nil {
			inst.lane.Close()
		}
		to.kill()
		if ctx.Err() != nil {
			err = fmt.Errorf("it was not ready within %v: %w", time.Since(begun).Round(100*time.Millisecond), err)
		}
		return nil, to.withTail(err)
	}
	inst.since = time.Now()
	h.owned.Go(inst.watch)
	h.owned.Go(inst.monitor)
	return inst, nil
}

// open opens the lane and makes the parts ready.
func (i *instance) open(ctx context.Context) error {
	h := i.h
	lane, r := h.peer.DialContext(context.WithValue(ctx, endpointKey{}, i.to), i.to.address())
	if r.HasError() {
		return fmt.Errorf("open its lane: %w", r.Err())
	}
	i.lane = lane
	text, err := i.ask(ctx, contract.RouteDescribe, nil)
	if err != nil {
		return fmt.Errorf("ask what it is: %w", err)
	}
	if i.desc, err = contract.ParseDescription(text); err != nil {
		return err
	}
	if err := h.accept(i.desc); err != nil {
		return err
	}
	i.bundler.init(&h.guest, i.desc.Bundle)
	config := contract.Configuration{Host: hostName(), MaxItem: h.guest.MaxItem}
	if h.guest.Config != nil {
		if config.Config, err = json.Marshal(h.guest.Config); err != nil {
			return fmt.Errorf("encode Guest.Config: %w", err)
		}
	}
	body, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if _, err := i.ask(ctx, contract.RouteConfigure, body); err != nil {
		if r := tp.ToRerror(err); r.Code == contract.CodeRefused {
			return fmt.Errorf("its configuration is refused: %s", r.Reason)
		}
		return fmt.Errorf("configure it: %w", err)
	}
	for _, p := range h.parts {
		if err := p.prepare(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func hostName() string { return fmt.Sprintf("%s (process %d)", os.Args[0], os.Getpid()) }

// exitTime is how long a process may take to be gone after its lane has ended. If it takes
// longer, it is killed, and the end of the lane is the reason.
const exitTime = 2 * time.Second

// watch waits until the process or the lane has ended, and ends both.
func (i *instance) watch() {
	select {
	case <-i.to.ended():
	case <-i.lane.CloseNotify():
	}
	i.withdraw()
	wait := exitTime // a process that ends closes its lane first
	if i.to.ended() == nil {
		wait = 0
	}
	select {
	case <-i.to.ended():
		i.kill(i.to.exitError())
	case <-i.leaving:
		<-i.done
	case <-time.After(wait):
		i.kill(i.laneError())
	}
}

// withdraw takes the instance out of those that get items. The state of the guest changes
// when it is known why: see generation.mayStart.
func (i *instance) withdraw() {
	i.h.mu.Lock()
	defer i.h.mu.Unlock()
	i.gone = true
	i.h.choose()
}

// laneError returns why the lane has ended.
func (i *instance) laneError() error {
	if reason := i.lane.CloseReason(); reason != nil {
		return fmt.Errorf("its lane has ended: %w", reason)
	}
	return errLaneEnded
}

var errLaneEnded = errors.New("its lane has ended")

// leave makes err the reason of the end, unless there is one, and the end of the lane no
// sign of a fault.
func (i *instance) leave(err error) {
	i.reason.Do(func() {
		i.err = i.to.withTail(err)
		close(i.leaving)
	})
}

// kill ends the instance at once, with err as the reason unless there is one, and waits for
// its end.
func (i *instance) kill(err error) {
	i.leave(err)
	i.killed.Do(func() {
		i.to.kill()
		i.lane.Close() // after the process: nothing is pending any more
		close(i.done)
	})
	<-i.done
}

// drainTime is how long a process may take to end when it has been asked to and has
// answered all items.
const drainTime = 2 * time.Second

// drain ends the instance when it has answered what is under way.
func (i *instance) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), i.h.guest.Timeout+drainTime)
	defer cancel()
	i.leave(errClosed)
	if i.to.ended() != nil { // a guest that runs by itself goes on
		i.ask(ctx, contract.RouteDrain, nil) // one that does not answer is killed
	}
	i.lane.Close()
	if i.to.ended() != nil {
		select {
		case <-i.to.ended():
		case <-ctx.Done():
		}
	}
	i.kill(errClosed)
}

// pingLimit is how many pings without an answer end a process. A large item holds up the
// pings behind it.
const pingLimit = 10

var errNoPing = errors.New("it does not answer pings")

// monitor pings the instance, which tells one that hangs from one that has little to do,
// and measures its memory, until it ends.
func (i *instance) monitor() {
	g := &i.h.guest
	tick := time.NewTicker(g.pingEvery)
	defer tick.Stop()
	for missed := 0; ; {
		select {
		case <-tick.C:
		case <-i.leaving:
			return
		}
		if rss := residentMemory(i.to.pid()); g.MaxRSS > 0 && rss > g.MaxRSS {
			i.withdraw()
			i.leave(fmt.Errorf("it has %d bytes of memory, more than Guest.MaxRSS, %d", rss, g.MaxRSS))
			i.lane.Close() // waits for what is under way
			i.kill(nil)
			return
		}
		i.heard.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), g.pingEvery)
		pong, _ := i.ask(ctx, contract.RoutePing, nil)
		cancel()
		i.count(pong)
		missed++
		if i.heard.Load() {
			missed = 0
		}
		i.setSlow(missed > 0)
		if missed == pingLimit {
			i.kill(fmt.Errorf("it has answered nothing for %v: it hangs, or it was stopped", pingLimit*g.pingEvery))
			return
		}
	}
}

// count counts the connections that the gateways have refused since the last ping.
// A reply that is larger than a description is not decoded, which takes many times its size.
func (i *instance) count(pong []byte) {
	var p contract.Pong
	if len(pong) == 0 || len(pong) > contract.MaxDescription || json.Unmarshal(pong, &p) != nil {
		return
	}
	for name, n := range p.Refused {
		if g := i.h.gateway(name); g != nil && n > i.refused[name] {
			g.refused.Add(n - i.refused[name])
			i.refused[name] = n
		}
	}
}

func (i *instance) setSlow(slow bool) {
	i.h.mu.Lock()
	defer i.h.mu.Unlock()
	if i.slow != slow {
		i.slow = slow
		i.h.update()
	}
}

type endpointKey struct{}

// greet opens a lane: it checks that the right process is at its other end, and sends it
// the token.
func greet(sess tp.PreSession) *tp.Rerror {
	to := sess.Context().Value(endpointKey{}).(endpoint)
	if err := to.verify(sess); err != nil {
		return tp.NewRerror(tp.CodeUnauthorized, tp.CodeText(tp.CodeUnauthorized), err.Error()).WithCause(err)
	}
	hello, err := json.Marshal(contract.Hello{Contract: contract.Version, Token: to.secret(), Host: hostName()})
	if err != nil {
		return tp.ToRerror(err)
	}
	var reply []byte
	if r := sess.PreCall(contract.RouteHello, hello, &reply); r.HasError() {
		return r
	}
	var welcome contract.Welcome
	if err := json.Unmarshal(reply, &welcome); err != nil || welcome.Contract != contract.Version {
		return tp.NewRerror(tp.CodeWrongConn, tp.CodeText(tp.CodeWrongConn), fmt.Sprintf("the guest has answered %.100q to the first message of its lane", reply))
	}
	return nil
}
