package outproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// PluginConfig says how a decider is asked. The zero value is what a check of rights
// needs.
type PluginConfig struct {
	// Timeout is how long a question may take, a restart of the guest included. Default
	// 50ms.
	Timeout time.Duration
	// FailOpen allows what the guest has not decided: it has ended, hangs, or its answer
	// cannot be used. The default is to deny it with CodeGuestUnavailable.
	FailOpen bool
}

// decisionTime is the default of PluginConfig.Timeout.
const decisionTime = 50 * time.Millisecond

// The limits of an answer.
const (
	maxChanges = 64      // keys in Set, and in Delete
	maxKey     = 8       // fields in Key
	maxAnswer  = 1 << 20 // bytes
	maxTTL     = 24 * time.Hour
)

// decider is a Decider that runs in a guest.
type decider struct {
	h     *Handle
	name  string
	route string
	hooks []guest.Hook
	cache decisions
}

func newDecider(h *Handle, desc contract.Part) (part, error) {
	if err := contract.CheckRouteName(desc.Name); err != nil {
		return nil, fmt.Errorf("its decider: %w", err)
	}
	var options contract.DecisionOptions
	if err := parseOptions(desc, &options); err != nil {
		return nil, err
	}
	d := &decider{h: h, name: desc.Name, route: contract.DecisionRoute(desc.Name)}
	for _, word := range options.Hooks {
		hook := guest.Hook(word)
		if hook != guest.OnAccept && hook != guest.OnCall && hook != guest.OnPush {
			return nil, fmt.Errorf("its decider %s has the hook %q: there are accept, call and push", desc.Name, word)
		}
		d.hooks = append(d.hooks, hook)
	}
	if len(d.hooks) == 0 {
		return nil, fmt.Errorf("its decider %s has no hooks: it would never be asked", desc.Name)
	}
	return d, nil
}

// prepare asks a question whose answer is not used.
func (d *decider) prepare(ctx context.Context, inst *instance) error {
	q := guest.Question{Hook: d.hooks[0], Session: "self-test", Remote: "127.0.0.1:1"}
	if q.Hook != guest.OnAccept {
		q.Method = "/guest/self-test"
	}
	body, err := json.Marshal(q)
	if err == nil {
		var answer []byte
		if answer, err = inst.ask(ctx, d.route, body); err == nil {
			_, err = parseDecision(answer, q.Hook)
		}
	}
	if err != nil {
		return fmt.Errorf("decider %s: the self-test: %w", d.name, err)
	}
	return nil
}

func (d *decider) register(bool) error { return nil }

func (d *decider) plugin(c PluginConfig) (tp.Plugin, error) {
	orDefault(&c.Timeout, decisionTime)
	p := &deciding{decider: d, PluginConfig: c}
	out := &tp.PluginImpl{PluginName: "outproc decider " + d.name}
	var plugin tp.Plugin = out
	for _, hook := range d.hooks {
		switch hook {
		case guest.OnAccept:
			out.OnPostAccept = p.accept
			plugin = doorkeeper{out}
		case guest.OnCall:
			out.OnPostReadCallHeader = func(ctx tp.ReadCtx) *tp.Rerror { return p.message(guest.OnCall, ctx) }
		case guest.OnPush:
			out.OnPostReadPushHeader = func(ctx tp.ReadCtx) *tp.Rerror { return p.message(guest.OnPush, ctx) }
		}
	}
	return plugin, nil
}

// doorkeeper lets a session that a decider has let in move to the new process at a Reboot:
// that believes the old one, and its own decider is not asked about the connection again.
type doorkeeper struct{ *tp.PluginImpl }

var _ tp.HandOverPlugin = doorkeeper{}

func (doorkeeper) Save(tp.BaseSession) ([]byte, error)      { return nil, nil }
func (doorkeeper) Restore(tp.PreSession, []byte) *tp.Rerror { return nil }

// deciding is a decider that is used as a plugin.
type deciding struct {
	*decider
	PluginConfig

	passed     atomic.Uint64 // undecided questions since the last line in the log
	nextLineAt atomic.Int64  // Unix nanoseconds
}

// accept decides on a connection.
func (p *deciding) accept(sess tp.PreSession) *tp.Rerror {
	q := guest.Question{Hook: guest.OnAccept, Session: sess.ID(), Remote: sess.RemoteAddr().String()}
	q.TLS, q.TLSName, q.TLSPeer, q.Verified = tlsFacts(sess)
	d, r := p.decide(sess.Context(), &q)
	if r.HasError() {
		return r
	}
	return d.denied()
}

// message decides on a CALL or a PUSH.
func (p *deciding) message(hook guest.Hook, ctx tp.ReadCtx) *tp.Rerror {
	q := guest.Question{Hook: hook, Method: ctx.ServiceMethod(), Session: ctx.Session().ID(), Remote: ctx.IP(), RealIP: ctx.RealIP(), Meta: url.Values{}}
	q.TLS, q.TLSName, q.TLSPeer, q.Verified = tlsFacts(ctx)
	ctx.VisitMeta(func(key, value []byte) { q.Meta.Add(string(key), string(value)) })
	d, r := p.decide(ctx.Context(), &q)
	if r.HasError() {
		return r
	}
	if r := d.denied(); r.HasError() {
		return r
	}
	for _, key := range d.Delete {
		ctx.Input().Meta().Del(key)
	}
	for key, value := range d.Set {
		ctx.Input().Meta().Set(key, value)
	}
	if d.Route != "" {
		ctx.ResetServiceMethod(d.Route)
	}
	return nil
}

