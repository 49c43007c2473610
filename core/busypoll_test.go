package tp

import (
	"errors"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/busypoll"
	"github.com/teleport-go/teleport/core/internal/inlining"
)

// polledLink returns a link that no other goroutine reads, and its other end.
func polledLink(t *testing.T, busyPoll time.Duration) (*link, net.Conn) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return nil, nil
	}
	p := newPeerPair(t, "tcp")
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
	l := newLink(newSession(p.srv.env, nil), &Handshake{Conn: near, Proto: p.srv.cfg.Protocol}, 1)
	l.cadence.wait = 0
	return l, far
}

// readLoop makes the caller the reader of l.
func (l *link) readLoop() *readLoop { return &readLoop{s: l.sess, l: l, gen: l.generation()} }

func (l *link) pollNow() (bool, error) {
	_, some, err := l.readLoop().busyPoll(l.sess.env.sweeper.Now(), 1)
	return some, err
}

// procs sets GOMAXPROCS to n for the test.
func procs(t *testing.T, n int) {
	old := runtime.GOMAXPROCS(n)
	t.Cleanup(func() { runtime.GOMAXPROCS(old) })
}

// A BusyPoll of an hour in a case without bytes would time the test out if the reader polled.
func TestPoll(t *testing.T) {
	for _, test := range []struct {
		name    string
		busy    time.Duration
		waiting int64 // the average so far
		procs   int
		others  int32 // readers that poll
		before  func(near *link, far net.Conn)
		ok      bool
		err     error
	}{
		{"bytes are there", time.Hour, 0, 2, 0, func(_ *link, far net.Conn) { far.Write([]byte("x")) }, true, nil},
		{"bytes come", time.Hour, 0, 2, 0, func(_ *link, far net.Conn) { time.AfterFunc(5*time.Millisecond, func() { far.Write([]byte("x")) }) }, true, nil},
		{"nothing comes", time.Millisecond, 0, 2, 0, nil, false, nil},
		{"the last waits were long", time.Hour, pollBelow, 2, 0, nil, false, nil},
		{"the last waits were short", time.Millisecond, pollBelow - 1, 2, 0, func(_ *link, far net.Conn) { far.Write([]byte("x")) }, true, nil},
		{"never", -1, 0, 2, 0, nil, false, nil},
		{"one processor", time.Hour, 0, 1, 0, nil, false, nil},
		{"half of the processors poll", time.Hour, 0, 4, 2, nil, false, nil},
		{"fewer than half poll", time.Millisecond, 0, 4, 1, func(_ *link, far net.Conn) { far.Write([]byte("x")) }, true, nil},
		{"this side has closed it", time.Hour, 0, 2, 0, func(l *link, _ net.Conn) { l.conn.Close() }, false, net.ErrClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, far := polledLink(t, test.busy)
			if l == nil {
				return
			}
			procs(t, test.procs)
			l.cadence.wait = test.waiting
			for range test.others {
				busypoll.Begin()
			}
			defer func() {
				for range test.others {
					busypoll.End()
				}
				soon(t, "no reader polls any more", func() bool { return busypoll.Count() == 0 })
			}()
			if test.before != nil {
				test.before(l, far)
				if test.name == "the last waits were short" || test.name == "fewer than half poll" {
					soon(t, "bytes have come", func() bool { ok, _ := l.sock.TryWait(); return ok })
				}
			}
			ok, err := l.pollNow()
			for (test.ok || test.err != nil) && !ok && err == nil && l.cadence.banned > 0 { // on a busy machine it is preempted
				l.cadence.ban, l.cadence.banned = 0, 0
				ok, err = l.pollNow()
			}
			if ok != test.ok || !errors.Is(err, test.err) {
				t.Errorf("poll = %v, %v; want %v, %v", ok, err, test.ok, test.err)
			}
		})
	}
}

// What the callers do before the first poll is a part of the wait: where it takes long, a
// reader need not poll.
func TestWaitHasTheCallers(t *testing.T) {
	l, far := polledLink(t, time.Hour)
	if l == nil {
		return
	}
	procs(t, 2)
	far.Write([]byte("x"))
	soon(t, "bytes have come", func() bool { ok, _ := l.sock.TryWait(); return ok })
	began := l.sess.env.sweeper.Now() - int64(time.Minute)
	l.cadence.banned = began
	if last, some, err := l.readLoop().busyPoll(began, 1); !some || err != nil || last-began < int64(time.Minute) {
		t.Errorf("busyPoll = %v after the wait began, %v, %v; want a minute or more, true", time.Duration(last-began), some, err)
	}
}

// A reader that polls keeps its context for the next message; one that sleeps has none.
func TestContextOfReader(t *testing.T) {
	for _, test := range []struct {
		name  string
		busy  time.Duration
		keeps bool
	}{{"polls", time.Hour, true}, {"sleeps", -1, false}} {
		t.Run(test.name, func(t *testing.T) {
			l, far := polledLink(t, test.busy)
			if l == nil {
				return
			}
			procs(t, 2)
			r := l.readLoop()
			defer r.dropNext()
			c := r.makeNext()
			far.Write([]byte("x"))
			if err := r.await(); err != nil || (r.next == c) != test.keeps {
				t.Errorf("await = %v, keeps the context: %v; want nil, %v", err, r.next == c, test.keeps)
			}
		})
	}
}

// A reader that polls is a reader: calls are served, and it ends with its session.
func TestPollingReader(t *testing.T) {
	if runtime.GOOS != "linux" || inlining.Always {
		return
	}
	procs(t, 4)
	p := newPeerPair(t, "tcp")
	p.cli.env.cfg.BusyPoll = time.Hour // before it has any session
	s, c := p.dial(t)
	for i := 0; i < 1000 && busypoll.Count() == 0; i++ {
		wantEcho(t, c, "quick")
	}
	wantEcho(t, c, "quick")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	<-s.done.Done()
	soon(t, "no reader polls any more", func() bool { return busypoll.Count() == 0 })
}
