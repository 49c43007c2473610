package health_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/health"
)

// plain stands in for the plain codec: a call can only ask for one that is there.
type plain struct{ codec.Codec }

func (plain) ID() byte     { return codec.Plain }
func (plain) Name() string { return codec.NamePlain }

func TestMain(m *testing.M) {
	codec.Register(plain{})
	tp.SetLoggerLevel("INFO")
	tp.SetLogger(slog.New(slog.DiscardHandler))
	m.Run()
}

func TestConformance(t *testing.T) {
	tptest.RunPlugin(t, func() tp.Plugin { return health.New() })
}

// caller is a peer with the plugin, and a session that asks it.
type caller struct {
	tp.Session
	log tptest.Lines // of the server
}

func newCaller(t *testing.T, h *health.Health) *caller {
	t.Helper()
	c := new(caller)
	cfg := tp.PeerConfig{Network: tptest.NewNetwork().Register(t)}
	cli := tptest.NewPeer(t, cfg)
	cfg.Logger = c.log.Logger()
	c.Session = tptest.Dial(t, cli, tptest.Listen(t, tptest.NewPeer(t, cfg, h)))
	return c
}

// get returns the body of the reply, or the error as "code message: reason".
func (c *caller) get(method string, set ...tp.MessageSetting) string {
	var body []byte
	r := c.Call(method, nil, &body, set...).Rerror()
	if r != nil {
		return strings.Join([]string{tp.CodeText(r.Code), r.Message, r.Reason}, "|")
	}
	return string(body)
}

func (c *caller) want(t *testing.T, want string) {
	t.Helper()
	if got := c.get("/health/ready"); got != want {
		t.Errorf("/health/ready: %s; want %s", got, want)
	}
	if got := c.get("/health/live"); got != `{"status":"ok"}` {
		t.Errorf("/health/live: %s", got)
	}
}

// lines returns the server's log lines that contain the text.
func (c *caller) lines(text string) (found []string) {
	for _, line := range c.log.All() {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tptest.LeakCheck(t)
			f(t)
		})
	})
}

const drained = "Busy|Not Ready|draining"

