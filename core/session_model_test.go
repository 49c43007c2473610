package tp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/inherit"
	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/poison"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// regressions are seeds of walks that once failed, and a few more, so that every run
// begins with the same ones. To replay a walk, add the seed it logs.
var regressions = []uint64{1, 2, 3, 7, 0xdead, 0xbeef}

// walks is how many random walks follow them.
const walks = 250

func TestModelWalks(t *testing.T) {
	seeds := append([]uint64(nil), regressions...)
	for range walks {
		seeds = append(seeds, rand.Uint64())
	}
	for _, seed := range seeds {
		synctest.Test(t, func(t *testing.T) { (&walk{rng: rand.New(rand.NewPCG(seed, 0))}).run(t) })
		if t.Failed() {
			t.Fatalf("the walk of seed %#x went wrong; put it into regressions to replay it", seed)
		}
	}
}

// walk is one random walk: two peers that dial each other, and random operations on them.
type walk struct {
	rng   *rand.Rand
	w     *world
	peers [2]*peer
	addrs [2]string
	hooks *ledger

	ops sync.WaitGroup // operations on other goroutines

	corrupted atomic.Bool // bytes of a connection were damaged

	mu       sync.Mutex // guards the fields below
	trace    []string
	sessions []*session
	cmds     map[CallCmd]int   // AsyncCalls, and how often each was delivered
	broken   []string          // rules that were broken
	contexts []context.Context // of handlers
}

func (k *walk) run(t *testing.T) {
	if k.rng.IntN(2) == 0 {
		defer poison.Switch()()
	}
	slow := k.rng.IntN(40)
	defer testwire.Away(func(b []byte) error { // the frames of one session overtake each other there
		if slow > 0 {
			time.Sleep(time.Duration(len(b)%slow) * time.Millisecond)
		}
		return nil
	})()
	opts := []memnet.Option{memnet.Buffer(1 << (10 + k.rng.IntN(7)))}
	if k.rng.IntN(2) == 0 {
		opts = append(opts, memnet.Latency(time.Duration(k.rng.IntN(50))*time.Millisecond))
	}
	k.w = newWorld(t, opts...)
	k.cmds = make(map[CallCmd]int)
	k.hooks = &ledger{rng: rand.New(rand.NewPCG(k.rng.Uint64(), 1)), entered: map[*session]int{}, left: map[*session]int{}}
	for i := range k.peers {
		k.peers[i] = k.w.peer(func(cfg *PeerConfig) {
			cfg.RedialTimes = int32(k.rng.IntN(4)) - 1
			cfg.WriteBound = 1 << (12 + k.rng.IntN(8))
			cfg.WriteTimeout = time.Duration(1+k.rng.IntN(5)) * time.Second
			cfg.CloseTimeout = time.Duration(k.rng.IntN(3000)) * time.Millisecond
			cfg.HandshakeTimeout, cfg.RedialWait = 2*time.Second, 3*time.Second
			cfg.MaxHandlers = 1 + k.rng.IntN(30)
			cfg.StreamWindow = 1 << k.rng.IntN(16)
			if k.rng.IntN(3) == 0 {
				cfg.DefaultContextAge = time.Duration(k.rng.IntN(2000)) * time.Millisecond
			}
			if k.rng.IntN(3) == 0 {
				cfg.DefaultCallTimeout = time.Duration(1+k.rng.IntN(2000)) * time.Millisecond
			}
		}, k.hooks)
		k.routes(k.peers[i])
		k.routeStreams(k.peers[i])
		k.addrs[i] = k.w.listen(k.peers[i])
	}
	k.dial(0)
	for range 20 + k.rng.IntN(60) {
		k.step()
		if k.rng.IntN(3) == 0 {
			pass(time.Duration(k.rng.IntN(300)) * time.Millisecond)
			k.checkHubs()
		}
	}
	k.finish(t)
}

