package tp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// answering is a plugin that answers CALLs at one moment, and notes what follows.
type answering struct {
	PluginImpl
	mu    sync.Mutex
	notes []string
}

func (a *answering) note(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.notes = append(a.notes, fmt.Sprintf(format, args...))
}

func (a *answering) noted() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.notes)
}

func newAnswering(moment string, give func(ctx ReadCtx) *Rerror) *answering {
	a := new(answering)
	at := func(name string) func(ReadCtx) *Rerror {
		return func(ctx ReadCtx) *Rerror {
			if name == moment {
				return give(ctx)
			}
			return nil
		}
	}
	a.PluginImpl = PluginImpl{PluginName: "answering",
		OnPostReadCallHeader: at("header"), OnPreReadCallBody: at("before the body"), OnPostReadCallBody: at("after the body"),
		OnPreWriteReply: func(ctx WriteCtx) *Rerror {
			a.note("PreWriteReply %v %v", ctx.Output().Body(), ctx.Rerror())
			ctx.Output().Meta().Set("hooked", "yes")
			return nil
		},
		OnPostWriteReply: func(ctx WriteCtx) *Rerror { a.note("PostWriteReply"); return nil },
		OnPostExchange:   func(_ PreCtx, r *Rerror) { a.note("PostExchange %v", r) },
	}
	return a
}

// seedStyle is a handler as the seed's.
type seedStyle struct{ CallCtx }

func (h *seedStyle) Ask(arg *string) (string, *Rerror) { return "by the handler", nil }

// A hook of each moment answers the CALLs of each kind of handler, which does not run; the
// hooks of the reply, the log and the counters see a reply like any other.
func TestAnswer(t *testing.T) {
	for _, moment := range []string{"header", "before the body", "after the body"} {
		for _, test := range []struct {
			name, method string
			set          func(p *peer, ran func())
		}{
			{"typed", "/ask", func(p *peer, ran func()) {
				HandleCall(p, "/ask", func(CallCtx, *string) (string, error) { ran(); return "", nil })
			}},
			{"by value, and pooled", "/ask", func(p *peer, ran func()) {
				HandleCall(p, "/ask", func(CallCtx, *[]byte) ([]byte, error) { ran(); return nil, nil })
			}},
			{"of the seed's style", "/seed_style/ask", func(p *peer, _ func()) { p.RouteCall(new(seedStyle)) }},
			{"Ordered", "/ask", func(p *peer, ran func()) {
				HandleCall(p, "/ask", func(CallCtx, *string) (string, error) { ran(); return "", nil }, Ordered())
			}},
			{"unknown", "/nobody", func(p *peer, ran func()) {
				p.SetUnknownCall(func(UnknownCallCtx) (any, *Rerror) { ran(); return "", nil })
			}},
			{"none", "/nobody", func(*peer, func()) {}},
		} {
			if test.name == "none" && moment != "header" {
				continue // 404 comes first
			}
			t.Run(moment+"/"+test.name, func(t *testing.T) {
				log := new(levelLines)
				inWorld(t, func(cfg *PeerConfig) { cfg.Logger = log.logger() }, func(t *testing.T, w *world) {
					test.set(w.server, func() { t.Error("the handler has run") })
					a := newAnswering(moment, func(ReadCtx) *Rerror { return Answer("from the hook") })
					w.server.PluginContainer().AppendLeft(&a.PluginImpl)
					c, s := w.pair()
					for range 40 { // long enough for a handler to be inlined
						cmd := c.Call(test.method, "x", new(string))
						wantReply(t, cmd, "from the hook")
						if string(cmd.InputMeta().Peek("hooked")) != "yes" {
							t.Error("PreWriteReply has not changed the reply")
						}
					}
					synctest.Wait()
					ran := map[string]int{}
					for _, note := range a.noted() {
						ran[note]++
					}
					for _, note := range []string{"PreWriteReply from the hook <nil>", "PostWriteReply", "PostExchange <nil>"} {
						if ran[note] != 40 || len(ran) != 3 {
							t.Errorf("the hooks were %v; want %q 40 times", ran, note)
						}
					}
					if n := log.count("CALL<-", "method="+test.method); n != 40 || log.count("CALL<-", "error") > 0 {
						t.Errorf("the access log has %d lines, %d with an error; want 40, 0", n, log.count("CALL<-", "error"))
					}
					if n := s.env.peer.Stats(); n.RefusedCalls+n.UnsentReplies > 0 || s.work.running() != 0 {
						t.Errorf("counters: %+v, %d handlers run", n, s.work.running())
					}
				})
			})
		}
	}
}

