// Package health is a plugin with two routes for load balancers and supervisors:
// /health/live answers as long as the process handles calls, /health/ready as long
// as it should get more of them.
//
// A peer is ready if it is not draining and all its checks succeed. What is ready
// answers with a [Report], as JSON or text; what is not, with the error 503 and the
// names of the failing checks. Over package httproto these are the statuses 200 and
// 503 of GET /health/ready.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
)

// What [Report.Status] may be.
const (
	OK       = "ok"
	Failing  = "failing"  // at least one check
	Draining = "draining" // see Drain
)

const (
	defaultPrefix  = "/health"
	defaultTimeout = time.Second
	defaultMaxAge  = time.Second
)

// Report is the answer of the readiness route.
type Report struct {
	// Status is OK, Failing or Draining.
	Status string `json:"status"`
	// Checks is OK or Failing for each check by name. It is nil while draining.
	Checks map[string]string `json:"checks,omitempty"`
	// Errors are those of the failing checks by name. They are logged, and not sent:
	// anybody may call the route.
	Errors map[string]error `json:"-"`
}

// Check returns nil if what it looks at works. Its context ends when the time for
// it is over.
type Check func(context.Context) error

// Option changes what New makes.
type Option func(*Health)

// Prefix sets the path before /live and /ready; the default is "/health".
func Prefix(path string) Option {
	return func(h *Health) { h.prefix = "/" + strings.Trim(path, "/") }
}

// Timeout sets how long the checks may take; one that takes longer has failed. The
// default, and d not above 0, is one second.
func Timeout(d time.Duration) Option { return func(h *Health) { h.timeout = d } }

// MaxAge sets how old the result of the checks may be before they run again,
// however often the route is called. The default is one second; with d not above 0
// they run for each call, those made meanwhile excepted.
func MaxAge(d time.Duration) Option { return func(h *Health) { h.maxAge = d } }

// Health is the plugin, for any number of peers. Its methods may be called at any
// time, concurrently. New makes one.
type Health struct {
	prefix          string
	timeout, maxAge time.Duration

	mu       sync.Mutex // guards what follows
	draining bool
	checks   map[string]*check
	changed  bool   // since last was begun
	last     *round // of the checks, perhaps still under way
	reported string // the status that was logged last
}

type check struct {
	f       Check
	running bool // guarded by Health.mu
}

// round is one run of all checks.
type round struct {
	done   chan struct{} // closed when report and at are set
	report Report
	at     time.Time
}

var _ tp.PostNewPeerPlugin = (*Health)(nil)

// New returns the plugin, without checks.
func New(opts ...Option) *Health {
	h := &Health{prefix: defaultPrefix, maxAge: defaultMaxAge, checks: make(map[string]*check), reported: OK}
	for _, set := range opts {
		set(h)
	}
	if h.timeout <= 0 {
		h.timeout = defaultTimeout
	}
	return h
}

// Name returns "health".
func (*Health) Name() string { return "health" }

// PostNewPeer registers the routes.
func (h *Health) PostNewPeer(peer tp.EarlyPeer) error {
	prefix := strings.TrimSuffix(h.prefix, "/")
	tp.HandleCall(peer, prefix+"/live", live)
	tp.HandleCall(peer, prefix+"/ready", h.ready)
	return nil
}

// SetCheck adds a check to those of which readiness is made, or replaces the one of
// that name; nil removes it. Checks run concurrently. One that panics has failed;
// one that does not return has failed until it does, and is not run again before.
func (h *Health) SetCheck(name string, f Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changed = true
	if f == nil {
		delete(h.checks, name)
		return
	}
	h.checks[name] = &check{f: f}
}

// Drain makes the readiness route say no from now on.
func (h *Health) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// DrainFor returns a function for tp.SetShutdown: it calls Drain, and waits for d,
// the time that load balancers take to notice. Then the peers close.
func (h *Health) DrainFor(d time.Duration) (firstSweep func() error) {
	return func() error {
		h.Drain()
		time.Sleep(d)
		return nil
	}
}

// Ready reports whether more calls should come. It runs the checks unless their
// result is recent enough, and waits for them until ctx ends, which is its error.
func (h *Health) Ready(ctx context.Context) (Report, error) {
	h.mu.Lock()
	if h.draining {
		h.mu.Unlock()
		return Report{Status: Draining}, nil
	}
	r := h.last
	if r == nil || h.changed || r.old(h.maxAge) {
		r = &round{done: make(chan struct{})}
		go h.run(r, h.last)
		h.last, h.changed = r, false
	}
	h.mu.Unlock()
	select {
	case <-r.done:
		return r.report.clone(), nil // the round's is shared
	case <-ctx.Done():
		return Report{}, context.Cause(ctx)
	}
}

