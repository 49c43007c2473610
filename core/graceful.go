package tp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"github.com/teleport-go/teleport/core/internal/inherit"
)

// defaultShutdownTimeout is the timeout unless SetShutdown sets another. There is no minimum.
const defaultShutdownTimeout = 5 * time.Second

// cutOffTime is how long peers may take to cut off their sessions after the timeout.
const cutOffTime = time.Second

// GraceSignal waits for signals, and for the end of the process:
//
//	SIGINT, SIGTERM  Shutdown
//	SIGUSR2          Reboot; if that fails, GraceSignal waits on
//
// Where there are no such signals (Windows), os.Interrupt is a Shutdown. While
// the process is shutting down the signals have their usual effect again, so a
// second Ctrl-C ends it at once. GraceSignal returns only if the process does
// not end: after a Shutdown that another goroutine has called.
func GraceSignal() { graceful.signals(notifySignals()) }

func notifySignals() (c chan os.Signal, stop func()) {
	c = make(chan os.Signal, 4)
	signal.Notify(c, slices.Concat(shutdownSignals, rebootSignals)...)
	return c, func() { signal.Stop(c) }
}

// SetShutdown sets what Shutdown and Reboot do, for all calls from now on.
//
// timeout is how long the peers may take to finish pending calls and handlers; then
// they cut them off. Negative means no limit, 0 the default of 5 seconds; there is no
// minimum. firstSweep is called before the peers close, within the same time;
// beforeExiting is called after, with as much time again. Each may be nil. Their
// errors are logged, and do not stop the shutdown.
func SetShutdown(timeout time.Duration, firstSweep, beforeExiting func() error) {
	graceful.set(timeout, firstSweep, beforeExiting)
}

// Shutdown closes all peers of the process and ends it with exit code 0: it
// calls firstSweep, closes the peers in parallel, and calls beforeExiting. The
// timeout replaces that of SetShutdown, with the same meaning. Shutdown does not
// return; a second call waits for the first.
func Shutdown(timeout ...time.Duration) { graceful.shutdown(timeout) }

// Reboot starts this program again, with the same arguments, environment and
// working directory, hands it the listening sockets and the established sessions, and then
// shuts this process down as Shutdown does. So no client is refused meanwhile, and those
// whose sessions move do not notice: accepted ones of tcp, unix and ws without TLS, and of
// networks whose connections are a [HandOverConn], if nothing
// runs on them in half of the time, if their protocol is a [socket.Carrier], if all plugins
// with a PostAccept are a [HandOverPlugin], and if nothing is in their Swap but what
// PeerConfig.CarrySwap saves. The others are drained; the farewell gives each peer its own
// time to come back. In this process a session that has moved ends with [ErrHandedOver].
//
// The new process listens on the addresses it is configured with; for an address of this
// process it gets the same socket, and the same port for port 0.
//
// It must listen on all these addresses within the timeout. If it is
// configured with fewer, it is ready once it has listened on some, and for a second
// on no further one. If it ends before, or takes longer, it is killed, an ERROR is
// logged, and Reboot returns: this process goes on serving, and firstSweep is not
// called. So it is if the new process ends while sessions move to it; those that it has are
// lost then. A Reboot of a process to which sessions still move waits for them first, for as
// long again at most.
//
// The sockets of tcp and unix networks can be handed over, and those of other
// networks whose listener wraps one and has a method Unwrap() net.Listener. A port of
// another network, such as quic, stays with this process until it has ended: then the
// Listen of the new one returns, and clients that redial find it. So a program that listens
// on both listens on tcp first.
// On Windows Reboot logs that it is not supported and does nothing else.
func Reboot(timeout ...time.Duration) { graceful.reboot(timeout) }

// taker is the new process, an *inherit.Line.
type taker interface {
	Offer(ctx context.Context, head, rest []byte, c net.Conn, ready func() bool) error
}

// gracefulPeer is what a shutdown needs of a peer.
type gracefulPeer interface {
	// shutdown stops accepting, and drains and closes the sessions. When ctx is
	// done it cuts off what is left and returns soon.
	shutdown(ctx context.Context) error
	// inheritable returns the listeners that now accept.
	inheritable() []net.Listener
	// lines returns the peer's logger.
	lines() logger
}

func addGraceful(p gracefulPeer)    { graceful.add(p) }
func removeGraceful(p gracefulPeer) { graceful.remove(p) }

// waitGraceful returns at once, unless the process is shutting down: then it
// waits for the end. A function that returns because a listener was closed calls it
// first: it may be the last line of main, and the process would end before the
// sessions are drained.
func waitGraceful() { graceful.wait() }

var graceful = newGrace()