// What is answered: values, bytes, nothing, one that cannot be encoded.
func TestAnswerValues(t *testing.T) {
	for _, test := range []struct {
		name  string
		value any
		want  string
		code  int32
	}{
		{"text", "x", "x", 0}, {"bytes", []byte("raw"), "raw", 0}, {"nothing", nil, "", 0}, {"large", strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20), 0},
		{"not encodable", func() {}, "", CodeInternalServerError},
	} {
		for _, moment := range []string{"header", "before the body", "after the body"} {
			t.Run(test.name+"/"+moment, func(t *testing.T) {
				inWorld(t, nil, func(t *testing.T, w *world) {
					p := newAnswering(moment, func(ReadCtx) *Rerror { return Answer(test.value) })
					p.OnPreWriteReply, p.OnPostWriteReply = nil, nil
					w.server.PluginContainer().AppendLeft(&p.PluginImpl)
					c, _ := w.pair()
					got := ""
					cmd := c.Call("/echo", "y", &got)
					if wantRerror(t, cmd.Rerror(), test.code); got != test.want {
						t.Errorf("the reply has %d bytes; want %d", len(got), len(test.want))
					}
				})
			})
		}
	}
}

// An answer does not overtake the earlier calls of an Ordered route.
func TestAnswerInOrder(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		release, begun := make(chan struct{}), make(chan struct{})
		HandleCall(w.server, "/queue", func(_ CallCtx, arg *string) (string, error) {
			close(begun)
			<-release
			return *arg, nil
		}, Ordered())
		a := newAnswering("before the body", func(ctx ReadCtx) *Rerror {
			if len(ctx.PeekMeta("cached")) > 0 {
				return Answer("cached")
			}
			return nil
		})
		w.server.PluginContainer().AppendLeft(&a.PluginImpl)
		c, _ := w.pair()
		first := call(c, "/queue", "first")
		<-begun
		second := call(c, "/queue", "second", WithAddMeta("cached", "1"))
		pass(time.Second)
		wantWaiting(t, second)
		close(release)
		wantReply(t, ended(t, first).v, "first")
		wantReply(t, ended(t, second).v, "cached")
	})
}

// Where no CALL can be answered, Answer is an error that says so.
func TestAnswerElsewhere(t *testing.T) {
	const words = "where no CALL can be answered"
	give := func(WriteCtx) *Rerror { return Answer("x") }
	read := func(ReadCtx) *Rerror { return Answer("x") }
	for name, p := range map[string]*PluginImpl{
		"PreWriteCall": {OnPreWriteCall: give}, "PostReadReplyHeader": {OnPostReadReplyHeader: read}, "PostReadReplyBody": {OnPostReadReplyBody: read},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				p.PluginName = "x"
				w.client.PluginContainer().AppendLeft(p)
				c, _ := w.pair()
				wantRerror(t, c.Call("/echo", "y", new(string)).Rerror(), CodeInternalServerError, words)
			})
		})
	}
	t.Run("a PUSH", func(t *testing.T) {
		log := new(levelLines)
		inWorld(t, func(cfg *PeerConfig) { cfg.Logger = log.logger() }, func(t *testing.T, w *world) {
			w.server.PluginContainer().AppendLeft(&PluginImpl{PluginName: "x", OnPostReadPushHeader: read})
			c, _ := w.pair()
			wantRerror(t, c.Push("/note", "y"), 0)
			synctest.Wait()
			log.want(t, 1, "PUSH", "dropped", words)
		})
	})
	t.Run("a handler answers as well", func(t *testing.T) {
		inWorld(t, nil, func(t *testing.T, w *world) {
			HandleCall(w.server, "/ask", func(CallCtx, *string) (string, error) { return "", Answer("instead").Err() })
			c, _ := w.pair()
			wantReply(t, c.Call("/ask", "y", new(string)), "instead")
		})
	})
}

// A caller that gives up while its answer waits gets none, and no handler runs.
func TestAnswerOfACanceledCall(t *testing.T) {
	inCancels(t, nil, func(x cancels) {
		release, asked := make(chan struct{}), make(chan struct{}, 10)
		a := newAnswering("after the body", func(ReadCtx) *Rerror { asked <- struct{}{}; <-release; return Answer("late") })
		x.server.PluginContainer().AppendLeft(&a.PluginImpl)
		ctx, cancel := context.WithCancel(x.Context())
		end := call(x.c, "/echo", "x", WithContext(ctx))
		<-asked
		cancel()
		wantRerror(x, ended(x.T, end).v.Rerror(), CodeCanceled)
		pass(0)
		close(release)
		pass(time.Second)
		if n := x.server.Stats(); n.CanceledCalls != 1 || n.UnsentReplies != 0 || x.client.Stats().DroppedReplies != 0 {
			x.Errorf("counters: %+v; want one canceled call and no late reply", n)
		}
	})
}
