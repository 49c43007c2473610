package tp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/inherit"
)

// diary records what happens, and at which second.
type diary struct {
	mu    sync.Mutex
	start time.Time
	lines []string
}

func (d *diary) write(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf("%v %s", time.Since(d.start), what))
}

func (d *diary) want(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.lines, want) {
		t.Errorf("what happened is\n  %s\nwant\n  %s", strings.Join(d.lines, "\n  "), strings.Join(want, "\n  "))
	}
	d.lines = nil
}

// drainer is a peer that takes its time to drain.
type drainer struct {
	name      string
	d         *diary
	takes     time.Duration
	stubborn  bool // ignores the context
	err       error
	listeners []net.Listener
	log       logger
}

func (p *drainer) inheritable() []net.Listener { return p.listeners }
func (p *drainer) lines() logger               { return p.log }

func (p *drainer) shutdown(ctx context.Context) error {
	cut := ctx.Done()
	if p.stubborn {
		cut = nil
	}
	select {
	case <-time.After(p.takes):
		p.d.write(p.name + " drained")
	case <-cut:
		p.d.write(p.name + " cut off")
	}
	return p.err
}

// withGrace runs f with a shutdown of its own, in a synctest bubble.
func withGrace(t *testing.T, f func(t *testing.T, g *grace, d *diary, log *lockedBuffer)) {
	t.Helper()
	log := captureLog(t)
	t.Cleanup(func() { exit = os.Exit })
	synctest.Test(t, func(t *testing.T) {
		d := &diary{start: time.Now()}
		exit = func(code int) { d.write(fmt.Sprintf("exit %d", code)) }
		f(t, newGrace(), d, log)
	})
}

func step(d *diary, name string, takes time.Duration, err error) func() error {
	return func() error {
		time.Sleep(takes) // of the bubble: it stands for work
		d.write(name)
		return err
	}
}

// The logger of the oldest peer receives the lines of the process.
func TestShutdownLinesGoToThePeersLogger(t *testing.T) {
	withGrace(t, func(t *testing.T, g *grace, d *diary, process *lockedBuffer) {
		var own lockedBuffer
		g.set(time.Second, nil, func() error { return errors.New("full disk") })
		g.add(&drainer{name: "a", d: d, log: newLogger(slog.New(slog.NewTextHandler(&own, nil)))})
		g.add(&drainer{name: "b", d: d})
		signals := make(chan os.Signal, 1)
		signals <- os.Interrupt
		g.signals(signals, func() {})
		got := own.take()
		for _, want := range []string{`level=INFO msg="tp: got signal: interrupt"`, `level=INFO msg="tp: shutting down"`,
			`level=ERROR msg="tp: shutdown: before exiting: full disk"`, `level=INFO msg="tp: process `} {
			if strings.Count(got, want) != 1 {
				t.Errorf("the peer's logger got\n%swant one line with %s", got, want)
			}
		}
		if got := process.take(); got != "" {
			t.Errorf("the process-wide logger got %q; want nothing", got)
		}
	})
}