// routes adds handlers that block, that panic, and that call back.
func (k *walk) routes(p *peer) {
	HandleCall(p, "/wait", func(c CallCtx, arg *string) (string, error) {
		ctx := c.Context()
		k.mu.Lock()
		k.contexts = append(k.contexts, ctx)
		k.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(len(*arg)) * time.Millisecond):
		}
		return *arg, nil
	})
	HandleCall(p, "/panic", func(CallCtx, *string) (string, error) { panic("on purpose") })
	HandleCall(p, "/queue", func(_ CallCtx, arg *string) (string, error) { return *arg, nil }, Ordered())
	HandleCall(p, "/back", func(c CallCtx, arg *string) (string, error) {
		return Invoke[string](c.Context(), c.Session(), "/echo", *arg)
	})
	HandleCall(p, "/close", func(c CallCtx, arg *string) (string, error) {
		return *arg, c.Session().(Session).Close()
	})
}

var modelMethods = []string{"/echo", "/echo", "/wait", "/wait", "/panic", "/queue", "/back", "/back", "/nowhere", "/block"}

// checkHubs checks the sessions in the hubs while nothing runs.
func (k *walk) checkHubs() {
	for _, p := range k.peers {
		for _, s := range p.env.hub.all() {
			if st := s.getState(); st != ready && st != redialing && st != moving {
				k.wrong("the hub has session %s in state %v", s.ID(), st)
			}
			if got := p.env.hub.get(s.ID()); got != s {
				k.wrong("the id %s of a session leads to another", s.ID())
			}
		}
	}
}

// log notes a step, for the trace of a failing walk.
func (k *walk) log(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.trace = append(k.trace, fmt.Sprintf(format, args...))
}

func (k *walk) wrong(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.broken = append(k.broken, fmt.Sprintf(format, args...))
}

// any returns a session of either side, or nil.
func (k *walk) any() *session {
	var all []*session
	for _, p := range k.peers {
		all = append(all, p.env.hub.all()...)
	}
	k.mu.Lock()
	all = append(all, k.sessions...) // also those that have ended
	k.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	return all[k.rng.IntN(len(all))]
}

// step does one random operation, on another goroutine if it may take time.
func (k *walk) step() {
	s := k.any()
	if s == nil {
		k.dial(k.rng.IntN(2))
		return
	}
	method := modelMethods[k.rng.IntN(len(modelMethods))]
	if k.rng.IntN(40) == 0 {
		method = "/close"
	}
	arg := string(make([]byte, 1<<k.rng.IntN(12)+k.rng.IntN(100)))
	if k.rng.IntN(10) == 0 {
		arg = string(make([]byte, 70_000))
	}
	ctx, set := k.context()
	if k.rng.IntN(3) == 0 {
		set = append(set, far())
	}
	side := k.rng.IntN(2)
	switch n := k.rng.IntN(100); {
	case n < 8:
		k.dial(side)
	case n < 34:
		k.log("call %s %d bytes on %s", method, len(arg), s.ID())
		k.ops.Go(func() { k.check(s.Call(method, arg, new(string), set...)) })
	case n < 52:
		k.log("async %s %d bytes on %s", method, len(arg), s.ID())
		k.ops.Go(func() { k.async(s, method, arg, set) })
	case n < 62:
		k.log("push %d bytes on %s", len(arg), s.ID())
		k.ops.Go(func() { s.Push("/note", arg, set...) })
	case n < 65:
		k.log("close %s", s.ID())
		k.ops.Go(func() { s.Close() })
	case n < 68:
		k.log("drain %s", s.ID())
		k.ops.Go(func() { s.Drain(ctx) })
	case n < 72:
		id := string(rune('a' + k.rng.IntN(4)))
		k.log("set id %s of %s", id, s.ID())
		s.SetID(id)
	case n < 76:
		k.log("cut %s", s.ID())
		mem(s).Cut()
	case n < 78:
		k.log("cut %s within a frame", s.ID())
		mem(s).CutAfter(k.rng.IntN(200))
	case n < 80:
		k.log("half close %s", s.ID())
		mem(s).CloseWrite()
	case n < 83:
		k.log("freeze %s", s.ID())
		c := mem(s)
		c.Freeze()
		time.AfterFunc(time.Duration(k.rng.IntN(8000))*time.Millisecond, c.Thaw)
	case n < 85:
		k.log("corrupt %s", s.ID())
		k.corrupted.Store(true)
		mem(s).Corrupt(k.rng.IntN(300))
	case n < 87:
		times := k.rng.IntN(5) - 1
		k.log("refuse %s %d times", k.addrs[side], times)
		k.w.net.Refuse(k.addrs[side], times)
	case n < 89:
		d := time.Duration(k.rng.IntN(500)) * time.Millisecond
		k.log("age %v of %s", d, s.ID())
		s.SetSessionAge(d)
	case n < 91:
		k.hooks.misbehave(k.rng.IntN(3))
	case n < 94:
		k.log("stream on %s", s.ID())
		k.stream(s, set)
	case n < 95:
		k.log("peer %d closes", side)
		k.ops.Go(func() { k.peers[side].Close() })
	case n < 97 && s.plan == nil:
		to := &walkTaker{answer: k.rng.IntN(5), after: time.Duration(k.rng.IntN(50)) * time.Millisecond}
		hold := time.Duration(k.rng.IntN(300)) * time.Millisecond
		k.log("move %s: answer %d after %v, hold %v", s.ID(), to.answer, to.after, hold)
		k.ops.Go(func() { k.move(s, to, hold) })
	default:
		pass(time.Duration(k.rng.IntN(2000)) * time.Millisecond)
	}
}

