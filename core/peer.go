package tp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/teleport-go/teleport/core/internal/gate"
	"github.com/teleport-go/teleport/core/internal/inbox"
	"github.com/teleport-go/teleport/core/internal/inherit"
	"github.com/teleport-go/teleport/core/internal/inlining"
	"github.com/teleport-go/teleport/core/internal/poller"
	"github.com/teleport-go/teleport/core/internal/sweep"
	"github.com/teleport-go/teleport/core/internal/throttle"
	"github.com/teleport-go/teleport/core/internal/workers"
)

// peer implements Peer.
type peer struct {
	*group // the root of its routes
	env    *env
	cfg    *PeerConfig // env's
	log    logger

	ctx           context.Context // ends when Close has stopped accepting
	cancel        context.CancelFunc
	listening     context.Context // ends when Close begins
	stopListening context.CancelFunc
	accepting     sync.WaitGroup    // listeners
	tlsErrors     throttle.Throttle // of lines about failed TLS handshakes
	refusals      throttle.Throttle // of lines about connections that PostAccept refused
	redialErrors  throttle.Throttle // limits lines about failed redials

	// How long Close waits for what has connected: to accept it, and until it is ready.
	acceptTime, prepareTime time.Duration

	adjusting sync.Mutex // held by Adjust

	opening sync.Once
	openErr error

	mu        sync.Mutex      // guards what follows
	preparing int             // accepted connections that are not ready yet
	prepared  chan struct{}   // closed when there is none; nil: no goroutine waits for that
	made      bool            // Open has returned the peer
	opened    bool            // Listen, Dial or ServeConn was called
	closing   bool            // nothing is accepted any more
	closed    bool            // no session begins any more
	held      <-chan struct{} // closed at the end of what Close has not waited for; nil: there is nothing
	tls       *tls.Config
	listeners []listener
}

// A listener is an address that the peer listens on.
type listener struct {
	net.Listener
	proto     ProtoFunc
	protocols []string
	again     bool // on the address of another one
}

var _ Peer = (*peer)(nil)

var pidPrinted sync.Once

// Open makes a peer from a copy of cfg and global plugins, which come first, in order.
// It does not listen or dial. It returns an error for an invalid configuration, a nil
// or duplicate plugin, and the error of a PreNewPeer or PostNewPeer hook.
func Open(cfg PeerConfig, globalLeftPlugin ...Plugin) (Peer, error) {
	plugins := newPluginContainer()
	if err := plugins.change(func() error {
		plugins.tree.left = append(plugins.tree.left, globalLeftPlugin...)
		return nil
	}); err != nil {
		return nil, err
	}
	for _, h := range plugins.hooks().preNewPeer {
		if err := plainHook(h, func() error { return h.PreNewPeer(&cfg, plugins) }); err != nil {
			return nil, fmt.Errorf("tp: [PreNewPeerPlugin:%s] %w", h.Name(), err)
		}
	}
	cfg.trusted, cfg.pipe = nil, nil
	network, err := cfg.network()
	if err != nil {
		return nil, err
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	log := newLogger(cfg.Logger)
	if cfg.PrintDetail {
		showDetail()
	}
	if !cfg.Private {
		pidPrinted.Do(func() { log.Printf("The current process PID: %d", os.Getpid()) })
	}
	if warning := checkVersions(); warning != "" {
		log.Warnf("%s", warning)
	}
	p := &peer{log: log, acceptTime: quietTime, prepareTime: prepareTime}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.listening, p.stopListening = context.WithCancel(p.ctx)
	p.env = &env{
		peer: p, cfg: cfg, network: network, log: log, plugins: plugins,
		router: newRouter(cfg.Mapper, log), hub: newHub(),
		sweeper: sweep.New(), memory: inbox.NewMemory(cfg.ReadMemory - cfg.ReadMemory/3),
		guard: guard{log, cfg.HidePanics},
	}
	p.env.live.Store(cfg.live())
	p.env.memory.LimitArrivals(cfg.ReadMemory / 2) // buffers that grow leave more garbage than others
	p.env.workers = workers.New(p.env.sweeper, (*handlerCtx).handle)
	p.env.watchdog.Init(inlining.Always)
	p.env.decoding = gate.New(runtime.GOMAXPROCS(0), decodeLease)
	p.env.pollers = make([]poller.Poller[link, *link], cmp.Or(cfg.Loops, min(runtime.GOMAXPROCS(0), maxPollers)))
	p.cfg = &p.env.cfg
	p.group = &group{router: p.env.router, plugins: plugins}
	p.group.root = p.group
	if !cfg.Private {
		addGraceful(p)
	}
	for _, h := range plugins.hooks().postNewPeer {
		if err := plainHook(h, func() error { return h.PostNewPeer(p) }); err != nil {
			p.Close()
			return nil, fmt.Errorf("tp: [PostNewPeerPlugin:%s] %w", h.Name(), err)
		}
	}
	p.mu.Lock()
	p.made = true
	p.mu.Unlock()
	return p, nil
}

// NewPeer is Open, but panics with the error that Open would return.
func NewPeer(cfg PeerConfig, globalLeftPlugin ...Plugin) Peer {
	p, err := Open(cfg, globalLeftPlugin...)
	if err != nil {
		panic(err)
	}
	return p
}

// open begins every use of the network: it resolves the codec and the protocols that
// imports have registered, and returns the protocol to use.
func (p *peer) open(protoFunc []ProtoFunc) (ProtoFunc, error) {
	p.mu.Lock()
	p.opened = true
	p.mu.Unlock()
	p.opening.Do(func() { p.openErr = p.cfg.resolve() })
	if p.openErr != nil {
		return nil, p.openErr
	}
	for _, pf := range protoFunc {
		if pf != nil {
			return pf, nil
		}
	}
	return p.cfg.protocol()
}

// admit counts a session that starts. It returns false if the peer is closed.
func (p *peer) admit() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.env.sessions.Add(1)
	return true
}