func TestShutdown(t *testing.T) {
	s := time.Second
	for _, test := range []struct {
		name     string
		set      time.Duration
		call     []time.Duration
		first    time.Duration // how long the sweep takes
		a, b     time.Duration // how long the peers take
		last     time.Duration
		stubborn bool
		want     []string
	}{
		{"in order", 5 * s, nil, s, s, 2 * s, s, false,
			[]string{"1s sweep", "2s a drained", "3s b drained", "4s last", "4s exit 0"}},
		{"cut off at the timeout", 5 * s, nil, s, s, time.Hour, s, false,
			[]string{"1s sweep", "2s a drained", "5s b cut off", "6s last", "6s exit 0"}},
		{"left behind after the timeout", 5 * s, nil, s, s, time.Hour, s, true,
			[]string{"1s sweep", "2s a drained", "7s last", "7s exit 0"}},
		{"default", 0, nil, 0, 0, time.Hour, 0, false,
			[]string{"0s sweep", "0s a drained", "5s b cut off", "5s last", "5s exit 0"}},
		{"no minimum", time.Millisecond, nil, 0, 0, time.Hour, 0, false,
			[]string{"0s sweep", "0s a drained", "1ms b cut off", "1ms last", "1ms exit 0"}},
		{"without limit", -1, nil, time.Hour, time.Hour, 24 * time.Hour, time.Hour, false,
			[]string{"1h0m0s sweep", "2h0m0s a drained", "25h0m0s b drained", "26h0m0s last", "26h0m0s exit 0"}},
		{"the call's timeout", time.Hour, []time.Duration{2 * s}, 0, s, 3 * s, 0, false,
			[]string{"0s sweep", "1s a drained", "2s b cut off", "2s last", "2s exit 0"}},
		{"the sweep takes too long", 2 * s, nil, time.Hour, 0, time.Hour, s, false,
			[]string{"2s b cut off", "3s last", "3s exit 0"}},
		{"the last step takes too long", 2 * s, nil, 0, s, s, time.Hour, false,
			[]string{"0s sweep", "1s a drained", "1s b drained", "3s exit 0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			withGrace(t, func(t *testing.T, g *grace, d *diary, _ *lockedBuffer) {
				g.set(test.set, step(d, "sweep", test.first, nil), step(d, "last", test.last, nil))
				a := &drainer{name: "a", d: d, takes: test.a}
				b := &drainer{name: "b", d: d, takes: test.b + 1, stubborn: test.stubborn} // 1 ns: after a
				gone := &drainer{name: "gone", d: d}
				g.add(a)
				g.add(b)
				g.add(a)
				g.add(gone)
				g.remove(gone)
				g.shutdown(test.call)
				d.mu.Lock()
				for i, line := range d.lines { // the nanosecond
					d.lines[i] = strings.Replace(line, ".000000001s", "s", 1)
				}
				// With no time left, both peers end at once, in any order.
				if test.name == "the sweep takes too long" {
					d.lines = slices.DeleteFunc(d.lines, func(l string) bool { return strings.HasPrefix(l, "2s a ") })
				}
				d.mu.Unlock()
				d.want(t, test.want...)
				time.Sleep(48 * time.Hour) // the peer that was left behind ends
			})
		})
	}
}

func TestShutdownErrorsAreLogged(t *testing.T) {
	withGrace(t, func(t *testing.T, g *grace, d *diary, log *lockedBuffer) {
		g.set(5*time.Second, func() error { panic("oh") }, func() error { return errors.New("disk full") })
		g.add(&drainer{name: "a", d: d, err: errors.New("2 calls cut off")})
		g.shutdown(nil)
		d.want(t, "0s a drained", "0s exit 0")
		for _, want := range []string{
			"[ERRO] tp: shutdown: first sweep: panic: oh",
			"[ERRO] tp: shutdown: close peers: 2 calls cut off",
			"[ERRO] tp: shutdown: before exiting: disk full",
		} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log is\n%swant %q in it", log, want)
			}
		}
	})
}

func TestShutdownTwiceAndWait(t *testing.T) {
	withGrace(t, func(t *testing.T, g *grace, d *diary, _ *lockedBuffer) {
		g.wait() // returns: nothing has begun
		g.add(&drainer{name: "a", d: d, takes: time.Second})
		var wg sync.WaitGroup
		wg.Go(func() { g.shutdown(nil) })
		synctest.Wait()
		wg.Go(func() { g.shutdown(nil); d.write("second call returns") })
		wg.Go(func() { g.reboot(nil) }) // refused
		g.wait()
		wg.Wait()
		d.want(t, "1s a drained", "1s exit 0", "1s second call returns")
	})
}

