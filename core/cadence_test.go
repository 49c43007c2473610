package tp

import (
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/inlining"
)

func TestShouldUsePoller(t *testing.T) {
	for _, test := range []struct {
		name     string
		sessions int
		mayBlock bool
		want     bool
	}{
		{"none", 0, false, inlining.Always},
		{"few", minPolledSessions - 1, false, inlining.Always},
		{"enough", minPolledSessions, false, true},
		{"many", 10_000, false, true},
		{"enough, and a hook may block", minPolledSessions, true, false},
		{"few, and a hook may block", 1, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := shouldUsePoller(test.sessions, test.mayBlock); got != test.want {
				t.Errorf("shouldUsePoller(%d, %v) = %v, want %v", test.sessions, test.mayBlock, got, test.want)
			}
		})
	}
}

// One long wait turns polling off, several short ones bring it back, however long the
// long one was.
func TestShouldPoll(t *testing.T) {
	const short = int64(10 * time.Microsecond)
	for _, long := range []time.Duration{time.Millisecond, time.Hour} {
		c := cadence{wait: longWait}
		for round := range 2 {
			n := 0
			for ; !c.shouldPoll(0) && n < 100; n++ {
				c.observeWait(short)
			}
			if n < 5 || n > 20 {
				t.Errorf("round %d: it polls after %d short waits", round, n)
			}
			if c.observeWait(int64(long)); c.shouldPoll(0) {
				t.Errorf("it polls after a wait of %v", long)
			}
		}
	}
}

// A reader parks its connection after many waits for single messages that were not
// short.
func TestShouldPark(t *testing.T) {
	for _, test := range []struct {
		name    string
		wait    int64
		batches []int32 // messages of each, repeated
		rounds  int
		want    bool
	}{
		{"single messages", longWait, []int32{1}, maxSingles + 1, true},
		{"one fewer", longWait, []int32{1}, maxSingles, false},
		{"waits for nothing", longWait, []int32{0}, maxSingles + 1, true},
		{"single messages in quick succession", pollBelow - 1, []int32{1}, 2 * maxSingles, false},
		{"a batch now and then", longWait, []int32{1, 1, 1, 2}, maxSingles, false},
		{"batches", longWait, []int32{3}, 2 * maxSingles, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := cadence{wait: test.wait}
			got := false
			for range test.rounds {
				for _, n := range test.batches {
					c.batch = n
					if messages := c.endBatch(); messages != n {
						t.Fatalf("endBatch() = %d, want %d", messages, n)
					}
					got = got || c.shouldPark(0)
				}
			}
			if got != test.want {
				t.Errorf("shouldPark() = %v, want %v", got, test.want)
			}
			if got && c.shouldPark(0) {
				t.Error("it should park twice for the same waits")
			}
		})
	}
}

// The poll loop reads a few times from one connection, which then needs a reader of its
// own; when the loop comes back it counts from 0, and notes how long the wait took.
func TestPolledReads(t *testing.T) {
	c := cadence{wait: longWait}
	for round := range 2 {
		c.parked(1000)
		c.polled(1000 + int64(time.Microsecond))
		for i := range maxPolledReads {
			if !c.polledRead() {
				t.Fatalf("round %d: read %d is one too many", round, i+1)
			}
		}
		if c.polledRead() {
			t.Errorf("round %d: %d reads are not too many", round, maxPolledReads+1)
		}
		for i := range 4 {
			if !c.message(maxPolledBytes / 4) {
				t.Fatalf("round %d: message %d is one too many", round, i+1)
			}
		}
		if c.message(1) {
			t.Errorf("round %d: %d bytes are not too many", round, maxPolledBytes+1)
		}
	}
	if want := longWait - 2*longWait/8; c.wait >= longWait || c.wait < want {
		t.Errorf("after two short waits the average is %d, want %d to %d", c.wait, want, longWait)
	}
}

// A reader that is preempted while it polls stops polling, for longer if it is preempted
// again as soon as it polls.
func TestPreemptedReaderDoesNotPoll(t *testing.T) {
	const ms = int64(time.Millisecond)
	c := cadence{}
	now := ms
	if !c.shouldPoll(now) || !c.polledAgain(now, now+preemptedAfter-1) || !c.shouldPoll(now) {
		t.Fatal("a reader that is not preempted does not poll")
	}
	for i, test := range []struct{ polled, preempted, want int64 }{ // milliseconds
		{0, 4, 64},
		{5, 4, 128},
		{5, 4, 256},
		{5, 4, 512},
		{5, 4, 1000},
		{5, 4, 1000},
		{2000, 1, 16}, // it has polled for long
		{17, 1, 16},
	} {
		now += test.polled * ms
		if c.polledAgain(now, now+test.preempted*ms) {
			t.Fatalf("step %d: a reader that was preempted goes on polling", i)
		}
		now += test.preempted * ms
		if c.shouldPoll(now) || c.shouldPoll(now+test.want*ms-1) || !c.shouldPoll(now+test.want*ms) {
			t.Errorf("step %d: it should poll again after %d ms, not %d", i, test.want, (c.banned-now)/ms)
		}
		now += test.want * ms
	}
}

// The next message is taken to be as large as the last one.
func TestNeedsRead(t *testing.T) {
	var c cadence
	if c.needsRead(1) {
		t.Error("nothing is known of a first message")
	}
	c.message(100)
	for buffered, want := range map[int]bool{1: true, 99: true, 100: false, 5000: false} {
		if got := c.needsRead(buffered); got != want {
			t.Errorf("needsRead(%d) = %v after a message of 100 bytes, want %v", buffered, got, want)
		}
	}
}
