package poller

import (
	"net"
	"testing"
	"time"
)

// One sweep notices all connections that other code has closed, even if each detaches the
// loop.
func TestManyClosedBehindIt(t *testing.T) {
	var l Poller[reader, *reader]
	defer l.Close()
	sweepAt := func(at time.Time) {
		t.Helper()
		if err := l.epoll.file.SetReadDeadline(at); err != nil {
			t.Fatal(err)
		}
	}
	const many = 10
	served := make(chan struct{}, many)
	var all []net.Conn
	for range many {
		a, _ := pair(t, "tcp")
		var key Key
		if err := l.Register(raw(t, a), &reader{func(loop *Loop) {
			l.epoll.file.SetReadDeadline(time.Time{}) // this sweep is the last
			l.Deregister(key)
			loop.Detach()
			served <- struct{}{}
		}}, func(k Key) { key = k }); err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	sweepAt(time.Time{}) // not before all are closed
	for _, a := range all {
		a.Close()
	}
	sweepAt(time.Unix(1, 0))
	for i := range many {
		select {
		case <-served:
		case <-time.After(10 * time.Second):
			t.Fatalf("%d of %d were served", i, many)
		}
	}
}