func TestSignals(t *testing.T) {
	if len(rebootSignals) == 0 {
		rebootSignals = []os.Signal{os.Kill}
		t.Cleanup(func() { rebootSignals = nil })
	}
	withGrace(t, func(t *testing.T, g *grace, d *diary, log *lockedBuffer) {
		g.add(&drainer{name: "a", d: d})
		g.handOver = func(ctx context.Context, _ []*inherit.Listener, _ inherit.Adopter) (*inherit.Child, error) {
			select {
			case <-time.After(2 * time.Second):
				return nil, errors.New("new process is broken")
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		c := make(chan os.Signal, 4)
		var wg sync.WaitGroup
		wg.Go(func() { g.signals(c, func() { d.write("stop") }); d.write("returns") })
		c <- rebootSignals[0]
		c <- rebootSignals[0] // a reboot has begun
		time.Sleep(3 * time.Second)
		if got := log.take(); !strings.Contains(got, "new process is broken; this process goes on") || !strings.Contains(got, "rebooting already") {
			t.Errorf("log is\n%swant that the reboot failed, and that one was under way", got)
		}
		d.want(t)
		c <- rebootSignals[0]
		time.Sleep(time.Second)
		c <- shutdownSignals[0] // ends the reboot
		wg.Wait()
		d.want(t, "4s stop", "4s a drained", "4s exit 0", "4s stop", "4s returns")
		if got := log.take(); !strings.Contains(got, "the process is shutting down; this process goes on") {
			t.Errorf("log is\n%swant that the reboot was given up", got)
		}
	})
}

func TestSignalsEndsWithAShutdownByOthers(t *testing.T) {
	withGrace(t, func(t *testing.T, g *grace, d *diary, _ *lockedBuffer) {
		var wg sync.WaitGroup
		wg.Go(func() { g.signals(nil, func() {}); d.write("returns") })
		g.add(&drainer{name: "a", d: d, takes: time.Second})
		g.shutdown(nil)
		wg.Wait()
		d.want(t, "1s a drained", "1s exit 0", "1s returns")
	})
}

// wrapped is a listener that wraps one of another network.
type wrapped struct{ net.Listener }

func (w wrapped) Unwrap() net.Listener { return w.Listener }

func TestReboot(t *testing.T) {
	lis, err := listen(t, ListenConfig{Network: "tcp", LocalIP: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	withGrace(t, func(t *testing.T, g *grace, d *diary, log *lockedBuffer) {
		g.set(5*time.Second, step(d, "sweep", 0, nil), step(d, "last", 0, nil))
		g.add(&drainer{name: "a", d: d, takes: time.Second, listeners: []net.Listener{wrapped{lis}, other}})
		var got []*inherit.Listener
		ready := false
		g.handOver = func(ctx context.Context, listeners []*inherit.Listener, _ inherit.Adopter) (*inherit.Child, error) {
			got = listeners
			select {
			case <-time.After(3 * time.Second):
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			if !ready {
				return nil, errors.New("broken")
			}
			return &inherit.Child{Pid: 4711}, nil
		}

		g.reboot(nil)
		d.want(t)
		if len(got) != 1 || got[0] != lis {
			t.Errorf("handed over %v; want the one tcp listener", got)
		}
		for _, want := range []string{"[ERRO] tp: reboot: broken; this process goes on",
			fmt.Sprintf("the listener on tcp %s cannot be handed over", other.Addr())} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log is\n%swant %q in it", log, want)
			}
		}
		log.take()

		g.reboot([]time.Duration{time.Second})
		if got := log.take(); !strings.Contains(got, "not done within 1s; this process goes on") {
			t.Errorf("log is\n%swant that the time is over", got)
		}
		d.want(t)

		ready = true
		g.reboot(nil)
		d.want(t, "7s sweep", "8s a drained", "8s last", "8s exit 0")
		if got := log.take(); !strings.Contains(got, "process 4711 has taken over") {
			t.Errorf("log is\n%swant the new process", got)
		}
	})
}

// A Reboot waits for the sessions that this process still gets, within its timeout, and then has
// its whole time.
func TestRebootWaitsForSessions(t *testing.T) {
	withGrace(t, func(t *testing.T, g *grace, d *diary, log *lockedBuffer) {
		g.set(5*time.Second, nil, nil)
		g.add(&drainer{name: "a", d: d})
		adopted := make(chan struct{})
		g.adopted = func() <-chan struct{} { return adopted }
		g.handOver = func(ctx context.Context, _ []*inherit.Listener, _ inherit.Adopter) (*inherit.Child, error) {
			d.write("begins")
			select {
			case <-time.After(4 * time.Second):
				return &inherit.Child{Pid: 4711}, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		g.reboot(nil)
		if got := log.take(); !strings.Contains(got, "the process before still hands over its sessions: not done within 5s; this process goes on") {
			t.Errorf("log is\n%swant that the sessions have not come", got)
		}
		time.AfterFunc(4*time.Second, func() { close(adopted) })
		g.reboot(nil)
		d.want(t, "9s begins", "13s a drained", "13s exit 0")
	})
}

// spreader is a drainer whose sessions come back one after the other.
type spreader struct{ drainer }

func (p *spreader) spreadRedials() { p.d.write(p.name + " spread") }

// A Shutdown that begins when the new process has just taken over comes behind what a Reboot
// does then.
func TestShutdownWhenTheNewProcessIsReady(t *testing.T) {
	withGrace(t, func(t *testing.T, g *grace, d *diary, _ *lockedBuffer) {
		g.add(&spreader{drainer{name: "a", d: d}})
		g.handOver = func(ctx context.Context, _ []*inherit.Listener, _ inherit.Adopter) (*inherit.Child, error) {
			go g.shutdown(nil)
			<-ctx.Done() // too late
			return &inherit.Child{Pid: 4711}, nil
		}
		g.reboot(nil)
		<-g.finished
		d.want(t, "0s a spread", "0s a drained", "0s exit 0")
	})
}

func TestRebootNotSupported(t *testing.T) {
	withGrace(t, func(t *testing.T, g *grace, d *diary, log *lockedBuffer) {
		g.handOver = func(context.Context, []*inherit.Listener, inherit.Adopter) (*inherit.Child, error) {
			return nil, fmt.Errorf("inherit: hand over listeners: %w", inherit.ErrNotSupported)
		}
		g.add(&drainer{name: "a", d: d})
		g.reboot(nil)
		d.want(t)
		if got := log.take(); !strings.Contains(got, "not supported; this process goes on") {
			t.Errorf("log is\n%swant that it is not supported", got)
		}
	})
}

// A private peer is left to its owner: Shutdown does not know it.
func TestPrivatePeer(t *testing.T) {
	listed := func(cfg PeerConfig) bool {
		p, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		graceful.mu.Lock()
		defer graceful.mu.Unlock()
		return slices.Contains(graceful.peers, p.(gracefulPeer))
	}
	if !listed(PeerConfig{}) {
		t.Error("Shutdown does not know a peer")
	}
	if listed(PeerConfig{Private: true}) {
		t.Error("Shutdown knows a private peer")
	}
}

// A reason may name its session: only the most frequent ones have a line each.
func TestLogStayed(t *testing.T) {
	log := captureLog(t)
	stayed := map[string]int{"it is frequent": 500}
	for i := range 1000 {
		stayed[fmt.Sprint("its id is ", i)] = 1
	}
	if n := logStayed(std, stayed); n != 1500 {
		t.Errorf("%d sessions; want 1500", n)
	}
	lines := strings.Split(strings.TrimSpace(log.take()), "\n")
	if n := len(lines); n != stayedLines+1 {
		t.Fatalf("%d lines; want %d", n, stayedLines+1)
	}
	for i, want := range map[int]string{0: "500 sessions do not move: it is frequent", stayedLines: "991 sessions do not move, for 991 other reasons"} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d is %q; want %q in it", i+1, lines[i], want)
		}
	}
}