// old reports whether the round is over, and that long ago.
func (r *round) old(maxAge time.Duration) bool {
	select {
	case <-r.done:
		return time.Since(r.at) >= maxAge
	default:
		return false
	}
}

var errEnded = errors.New("the check ended its goroutine")

// run runs the checks, when those of the round before are over, and waits until all
// have returned or the time is over.
func (h *Health) run(r, before *round) {
	if before != nil {
		<-before.done
	}
	late := fmt.Errorf("not done within %v", h.timeout)
	ctx, cancel := context.WithTimeoutCause(context.Background(), h.timeout, late)
	defer cancel()
	type result struct {
		name string
		err  error
	}
	h.mu.Lock()
	errs := make(map[string]error, len(h.checks))
	results := make(chan result, len(h.checks)) // none is left waiting to send
	pending := 0
	for name, c := range h.checks {
		if c.running {
			errs[name] = fmt.Errorf("not returned from an earlier run; %w", late)
			continue
		}
		c.running, errs[name] = true, late
		pending++
		go func() {
			err := errEnded // unless f returns
			defer func() {
				if v := recover(); v != nil {
					err = fmt.Errorf("panicked: %v", v)
				}
				h.mu.Lock()
				c.running = false
				h.mu.Unlock()
				results <- result{name, err}
			}()
			err = c.f(ctx)
		}()
	}
	h.mu.Unlock()
	for pending > 0 && ctx.Err() == nil {
		select {
		case got := <-results:
			errs[got.name] = got.err
			pending--
		case <-ctx.Done():
		}
	}
	r.report = reportOf(errs)
	r.at = time.Now()
	close(r.done)
}

func (r Report) clone() Report {
	r.Checks, r.Errors = maps.Clone(r.Checks), maps.Clone(r.Errors)
	return r
}

func reportOf(errs map[string]error) Report {
	r := Report{Status: OK}
	if len(errs) > 0 {
		r.Checks = make(map[string]string, len(errs))
	}
	for name, err := range errs {
		r.Checks[name] = OK
		if err == nil {
			continue
		}
		r.Status, r.Checks[name] = Failing, Failing
		if r.Errors == nil {
			r.Errors = make(map[string]error)
		}
		r.Errors[name] = err
	}
	return r
}

func live(ctx tp.CallCtx, _ *[]byte) ([]byte, error) { return encode(ctx, Report{Status: OK}) }

func (h *Health) ready(ctx tp.CallCtx, _ *[]byte) ([]byte, error) {
	report, err := h.Ready(ctx.Context())
	if err != nil {
		return nil, err
	}
	h.log(ctx, report)
	if report.Status != OK {
		reason := report.Status
		if names := slices.Sorted(maps.Keys(report.Errors)); len(names) > 0 {
			reason += ": " + strings.Join(names, ", ")
		}
		return nil, tp.NewRerror(tp.CodeBusy, "Not Ready", reason).Err()
	}
	return encode(ctx, report)
}

// log logs a status that is not that of the report before.
func (h *Health) log(log tp.Logger, report Report) {
	h.mu.Lock()
	changed := h.reported != report.Status
	h.reported = report.Status
	h.mu.Unlock()
	switch {
	case !changed:
	case report.Status == Failing:
		var failing []string
		for _, name := range slices.Sorted(maps.Keys(report.Errors)) {
			failing = append(failing, fmt.Sprintf("check %q: %v", name, report.Errors[name]))
		}
		log.Warnf("health: not ready: %s", strings.Join(failing, "; "))
	case report.Status == Draining:
		log.Infof("health: not ready: draining")
	default:
		log.Infof("health: ready")
	}
}

// encode writes the report as text if the call asks for that, else as JSON.
func encode(ctx tp.CallCtx, report Report) ([]byte, error) {
	if ctx.ReplyBodyCodec() != codec.Plain {
		ctx.SetBodyCodec(codec.JSON)
		return json.Marshal(report)
	}
	text := []byte(report.Status + "\n")
	for _, name := range slices.Sorted(maps.Keys(report.Checks)) {
		text = fmt.Appendf(text, "%s: %s\n", name, report.Checks[name])
	}
	return text, nil
}