// walkTaker is a new process that does what it should, or not.
type walkTaker struct {
	answer int
	after  time.Duration
	taken  bool
}

func (w *walkTaker) Offer(_ context.Context, head, _ []byte, _ net.Conn, ready func() bool) error {
	if _, err := parseRecord(head); err != nil {
		return fmt.Errorf("the record is wrong: %w", err)
	}
	time.Sleep(w.after)
	switch w.answer {
	case 0:
		return inherit.ErrRefused
	case 1:
		return errors.New("the line has ended")
	}
	if !ready() {
		return inherit.ErrNotReady
	}
	if w.answer == 2 {
		return errors.New("the line has ended before the last word")
	}
	w.taken = true
	return nil
}

// move tries to hand a session over. It must have ended then, if it was, and else be what it
// was, or have ended for a reason of its own.
func (k *walk) move(s *session, to *walkTaker, hold time.Duration) {
	err := s.tryMove(context.Background(), to, hold)
	st, reason := s.getState(), s.CloseReason()
	if handed := errors.Is(reason, ErrHandedOver); handed != (err == nil && to.taken) || handed && st != closed {
		k.wrong("the move of session %s returned %v: it is %v because of %v", s.ID(), err, st, reason)
	}
	if err != nil && strings.Contains(err.Error(), "record is wrong") {
		k.wrong("the move of session %s: %v", s.ID(), err)
	}
}

// context returns a context that may end soon, and the settings with it.
func (k *walk) context() (context.Context, []MessageSetting) { return contextOf(k.rng) }

func contextOf(rng *rand.Rand) (context.Context, []MessageSetting) {
	d := time.Duration(rng.IntN(1500)) * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	switch rng.IntN(4) {
	case 0:
		cancel()
		return context.Background(), nil
	case 1:
		cancel()
		ctx, cancel = context.WithTimeout(context.Background(), d)
		time.AfterFunc(d, cancel)
	case 2:
		time.AfterFunc(d, cancel)
	default:
		time.AfterFunc(10*time.Second, cancel)
	}
	return ctx, []MessageSetting{WithContext(ctx)}
}

func (k *walk) dial(side int) {
	k.log("peer %d dials", side)
	k.ops.Go(func() {
		s, r := k.peers[side].Dial(k.addrs[1-side])
		if (s == nil) != (r != nil) {
			k.wrong("Dial = %v, %s", s, r)
		}
		if s != nil {
			k.mu.Lock()
			k.sessions = append(k.sessions, s.(*session))
			k.mu.Unlock()
		}
	})
}

// codes are the error codes that a call may end with.
var codes = map[int32]bool{0: true, CodeConnClosed: true, CodeHandleTimeout: true, CodeCanceled: true, CodeBusy: true,
	CodeNotFound: true, CodeInternalServerError: true, CodeUnknownError: true, CodeBadMessage: true}

