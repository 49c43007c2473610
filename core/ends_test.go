package tp_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// This file connects two peers in memory, for the tests of what a user sees.

func init() {
	testwire.Register()
	tp.RegisterNetwork(tp.Network{
		Name: "ends",
		Dial: func(ctx context.Context, d tp.DialConfig) (net.Conn, error) {
			n, ok := endNets.Load(d.Addr)
			if !ok {
				return nil, fmt.Errorf("no listener on %s", d.Addr)
			}
			return n.(*memnet.Network).Dial(ctx, d.Addr)
		},
		Listen: func(_ context.Context, l tp.ListenConfig) (net.Listener, error) {
			n := memnet.New()
			endNets.Store(l.LocalIP, n)
			return n.Listen(l.LocalIP)
		},
	})
}

var (
	endNets   sync.Map // address to the *memnet.Network it is in
	endSerial atomic.Int32
)

// ends configures two peers; dial makes and connects them.
type ends struct {
	both               func(*tp.PeerConfig)
	srvCfg, cliCfg     tp.PeerConfig
	srvPlugin          []tp.Plugin
	cliPlugin          []tp.Plugin
	routes, cliRoutes  func(tp.Peer)
	srv, cli           tp.Peer
	sess               tp.Session // the client's
	addr               string
	srvLines, cliLines *lineLog
}

// listen makes both peers; only the server is open.
func (e *ends) listen(t *testing.T) *ends {
	t.Helper()
	e.addr = fmt.Sprintf("end%d", endSerial.Add(1))
	e.srvLines, e.cliLines = new(lineLog), new(lineLog)
	for _, x := range []struct {
		cfg   *tp.PeerConfig
		lines *lineLog
	}{{&e.srvCfg, e.srvLines}, {&e.cliCfg, e.cliLines}} {
		x.cfg.Network = "ends"
		x.cfg.Protocol = testwire.New
		x.cfg.DefaultBodyCodec = "testjson"
		x.cfg.CloseTimeout = 10 * time.Second
		if x.cfg.Logger == nil {
			x.cfg.Logger = slog.New(x.lines)
		}
		if e.both != nil {
			e.both(x.cfg)
		}
	}
	e.srvCfg.LocalIP = e.addr
	e.srv = tp.NewPeer(e.srvCfg, e.srvPlugin...)
	e.cli = tp.NewPeer(e.cliCfg, e.cliPlugin...)
	t.Cleanup(func() {
		e.cli.Close()
		e.srv.Close()
		endNets.Delete(e.addr)
	})
	if e.routes != nil {
		e.routes(e.srv)
	}
	if e.cliRoutes != nil {
		e.cliRoutes(e.cli)
	}
	if err := e.srv.Listen(); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *ends) dial(t *testing.T) *ends {
	t.Helper()
	e.listen(t)
	sess, r := e.cli.Dial(e.addr)
	if r != nil {
		t.Fatalf("dial: %v", r)
	}
	e.sess = sess
	return e
}

// serverSession is the other end of e.sess.
func (e *ends) serverSession(t *testing.T) tp.Session {
	t.Helper()
	var found tp.Session
	eventually(t, "the server has a session", func() bool {
		e.srv.RangeSession(func(s tp.Session) bool { found = s; return false })
		return found != nil
	})
	return found
}

// call is a Call whose context ends, so that no test hangs.
func (e *ends) call(t *testing.T, method string, arg, result any, set ...tp.MessageSetting) *tp.Rerror {
	t.Helper()
	return e.cmd(t, method, arg, result, set...).Rerror()
}

func (e *ends) cmd(t *testing.T, method string, arg, result any, set ...tp.MessageSetting) tp.CallCmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return e.sess.Call(method, arg, result, append([]tp.MessageSetting{tp.WithContext(ctx)}, set...)...)
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// eventually polls until cond is true.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited in vain for this: %s", what)
		}
	}
}

// receive takes a value from a channel.
func receive[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("waited in vain for this: %s", what)
	}
	return v
}

// wantRerror checks the code, and that the text contains the words.
func wantRerror(t *testing.T, what string, r *tp.Rerror, code int32, words ...string) {
	t.Helper()
	got := int32(0)
	if r != nil {
		got = r.Code
	}
	if got != code {
		t.Errorf("%s: got %v; want code %d", what, r, code)
		return
	}
	for _, w := range words {
		if !strings.Contains(r.String(), w) {
			t.Errorf("%s: got %v; want %q in it", what, r, w)
		}
	}
}

// panicText runs f and returns what it panicked with, "" if it did not.
func panicText(f func()) (text string) {
	defer func() {
		if v := recover(); v != nil {
			text = fmt.Sprint(v)
		}
	}()
	f()
	return ""
}

// wantPanic checks that f panics with all the words.
func wantPanic(t *testing.T, what string, f func(), words ...string) {
	t.Helper()
	text := panicText(f)
	if text == "" {
		t.Errorf("%s: no panic; want one with %q", what, words)
	}
	for _, w := range words {
		if text != "" && !strings.Contains(text, w) {
			t.Errorf("%s: panic %q; want %q in it", what, text, w)
		}
	}
}

// lineLog is a slog.Handler that keeps all lines as text.
type lineLog struct {
	mu    sync.Mutex
	lines []string
	above slog.Level // how far above DEBUG it begins to keep lines
}

func (l *lineLog) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelDebug+l.above
}
func (l *lineLog) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *lineLog) WithGroup(string) slog.Handler      { return l }

func (l *lineLog) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %s", r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, " %s=%v", a.Key, a.Value); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, b.String())
	return nil
}

// with returns the lines that contain all words.
func (l *lineLog) with(words ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			found = append(found, line)
		}
	}
	return found
}

// want waits for exactly one line with all the words.
func (l *lineLog) want(t *testing.T, words ...string) string {
	t.Helper()
	eventually(t, fmt.Sprintf("a log line with %q", words), func() bool { return len(l.with(words...)) > 0 })
	found := l.with(words...)
	if len(found) != 1 {
		t.Errorf("%d log lines with %q; want 1:\n%s", len(found), words, strings.Join(found, "\n"))
	}
	return found[0]
}

// journal records what happens, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// take returns the recorded lines and clears the journal.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines
}

func (j *journal) has(line string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Contains(j.lines, line)
}

func wantLines(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", what, strings.Join(got, " | "), strings.Join(want, " | "))
	}
}

// newQuiet is a logger to a lineLog, or to nowhere.
func newQuiet(l *lineLog) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(l)
}