// grace is the shutdown of a process.
type grace struct {
	handOver func(context.Context, []*inherit.Listener, inherit.Adopter) (*inherit.Child, error)
	adopted  func() <-chan struct{}
	stopping chan struct{} // closed when a shutdown begins
	finished chan struct{} // closed when it is over; observable in tests only

	mu            sync.Mutex // guards the fields below
	peers         []gracefulPeer
	timeout       time.Duration
	firstSweep    func() error
	beforeExiting func() error
	rebooting     *rebooting // until the new process is ready, or has failed
}

type rebooting struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
}

func newGrace() *grace {
	return &grace{
		handOver: inherit.HandOver,
		adopted:  inherit.Adopted,
		stopping: make(chan struct{}),
		finished: make(chan struct{}),
		timeout:  defaultShutdownTimeout,
	}
}

func (g *grace) set(timeout time.Duration, firstSweep, beforeExiting func() error) {
	if timeout == 0 {
		timeout = defaultShutdownTimeout
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.timeout, g.firstSweep, g.beforeExiting = timeout, firstSweep, beforeExiting
}

func (g *grace) add(p gracefulPeer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Contains(g.peers, p) {
		g.peers = append(g.peers, p)
	}
}

func (g *grace) remove(p gracefulPeer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.peers = slices.DeleteFunc(g.peers, func(q gracefulPeer) bool { return q == p })
}

// log returns the logger for lines of the process: that of the oldest open peer.
func (g *grace) log() logger {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.peers) == 0 {
		return std
	}
	return g.peers[0].lines()
}

func (g *grace) wait() {
	select {
	case <-g.stopping:
		<-g.finished
	default:
	}
}

// bound returns a context with the timeout that the caller has given, else with the
// one that SetShutdown has set.
func (g *grace) bound(ctx context.Context, timeout []time.Duration) (context.Context, context.CancelFunc) {
	g.mu.Lock()
	d := g.timeout
	g.mu.Unlock()
	if len(timeout) > 0 && timeout[0] != 0 {
		d = timeout[0]
	}
	return withTimeout(ctx, d)
}

// withTimeout is context.WithTimeout, without a limit if d < 0.
func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d < 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("not done within %v", d))
}

func (g *grace) signals(c <-chan os.Signal, stop func()) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for {
		select {
		case <-g.stopping:
			stop()
			<-g.finished
			return
		case s := <-c:
			g.log().Noticef("tp: got signal: %v", s)
			if slices.Contains(rebootSignals, s) {
				wg.Go(func() { g.reboot(nil) }) // a goroutine: a signal to shut down must end the reboot
				continue
			}
			stop()
			g.shutdown(nil)
			return
		}
	}
}

// begin reports whether the caller is the first to shut down, and is to do it. The
// caller holds g.mu.
func (g *grace) begin() bool {
	select {
	case <-g.stopping:
		return false
	default:
		close(g.stopping)
		return true
	}
}

var errShutdown = errors.New("the process is shutting down")

func (g *grace) shutdown(timeout []time.Duration) {
	g.mu.Lock()
	first, r := g.begin(), g.rebooting
	g.mu.Unlock()
	if !first {
		<-g.finished
		return
	}
	if r != nil {
		r.cancel(errShutdown)
		<-r.done
	}
	log := g.log()
	log.Noticef("tp: shutting down")
	g.finish(log, timeout)
}

func (g *grace) reboot(timeout []time.Duration) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	r := &rebooting{cancel, make(chan struct{})}
	log := g.log()
	if err := g.beginReboot(r); err != nil {
		log.Warnf("tp: reboot: %v", err)
		return
	}
	log.Noticef("tp: rebooting")
	child, b, err := g.replace(ctx, log, timeout)
	if err == nil {
		b.replaced()
		g.spreadRedials()
	}

	g.mu.Lock()
	g.rebooting = nil
	mine := err == nil && g.begin()
	g.mu.Unlock()
	close(r.done)
	if err != nil {
		log.Errorf("tp: reboot: %v; this process goes on", err)
		return
	}
	log.Noticef("tp: process %d has taken over", child.Pid)
	if mine {
		g.finish(log, timeout)
	}
}

// replace starts the new process and hands it the sessions. b takes connections that it hands
// back.
func (g *grace) replace(ctx context.Context, log logger, timeout []time.Duration) (child *inherit.Child, b backTaker, err error) {
	if err := g.awaitAdopted(ctx, log, timeout); err != nil {
		return nil, nil, err
	}
	ctx, cancel := g.bound(ctx, timeout)
	defer cancel()
	b = g.backTaker()
	child, err = g.handOver(ctx, g.listeners(), b.adopt)
	if err == nil && child.Line != nil {
		err = g.moveSessions(ctx, child)
	}
	return child, b, err
}

