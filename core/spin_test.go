package tp

import (
	"errors"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/pace"
)

// spinner is a link of a session that nobody else reads, and its other end.
func spinner(t *testing.T, busyPoll time.Duration) (*link, net.Conn) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return nil, nil
	}
	p := newParking(t, "tcp")
	p.srv.env.cfg.BusyPoll = busyPoll
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	far, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	l := newLink(newSession(p.srv.env, nil), near, p.srv.cfg.Protocol, 1)
	l.waiting = 0
	return l, far
}

func (l *link) pollNow() (bool, error) { return l.sess.poll(l, l.sess.env.sweeper.Now()) }

// procs makes the process one of n processors for the test.
func procs(t *testing.T, n int) {
	old := runtime.GOMAXPROCS(n)
	t.Cleanup(func() { runtime.GOMAXPROCS(old) })
}

// Where a reader does poll, an hour would end the test.
func TestPoll(t *testing.T) {
	for _, test := range []struct {
		name    string
		busy    time.Duration
		waiting int64 // the average so far
		procs   int
		others  int32 // that poll
		before  func(near *link, far net.Conn)
		ok      bool
		err     error
	}{
		{"bytes are there", time.Hour, 0, 2, 0, func(_ *link, far net.Conn) { far.Write([]byte("x")) }, true, nil},
		{"bytes come", time.Hour, 0, 2, 0, func(_ *link, far net.Conn) { time.AfterFunc(5*time.Millisecond, func() { far.Write([]byte("x")) }) }, true, nil},
		{"nothing comes", time.Millisecond, 0, 2, 0, nil, false, nil},
		{"the last waits were long", time.Hour, spinBelow, 2, 0, nil, false, nil},
		{"the last waits were short", time.Millisecond, spinBelow - 1, 2, 0, func(_ *link, far net.Conn) { far.Write([]byte("x")) }, true, nil},
		{"never", -1, 0, 2, 0, nil, false, nil},
		{"one processor", time.Hour, 0, 1, 0, nil, false, nil},
		{"half of the processors poll", time.Hour, 0, 4, 2, nil, false, nil},
		{"fewer than half poll", time.Millisecond, 0, 4, 1, func(_ *link, far net.Conn) { far.Write([]byte("x")) }, true, nil},
		{"this side has closed it", time.Hour, 0, 2, 0, func(l *link, _ net.Conn) { l.conn.Close() }, false, net.ErrClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, far := spinner(t, test.busy)
			if l == nil {
				return
			}
			procs(t, test.procs)
			l.waiting = test.waiting
			spinning.Add(test.others)
			defer func() {
				spinning.Add(-test.others)
				soon(t, "nobody polls any more", func() bool { return spinning.Load() == 0 })
				if l.trying {
					t.Error("reads of the link do not wait any more")
				}
			}()
			if test.before != nil {
				test.before(l, far)
				if test.name == "the last waits were short" || test.name == "fewer than half poll" {
					soon(t, "bytes have come", func() bool { ok, _ := l.sock.TryWait(); return ok })
				}
			}
			if ok, err := l.pollNow(); ok != test.ok || !errors.Is(err, test.err) {
				t.Errorf("poll = %v, %v; want %v, %v", ok, err, test.ok, test.err)
			}
		})
	}
}

// One long wait turns polling off, a dozen short ones bring it back.
func TestPollDependsOnWaits(t *testing.T) {
	l := &link{waiting: longWait}
	n := 0
	for ; l.busy() == false && n < 1000; n++ {
		l.waited(int64(10 * time.Microsecond))
	}
	if n < 12 || n > 48 {
		t.Errorf("it polls after %d short waits", n)
	}
	if l.waited(int64(time.Hour)); l.busy() {
		t.Error("it polls after a long wait")
	}
	for n = 0; l.busy() == false && n < 1000; n++ {
		l.waited(int64(10 * time.Microsecond))
	}
	if n == 0 || n > 48 {
		t.Errorf("it polls again after %d short waits", n)
	}
}

// A reader that polls is a reader: calls are served, and it ends with its session.
func TestPollingReader(t *testing.T) {
	if runtime.GOOS != "linux" || pace.Always {
		return
	}
	procs(t, 4)
	p := newParking(t, "tcp")
	p.cli.env.cfg.BusyPoll = time.Hour // before it has any session
	s, c := p.dial(t)
	for i := 0; i < 1000 && spinning.Load() == 0; i++ {
		wantEcho(t, c, "quick")
	}
	wantEcho(t, c, "quick")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	<-s.done.wait()
	soon(t, "nobody polls any more", func() bool { return spinning.Load() == 0 })
}
