package tptest

import (
	"net"
	"runtime"
	"slices"
	"testing"
	"time"
)

// echoes is a server that sends each datagram back, with the port it came from in front.
func echoes(t *testing.T) (addr string) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { c.Close(); <-ended })
	go func() {
		defer close(ended)
		b := make([]byte, 100)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo([]byte(from.String()+" "+string(b[:n])), from)
		}
	}()
	return c.LocalAddr().String()
}

func TestRelay(t *testing.T) {
	LeakCheck(t)
	r := NewRelay(t, echoes(t))
	c, err := net.Dial("udp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	room := make([]byte, 100)
	send := func(text string) { // returns once the relay has it, with the faults of now
		t.Helper()
		before := r.read()
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		for r.read() == before {
			runtime.Gosched()
		}
	}
	receive := func() string {
		t.Helper()
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := c.Read(room)
		if err != nil {
			t.Fatal(err)
		}
		return string(room[:n])
	}
	send("a")
	first := receive()
	if n := r.Rebind(); n != 1 {
		t.Errorf("Rebind = %d; want 1 client", n)
	}
	send("a")
	if second := receive(); second == first {
		t.Errorf("after Rebind the server sees the same address: %q", second)
	}

	r.Set(Faults{Loss: 1})
	send("lost")
	r.Set(Faults{Duplicate: 1}) // there and back: four arrive
	send("b")
	var got []string
	for range 4 {
		got = append(got, receive())
	}
	if slices.ContainsFunc(got, func(s string) bool { return s[len(s)-2:] != " b" }) {
		t.Errorf("received %q; want b four times: %q was lost", got, "lost")
	}

	r.Set(Faults{Delay: 50 * time.Millisecond})
	begun := time.Now()
	send("c")
	receive()
	if took := time.Since(begun); took < 100*time.Millisecond {
		t.Errorf("there and back took %v; want at least 100ms", took)
	}
	r.Set(Faults{Reorder: 1, Jitter: time.Hour})
	send("d")
	r.Set(Faults{})
	send("e")
	one := receive()
	r.wait(t, time.Hour)
	if two := receive(); one[len(one)-1] != 'e' || two[len(two)-1] != 'd' {
		t.Errorf("received %q, %q; want e before d", one, two)
	}
}

// wait lets this time pass for the one datagram that is on its way.
func (r *Relay) wait(t *testing.T, d time.Duration) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.way) != 1 {
		t.Fatalf("%d datagrams are on their way; want one", len(r.way))
	}
	r.way[0].due = r.way[0].due.Add(-d)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// read returns how many datagrams the relay has read.
func (r *Relay) read() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.passed
}