// awaitAdopted waits until the process that this one has replaced has handed over its sessions:
// they would find no peer here any more, and that process would take the end of this one for a
// failure, and go on.
func (g *grace) awaitAdopted(ctx context.Context, log logger, timeout []time.Duration) error {
	ctx, cancel := g.bound(ctx, timeout)
	defer cancel()
	done := g.adopted()
	if done == nil || isFired(done) {
		return nil
	}
	log.Noticef("tp: reboot: waiting until the process before has handed over its sessions")
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the process before still hands over its sessions: %w", context.Cause(ctx))
	}
}

// moveSessions hands the sessions of all peers to the new process, within half of the time
// of ctx. The error is that the new process has ended.
func (g *grace) moveSessions(ctx context.Context, child *inherit.Child) error {
	child.Pause()
	defer child.Line.Close()
	most := longestMove
	if at, ok := ctx.Deadline(); ok {
		most = time.Until(at) / 2
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	g.mu.Lock()
	peers := slices.Clone(g.peers)
	g.mu.Unlock()
	var wg sync.WaitGroup
	for _, q := range peers {
		p, ok := q.(interface {
			moveSessions(context.Context, taker) (moved int, stayed map[string]int)
		})
		if !ok {
			continue
		}
		log := q.lines()
		wg.Go(func() {
			moved, stayed := p.moveSessions(ctx, child.Line)
			if all := moved + logStayed(log, stayed); all > 0 {
				log.Noticef("tp: reboot: %d of %d sessions have moved to process %d", moved, all, child.Pid)
			}
		})
	}
	wg.Wait()
	if end := child.Exited(); end != "" {
		child.Recover()
		return fmt.Errorf("process %d has ended while sessions moved to it (%s)", child.Pid, end)
	}
	return nil
}

// spreadRedials lets the sessions that have not moved come back one after the other.
func (g *grace) spreadRedials() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, q := range g.peers {
		if p, ok := q.(interface{ spreadRedials() }); ok {
			p.spreadRedials()
		}
	}
}

// longestMove is how long sessions may take to move at a Reboot without a limit.
const longestMove = 10 * time.Second

// beginReboot makes r the only reboot of the process. It returns an error if a shutdown or
// another reboot has begun.
func (g *grace) beginReboot(r *rebooting) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.stopping:
		return errShutdown
	default:
	}
	if g.rebooting != nil {
		return errors.New("the process is rebooting already")
	}
	g.rebooting = r
	return nil
}

// listeners returns the listeners to hand over.
func (g *grace) listeners() (listeners []*inherit.Listener) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.peers {
		for _, lis := range p.inheritable() {
			if l, ok := unwrapListener(lis); ok {
				listeners = append(listeners, l)
				continue
			}
			p.lines().Warnf("tp: reboot: the listener on %s %s cannot be handed over: the new process gets the port when this one has ended", lis.Addr().Network(), lis.Addr())
		}
	}
	return listeners
}

// finish closes the peers, calls the functions of SetShutdown and ends the process.
func (g *grace) finish(log logger, timeout []time.Duration) {
	defer close(g.finished)
	g.mu.Lock()
	peers, firstSweep, beforeExiting := slices.Clone(g.peers), g.firstSweep, g.beforeExiting
	g.mu.Unlock()

	ctx, cancel := g.bound(context.Background(), timeout)
	defer cancel()
	report(log, "first sweep", bounded(ctx, firstSweep))
	report(log, "close peers", shutdownPeers(ctx, peers))

	last, cancel := g.bound(context.Background(), timeout)
	defer cancel()
	report(log, "before exiting", bounded(last, beforeExiting))
	log.Noticef("tp: process %d ends", os.Getpid())
	_ = FlushLogger() // the process ends either way
	exit(0)
}

func report(log logger, step string, err error) {
	if err != nil {
		log.Errorf("tp: shutdown: %s: %v", step, err)
	}
}

// shutdownPeers shuts the peers down in parallel. When ctx ends it gives them another
// cutOffTime, and then returns without the peers that are not done.
func shutdownPeers(ctx context.Context, peers []gracefulPeer) error {
	late, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(cutOffTime, func() { cancel(context.Cause(ctx)) })
	})
	defer stop()
	return bounded(late, func() error {
		errs := make([]error, len(peers))
		var wg sync.WaitGroup
		for i, p := range peers {
			wg.Go(func() { errs[i] = p.shutdown(ctx) })
		}
		wg.Wait()
		return errors.Join(errs...)
	})
}

// bounded calls f, unless it is nil. When ctx ends it returns and leaves f running:
// the process is about to end. A panic becomes an error, so that the other steps of
// the shutdown run.
func bounded(ctx context.Context, f func() error) error {
	if f == nil {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		err := errors.New("runtime.Goexit was called")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
			done <- err
		}()
		err = f()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// backTaker takes connections that the new process hands back.
func (g *grace) backTaker() (b backTaker) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, q := range g.peers {
		if p, ok := q.(interface{ handOverListeners() []backListener }); ok {
			b = append(b, p.handOverListeners()...)
		}
	}
	return b
}