func TestReady(t *testing.T) {
	bubble(t, "without checks", func(t *testing.T) {
		h := health.New()
		c := newCaller(t, h)
		c.want(t, `{"status":"ok"}`)
		h.Drain()
		c.want(t, drained)
	})
	bubble(t, "checks", func(t *testing.T) {
		h := health.New(health.MaxAge(0))
		var broken atomic.Bool
		h.SetCheck("db", func(context.Context) error {
			if broken.Load() {
				return errors.New("no route to 10.0.0.1")
			}
			return nil
		})
		h.SetCheck("queue", func(context.Context) error { return nil })
		c := newCaller(t, h)
		c.want(t, `{"status":"ok","checks":{"db":"ok","queue":"ok"}}`)
		if got, want := c.get("/health/ready", tp.WithSetMeta(tp.MetaAcceptBodyCodec, "115")), "ok\ndb: ok\nqueue: ok\n"; got != want {
			t.Errorf("as text: %q; want %q", got, want)
		}
		if got, want := c.get("/health/live", tp.WithBodyCodec(codec.Plain)), "ok\n"; got != want {
			t.Errorf("alive, as text: %q; want %q", got, want)
		}
		broken.Store(true)
		c.want(t, "Busy|Not Ready|failing: db")
		c.want(t, "Busy|Not Ready|failing: db")
		if got := c.lines("no route to 10.0.0.1"); len(got) != 1 {
			t.Errorf("the log has %q; want the error once", got)
		}
		broken.Store(false)
		c.want(t, `{"status":"ok","checks":{"db":"ok","queue":"ok"}}`)
		broken.Store(true)
		h.SetCheck("db", nil)
		c.want(t, `{"status":"ok","checks":{"queue":"ok"}}`)
	})
	bubble(t, "checks that do not return", func(t *testing.T) {
		h := health.New(health.MaxAge(0), health.Timeout(3*time.Second))
		h.SetCheck("panics", func(context.Context) error { panic("boom") })
		h.SetCheck("exits", func(context.Context) error { runtime.Goexit(); return nil })
		h.SetCheck("waits", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
		release := make(chan struct{})
		var hung atomic.Int32
		h.SetCheck("hangs", func(context.Context) error { hung.Add(1); <-release; return nil })
		c := newCaller(t, h)
		for range 3 {
			begin := time.Now()
			c.want(t, "Busy|Not Ready|failing: exits, hangs, panics, waits")
			if d := time.Since(begin); d != 3*time.Second {
				t.Errorf("it took %v; want 3s", d)
			}
			synctest.Wait() // the check that waits has returned, and is run again
		}
		if n := hung.Load(); n != 1 {
			t.Errorf("a check that hangs was called %d times; want 1", n)
		}
		close(release)
		synctest.Wait()
		c.want(t, "Busy|Not Ready|failing: exits, panics, waits")
	})
}

// However often the route is called, the checks run once a MaxAge, and a change of
// the checks counts at once.
func TestMaxAge(t *testing.T) {
	bubble(t, "many callers", func(t *testing.T) {
		h := health.New(health.MaxAge(time.Minute))
		var runs atomic.Int32
		h.SetCheck("db", func(context.Context) error {
			runs.Add(1)
			time.Sleep(time.Millisecond)
			return nil
		})
		ready := func() {
			t.Helper()
			for range 100 {
				go func() {
					if r, err := h.Ready(context.Background()); err != nil || r.Status != health.OK {
						t.Errorf("Ready = %v, %v", r, err)
					}
				}()
			}
			time.Sleep(time.Second)
		}
		for i := range int32(3) {
			ready()
			ready()
			if n := runs.Load(); n != i+1 {
				t.Errorf("%d runs; want %d", n, i+1)
			}
			time.Sleep(time.Minute)
		}
	})
	bubble(t, "a check set while they run", func(t *testing.T) {
		h := health.New(health.MaxAge(time.Minute))
		h.SetCheck("slow", func(context.Context) error { time.Sleep(500 * time.Millisecond); return nil })
		go h.Ready(context.Background())
		synctest.Wait()
		h.SetCheck("new", func(context.Context) error { return errors.New("down") })
		r, err := h.Ready(context.Background())
		if err != nil || r.Status != health.Failing || !maps.Equal(r.Checks, map[string]string{"slow": health.OK, "new": health.Failing}) {
			t.Errorf("Ready = %v, %v; want slow ok, new failing", r, err)
		}
		r.Checks["slow"] = "mine"
		if r, _ := h.Ready(context.Background()); r.Checks["slow"] != health.OK {
			t.Error("a report is shared")
		}
	})
	bubble(t, "a caller that does not wait", func(t *testing.T) {
		h := health.New()
		h.SetCheck("slow", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if r, err := h.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Ready = %v, %v; want %v", r, err, context.DeadlineExceeded)
		}
	})
}

func TestDrainFor(t *testing.T) {
	bubble(t, "waits", func(t *testing.T) {
		h := health.New(health.Prefix("internal/"))
		c := newCaller(t, h)
		if got := c.get("/internal/ready"); got != `{"status":"ok"}` {
			t.Errorf("before: %s", got)
		}
		done := make(chan error)
		go func() { done <- h.DrainFor(5 * time.Second)() }()
		synctest.Wait()
		if got := c.get("/internal/ready"); got != drained {
			t.Errorf("while draining: %s", got)
		}
		if got := c.get("/internal/live"); got != `{"status":"ok"}` {
			t.Errorf("while draining, alive: %s", got)
		}
		begin := time.Now()
		if err := <-done; err != nil || time.Since(begin) != 5*time.Second {
			t.Errorf("it returned %v after %v; want nil after 5s", err, time.Since(begin))
		}
		if got := c.lines("not ready: draining"); len(got) != 1 {
			t.Errorf("the log has %q; want one line", got)
		}
	})
}

// A program that sends a Report itself does not send the errors.
func TestReportJSON(t *testing.T) {
	r := health.Report{Status: health.Failing, Checks: map[string]string{"db": health.Failing}, Errors: map[string]error{"db": errors.New("secret")}}
	b, err := json.Marshal(r)
	if want := `{"status":"failing","checks":{"db":"failing"}}`; err != nil || string(b) != want {
		t.Errorf("%s, %v; want %s", b, err, want)
	}
}