// admitAccepted is admit for a connection that was accepted; donePreparing follows when its
// session is ready, or refused.
func (p *peer) admitAccepted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.env.sessions.Add(1)
	p.preparing++
	return true
}

func (p *peer) donePreparing() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.preparing--; p.preparing == 0 && p.prepared != nil {
		close(p.prepared)
		p.prepared = nil
	}
}

func (p *peer) isClosing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closing
}

// ErrOpened is returned by setters after the first Listen, Dial or ServeConn.
var ErrOpened = errors.New("tp: the peer listens or has dialled already")

func (p *peer) SetTLSConfig(cfg *tls.Config) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opened {
		return fmt.Errorf("set TLS configuration: %w", ErrOpened)
	}
	p.tls = cfg
	return nil
}

func (p *peer) SetTLSConfigFromFile(certFile, keyFile string, insecureSkipVerifyForClient ...bool) error {
	cfg, err := NewTLSConfigFromFile(certFile, keyFile, insecureSkipVerifyForClient...)
	if err != nil {
		return err
	}
	return p.SetTLSConfig(cfg)
}

func (p *peer) TLSConfig() *tls.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tls
}

func (p *peer) Handlers() iter.Seq[*Handler]      { return p.env.router.tables.Load().all }
func (p *peer) PluginContainer() *PluginContainer { return p.env.plugins }
func (p *peer) Router() Router                    { return p.group }

func (p *peer) CountSession() int { return p.env.hub.count() }

func (p *peer) Stats() PeerStats {
	c := &p.env.stats
	return PeerStats{
		RefusedConnections: c.refusedConnections.Load(),
		RefusedCalls:       c.refusedCalls.Load(),
		DroppedPushes:      c.droppedPushes.Load(),
		DroppedMessages:    c.droppedMessages.Load(),
		DroppedReplies:     c.droppedReplies.Load(),
		UnsentReplies:      c.unsentReplies.Load(),
		UnsentPushes:       c.unsentPushes.Load(),
		CanceledCalls:      c.canceledCalls.Load(),
		DroppedData:        c.droppedData.Load(),
		MemoryCloses:       c.memoryCloses.Load(),
		Pauses:             c.pauses.Load(),
		Memory:             p.env.memory.Used(),
	}
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

func (p *peer) GetSession(id string) (Session, bool) {
	if s := p.env.hub.get(id); s != nil {
		return s, true
	}
	return nil, false
}

func (p *peer) RangeSession(f func(Session) bool) {
	for _, s := range p.env.hub.all() {
		if !f(s) {
			return
		}
	}
}

// Close is documented at BasePeer.
func (p *peer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.CloseTimeout)
	defer cancel()
	return p.shutdown(ctx)
}

// shutdown is Close within ctx.
func (p *peer) shutdown(ctx context.Context) error {
	p.mu.Lock()
	if p.closing {
		held := p.held
		p.mu.Unlock()
		return p.heldError(held)
	}
	p.closing = true
	made := p.made
	listeners := slices.Clone(p.listeners)
	p.mu.Unlock()
	removeGraceful(p)
	var errs []error
	if made {
		errs = p.preClose(ctx)
	}
	p.stopListening()
	for _, l := range listeners {
		if in, ok := l.Listener.(*inherit.Listener); !ok || !in.Retire(p.acceptTime, quietLimit) {
			l.Close()
		}
	}
	select { // accepted connections become sessions, and are drained
	case <-waited(&p.accepting):
	case <-ctx.Done(): // a PostListen hook blocks, or is the caller
	}
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.awaitPrepared(ctx)
	live := p.env.hub.close()
	ends := make([]error, len(live))
	p.cancel() // ends dials, redials and handshakes
	pace := drainPace(ctx, len(live))
	begun := time.Now()
	var wg sync.WaitGroup
	for i, s := range live {
		if ahead := time.Duration(i)*pace - time.Since(begun); ahead > maxAhead {
			pause(ctx, ahead)
		}
		wg.Go(func() { ends[i] = s.Drain(ctx) })
	}
	wg.Wait()
	errs = append(append(errs, ends...), p.join(ctx))
	if made {
		errs = append(errs, p.postClose(ctx)...)
	}
	return errors.Join(errs...)
}