// decide returns the guest's decision, or what stands for it if there is none.
func (p *deciding) decide(ctx context.Context, q *guest.Question) (*decision, *tp.Rerror) {
	now := time.Now()
	active := p.h.active.Load()
	if d := p.cache.find(q, active, now); d != nil {
		return d, nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	d, err := p.ask(ctx, q)
	if err == nil {
		return d, nil
	}
	if !p.FailOpen {
		return nil, tp.ToRerror(unavailable(p.h.name, fmt.Errorf("decider %s has not decided on this %s: %w", p.name, q.Hook, err)))
	}
	n := p.passed.Add(1)
	if at := p.nextLineAt.Load(); now.UnixNano() >= at && p.nextLineAt.CompareAndSwap(at, now.Add(10*time.Second).UnixNano()) {
		p.passed.Add(-n)
		p.h.guest.Logger.Warn("outproc: a decider has not decided, and what it was asked about was allowed, because its plugin is FailOpen",
			"guest", p.h.name, "decider", p.name, "hook", string(q.Hook), "times", n, "error", err)
	}
	return &decision{}, nil
}

// ask asks the guest: a second process of it, if the first one ends meanwhile.
func (d *decider) ask(ctx context.Context, q *guest.Question) (*decision, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	if len(body) > d.h.guest.MaxItem {
		return nil, fmt.Errorf("the question has %d bytes, which is over Guest.MaxItem, %d", len(body), d.h.guest.MaxItem)
	}
	select {
	case d.h.slots <- struct{}{}:
		defer func() { <-d.h.slots }()
	case <-ctx.Done():
		return nil, errBusy
	}
	var last *instance
	for {
		inst, err := d.h.next(ctx, last)
		if err != nil {
			return nil, err
		}
		answer, err := inst.ask(ctx, d.route, body)
		if lost(err) && last == nil {
			last = inst
			continue
		}
		if err != nil {
			return nil, err
		}
		out, err := parseDecision(answer, q.Hook)
		if err == nil && out.TTL > 0 {
			d.cache.keep(q, out, inst, len(answer), time.Now())
		}
		return out, err
	}
}

// decision is a checked Decision.
type decision struct{ guest.Decision }

// denied returns the error of a decision that denies.
func (d *decision) denied() *tp.Rerror {
	if d.Code == 0 {
		return nil
	}
	message := d.Message
	if message == "" {
		message = tp.CodeText(d.Code)
	}
	return tp.NewRerror(d.Code, message, d.Reason)
}

// parseDecision reads an answer and checks that it can be carried out.
func parseDecision(answer []byte, hook guest.Hook) (*decision, error) {
	if len(answer) > maxAnswer {
		return nil, fmt.Errorf("the decision has %d bytes, at most %d are allowed", len(answer), maxAnswer)
	}
	var d decision
	if err := json.Unmarshal(answer, &d.Decision); err != nil {
		return nil, fmt.Errorf("the answer %.100q is no decision: %w", answer, err)
	}
	switch {
	case string(answer) == "null":
		return nil, errors.New("the answer null is no decision: {} allows")
	case hook == guest.OnAccept && (d.Route != "" || len(d.Set)+len(d.Delete) > 0):
		return nil, errors.New("the decision changes the route or the metadata of a connection, which has none")
	case d.Route != "" && !strings.HasPrefix(d.Route, "/"):
		return nil, fmt.Errorf("the route %.100q of the decision does not begin with /", d.Route)
	case len(d.Set) > maxChanges || len(d.Delete) > maxChanges:
		return nil, fmt.Errorf("the decision sets %d keys of the metadata and deletes %d, at most %d each are allowed", len(d.Set), len(d.Delete), maxChanges)
	case d.TTL < 0 || d.TTL > maxTTL:
		return nil, fmt.Errorf("the ttl of the decision is %v, at most %v is allowed", d.TTL, maxTTL)
	case len(d.Key) > maxKey:
		return nil, fmt.Errorf("the key of the decision has %d fields, at most %d are allowed", len(d.Key), maxKey)
	}
	if d.Route != "" {
		if _, err := url.Parse(d.Route); err != nil {
			return nil, fmt.Errorf("the route of the decision: %w", err)
		}
	}
	for _, field := range d.Key {
		if _, ok := keyField(&guest.Question{}, field); !ok {
			return nil, fmt.Errorf("the key of the decision has the field %.100q: there are method, session, remote, tls_peer and meta:KEY", field)
		}
	}
	return &d, nil
}

// keyField returns what the question has for a field of Decision.Key.
func keyField(q *guest.Question, field string) (values []string, ok bool) {
	switch field {
	case "method":
		return []string{q.Method}, true
	case "session":
		return []string{q.Session}, true
	case "remote":
		host, _, err := net.SplitHostPort(q.Remote)
		if err != nil {
			host = q.Remote
		}
		return []string{host}, true
	case "tls_peer":
		return []string{q.TLSPeer}, true
	}
	key, ok := strings.CutPrefix(field, "meta:")
	return q.Meta[key], ok && key != ""
}
