package tptest

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/poison"
)

func TestPeers(t *testing.T) {
	for _, test := range []struct {
		name    string
		cfg     []tp.PeerConfig
		network string
	}{
		{"in memory", nil, "mem"},
		{"tcp", []tp.PeerConfig{{Network: "tcp"}}, "tcp"},
		{"server and client", []tp.PeerConfig{{}, {RedialTimes: 3}}, "mem"},
	} {
		t.Run(test.name, func(t *testing.T) {
			LeakCheck(t)
			srv, _, sess := Peers(t, test.cfg...)
			tp.HandleCall(srv, "/double", func(_ tp.CallCtx, n *int) (int, error) { return 2 * *n, nil })
			var got int
			if r := sess.Call("/double", 21, &got).Rerror(); r != nil || got != 42 {
				t.Errorf("call = %d, %s; want 42", got, r)
			}
			if got := sess.RemoteAddr().Network(); got != test.network {
				t.Errorf("the session's network is %q; want %q", got, test.network)
			}
		})
	}
}

func TestPeersInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(Latency(time.Hour))
		srv, _, sess := Peers(t, tp.PeerConfig{Network: n.Register(t), HandshakeTimeout: 24 * time.Hour})
		tp.HandleCall(srv, "/now", func(tp.CallCtx, *int) (int64, error) { return time.Now().Unix(), nil })
		start := time.Now()
		var then int64
		if r := sess.Call("/now", 0, &then).Rerror(); r != nil {
			t.Fatal(r)
		}
		if got := time.Unix(then, 0).Sub(start); got != time.Hour {
			t.Errorf("the call arrived after %v; want 1h", got)
		}
		if got := time.Since(start); got != 2*time.Hour {
			t.Errorf("the reply arrived after %v; want 2h", got)
		}
	})
}

func TestRegister(t *testing.T) {
	var name string
	t.Run("living", func(t *testing.T) {
		n := NewNetwork()
		name = n.Register(t)
		if again := n.Register(t); again != name {
			t.Errorf("Register = %q, then %q", name, again)
		}
		if other := NewNetwork().Register(t); other == name {
			t.Errorf("two networks have the name %q", name)
		}
		got := Listen(t, NewPeer(t, tp.PeerConfig{Network: name, LocalIP: "here", ListenPort: 7}))
		if got != "here:7" {
			t.Errorf("address %q; want here:7", got)
		}
		conn, err := n.Dial(t.Context(), "here:7")
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	})
	network, err := tp.LookupNetwork(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := network.Dial(t.Context(), tp.DialConfig{Addr: "here:7"}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Dial after the test's end: %v; want net.ErrClosed", err)
	}
	if _, err := network.Listen(t.Context(), tp.ListenConfig{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Listen after the test's end: %v; want net.ErrClosed", err)
	}
}

func TestPoison(t *testing.T) {
	t.Run("on", func(t *testing.T) {
		Poison(t)
		if !poison.On() {
			t.Error("it is not on")
		}
	})
	if poison.On() {
		t.Error("it is on after the test's end")
	}
}

// keptLog is a testing.TB that keeps its log.
type keptLog struct {
	testing.TB
	lines []string
}

func (l *keptLog) Logf(format string, args ...any) {
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func TestLogger(t *testing.T) {
	kept := new(keptLog)
	var log *slog.Logger
	record(t, time.Minute, func(r *recorder) {
		kept.TB = r
		log = Logger(kept)
		log.Info("not this")
		log.Warn("this", "n", 1)
	})
	log.Error("after the end")
	if want := []string{"level=WARN msg=this n=1"}; !slices.Equal(kept.lines, want) {
		t.Errorf("logged %q; want %q", kept.lines, want)
	}
}

func TestLines(t *testing.T) {
	var l Lines
	log := l.Logger().With("a", 1).WithGroup("g")
	log.Debug("one", "b", 2)
	log.Error("two")
	log.Info("three")
	want := []string{"level=DEBUG msg=one a=1 g.b=2", "level=ERROR msg=two a=1", "level=INFO msg=three a=1"}
	if got := l.All(); !slices.Equal(got, want) {
		t.Errorf("All = %q; want %q", got, want)
	}
	if got := l.Errors(); !slices.Equal(got, want[1:2]) {
		t.Errorf("Errors = %q; want %q", got, want[1:2])
	}
	if !l.Contain("msg=two") || l.Contain("four") {
		t.Errorf("Contain: two %v, four %v; want true, false", l.Contain("msg=two"), l.Contain("four"))
	}
}

func TestRecorder(t *testing.T) {
	for _, test := range []struct {
		name string
		f    func(*recorder)
		want []string // how the faults begin
	}{
		{"nothing", func(*recorder) {}, nil},
		{"Errorf goes on", func(r *recorder) { r.Errorf("%d", 1); r.Error("two") }, []string{"1", "two"}},
		{"Fatalf ends", func(r *recorder) { r.Fatalf("%d", 1); r.Error("two") }, []string{"1"}},
		{"clean-ups run in reverse, also after failures", func(r *recorder) {
			r.Cleanup(func() { r.Error("first") })
			r.Cleanup(func() { r.Error("second"); panic("third") })
			r.FailNow()
		}, []string{"failed", "second", "panic: third", "first"}},
		{"panic", func(*recorder) { panic("help") }, []string{"panic: help"}},
		{"hang", func(r *recorder) { <-r.Context().Done() }, []string{"hangs: no end after 1m0s"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := record(t, time.Minute, test.f)
				same := func(got, want string) bool { return strings.HasPrefix(got, want) }
				if !slices.EqualFunc(got, test.want, same) {
					t.Errorf("faults %q; want %q", got, test.want)
				}
			})
		})
	}
}

// A check that has hung has ended when the next one begins, or is said not to have.
func TestRecorderHung(t *testing.T) {
	t.Run("ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ended, cleaned := false, false
			record(t, time.Minute, func(r *recorder) {
				defer func() { ended = true }()
				<-r.Context().Done()
				<-time.After(time.Second)
				r.Cleanup(func() { cleaned = true }) // of what was opened too late
				r.Error("goes on")
			})
			if !ended || !cleaned {
				t.Errorf("after record the check has ended %v, its last clean-up has run %v; want true, true", ended, cleaned)
			}
		})
	})
	t.Run("does not end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			defer close(release)
			got := record(t, time.Minute, func(*recorder) { <-release })
			want := []string{"hangs: no end after 1m0s", "hangs: no end 1m0s after the clean-ups either"}
			if !slices.Equal(got, want) {
				t.Errorf("faults %q; want %q", got, want)
			}
		})
	})
}