// preClose runs the PreClose hooks, within half of the time of ctx.
func (p *peer) preClose(ctx context.Context) []error {
	hooks := p.env.hooks().preClose
	if len(hooks) == 0 {
		return nil
	}
	if at, ok := ctx.Deadline(); ok {
		half, cancel := context.WithTimeout(ctx, time.Until(at)/2)
		defer cancel()
		ctx = half
	}
	return closeHooks(ctx, "PreClosePlugin", hooks, func(h PreClosePlugin) error { return h.PreClose(ctx, p) })
}

// postClose runs the PostClose hooks, within what is left of ctx, but at least a second.
func (p *peer) postClose(ctx context.Context) []error {
	hooks := p.env.hooks().postClose
	if len(hooks) == 0 {
		return nil
	}
	most := p.cfg.CloseTimeout
	if at, ok := ctx.Deadline(); ok {
		most = max(time.Until(at), time.Second)
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	return closeHooks(ctx, "PostClosePlugin", hooks, func(h PostClosePlugin) error { return h.PostClose(ctx, p) })
}

// awaitPrepared waits until all accepted connections are ready: their clients may have
// sent calls already. What takes longer than prepareTime, such as a client that says
// nothing, is cut off.
func (p *peer) awaitPrepared(ctx context.Context) {
	p.mu.Lock()
	if p.preparing == 0 {
		p.mu.Unlock()
		return
	}
	if p.prepared == nil {
		p.prepared = make(chan struct{})
	}
	prepared := p.prepared
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, p.prepareTime)
	defer cancel()
	select {
	case <-prepared:
	case <-ctx.Done():
	}
}

// prepareTime is how long a peer that closes waits for accepted connections to be ready.
const prepareTime = 250 * time.Millisecond

const (
	// slowestDrain is the longest time between the ends of two sessions of a peer that
	// closes: all their clients dial again at once otherwise.
	slowestDrain = 250 * time.Microsecond
	// maxAhead is how far the ends may run ahead: it makes no difference to the clients,
	// and a peer with few sessions closes at once.
	maxAhead = 5 * time.Millisecond
)

// drainPace returns the time between the ends of two sessions of n, within ctx: the
// first half of the time is for them, the second half for the last one's handlers.
func drainPace(ctx context.Context, n int) time.Duration {
	pace := slowestDrain
	if at, ok := ctx.Deadline(); ok && n > 0 {
		pace = min(pace, max(time.Until(at), 0)/time.Duration(2*n))
	}
	return pace
}

// join waits for the peer's goroutines. They end by themselves now, unless a hook of the
// user's hangs; that is not waited for without end.
func (p *peer) join(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		p.env.sessions.Wait()
		p.env.workers.Close()
		p.env.watchdog.Close()
		for i := range p.env.pollers {
			p.env.pollers[i].Close()
		}
		p.env.sweeper.Close()
		close(ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, p.cfg.CloseTimeout) // it may be without end
	defer cancel()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	t := time.NewTimer(2 * lingerTime)
	defer t.Stop()
	select {
	case <-ended:
		return nil
	case <-t.C:
	}
	p.mu.Lock()
	p.held = ended
	p.mu.Unlock()
	return p.heldError(ended)
}

// heldError says what holds up those goroutines; nil if held is nil or closed.
func (p *peer) heldError(held <-chan struct{}) error {
	if held == nil || isFired(held) {
		return nil
	}
	var errs []error
	for _, s := range p.env.hub.unended() {
		errs = append(errs, fmt.Errorf("tp: close: session with %s: %s has not returned", s.partner(), s.holder()))
	}
	if errs == nil {
		errs = append(errs, errors.New("tp: close: the handshake of a connection, a PostReady hook or a goroutine of the peer has not ended"))
	}
	return errors.Join(errs...)
}

// waited returns a channel that is closed when wg is done.
func waited(wg *sync.WaitGroup) <-chan struct{} {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	return done
}

func (p *peer) lines() logger { return p.log }

// inheritable returns the listeners to hand to a restarted process.
func (p *peer) inheritable() []net.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]net.Listener, len(p.listeners))
	for i, l := range p.listeners {
		list[i] = l.Listener
	}
	return list
}