// check checks a call that has ended.
func (k *walk) check(cmd CallCmd) {
	v, r := cmd.Reply()
	code := int32(0)
	if r != nil {
		code = r.Code
	}
	if !codes[code] {
		k.wrong("call %s ended with %s", cmd.Output().ServiceMethod(), r)
	}
	if r != nil && code != CodeBadMessage && *v.(*string) != "" {
		k.wrong("call %s ended with %s and touched the result", cmd.Output().ServiceMethod(), r)
	}
}

func (k *walk) async(s *session, method, arg string, set []MessageSetting) {
	ch := make(chan CallCmd, 2)
	cmd := s.AsyncCall(method, arg, new(string), ch, set...)
	k.mu.Lock()
	k.cmds[cmd] = 0
	k.mu.Unlock()
	<-cmd.Done()
	k.check(cmd)
	time.Sleep(time.Second) // a second delivery would come now
	n := 0
	for len(ch) > 0 {
		if got := <-ch; got != cmd {
			k.wrong("the channel gave another call")
		}
		n++
	}
	k.mu.Lock()
	k.cmds[cmd] += n
	k.mu.Unlock()
}

// finish lets everything end, and checks what must be true then.
func (k *walk) finish(t *testing.T) {
	k.w.release()
	for i, p := range k.peers {
		k.w.net.Refuse(k.addrs[i], 0)
		k.ops.Go(func() { p.Close() })
	}
	done := make(chan struct{})
	go func() { k.ops.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Minute):
		k.wrong("something has not ended after five minutes")
		t.Errorf("broken: %q\ntrace: %q", k.broken, k.trace)
		panic("stuck; the stacks follow") // else the bubble cannot end
	}
	pass(time.Minute)
	k.mu.Lock()
	defer k.mu.Unlock()
	for cmd, n := range k.cmds {
		if n != 1 {
			k.broken = append(k.broken, fmt.Sprintf("an AsyncCall of %s was delivered %d times", cmd.Output().ServiceMethod(), n))
		}
	}
	for _, ctx := range k.contexts {
		if ctx.Err() == nil {
			k.broken = append(k.broken, "a handler's context has not ended")
		}
	}
	k.broken = append(k.broken, k.hooks.verdict()...)
	for _, p := range k.peers {
		if n := p.CountSession(); n != 0 {
			k.broken = append(k.broken, fmt.Sprintf("the hub still has %d sessions", n))
		}
	}
	for s := range k.hooks.entered {
		k.broken = append(k.broken, remains(s)...)
	}
	if n := k.w.net.Conns(); n != 0 {
		k.broken = append(k.broken, fmt.Sprintf("%d ends of connections are open", n))
	}
	if len(k.broken) > 0 {
		t.Errorf("broken: %q\ntrace: %q", k.broken, k.trace)
	}
}

// remains lists what a session that has ended has left behind.
func remains(s *session) (all []string) {
	add := func(bad bool, what string, args ...any) {
		if bad {
			all = append(all, fmt.Sprintf("session %s: ", s.ID())+fmt.Sprintf(what, args...))
		}
	}
	add(s.getState() != closed, "state %v", s.getState())
	if l := s.currentLink(); l != nil {
		for _, what := range leftOfStreams(l) {
			add(true, "%s", what)
		}
		add(l.sock.Ahead() != 0, "%d frames wait for their filters", l.sock.Ahead())
	}
	add(s.CloseReason() == nil || !isClosed(s.CloseNotify()) || s.Health(), "it reports that it is alive")
	add(s.pending.Len() != 0, "%d calls pending", s.pending.Len())
	add(s.work.running() != 0, "%d handlers running", s.work.running())
	add(len(s.redialQueue) != 0 || s.redialBytes != 0, "%d waiting, %d bytes", len(s.redialQueue), s.redialBytes)
	s.link.mu.Lock()
	add(s.link.calls.first != nil, "a handler is still listed")
	add(s.link.calls.bySeq != nil, "numbers of handlers are still kept")
	s.link.mu.Unlock()
	return all
}
