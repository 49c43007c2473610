package outbox

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/bufpool"
)

// push pushes a frame whose key is its sender.
func push(w *Writer, p Policy, sender, number, size int) (taken bool, dropped int, err error) {
	if number%2 == 0 { // as a Conn does with a small message
		b, err := w.BeginPush(p)
		if err == nil {
			w.Commit(appendFrame(b, sender, number, size))
			return true, 0, nil
		}
		if err != ErrFull {
			return false, 0, err
		}
	}
	return w.Push(appendFrame(bufpool.Get(size), sender, number, size), p, string(rune('a'+sender)))
}

// numbers reads frames until nothing more is written, and returns their numbers.
func numbers(t *testing.T, far net.Conn) (got []int) {
	t.Helper()
	for {
		far.SetReadDeadline(time.Now().Add(time.Second))
		_, n, err := readFrame(far)
		if errors.Is(err, net.ErrClosed) || err != nil {
			return got
		}
		got = append(got, n)
	}
}

func upTo(from, to int) (list []int) {
	for i := from; i < to; i++ {
		list = append(list, i)
	}
	return list
}

// A peer does not read: what each policy sends, drops and refuses, and that it is bounded.
func TestPushPolicies(t *testing.T) {
	const (
		size, n = 10 << 10, 40
		bound   = 200 << 10
		batch   = ready/size + 1 // frames in the batch, which nothing can be taken out of
		queue   = (bound - batch*size) / (size + besideQueued)
		all     = bound / size // in the batch, with a policy that drops nothing of it
	)
	for _, test := range []struct {
		name    string
		policy  Policy
		keys    int
		want    []int
		dropped int // others
		lost    int // by themselves
		refused int
	}{
		{"fail", Fail, 1, upTo(0, all), 0, 0, n - all},
		{"drop newest", DropNewest, 1, upTo(0, all), 0, n - all, 0},
		{"drop oldest", DropOldest, 1, append(upTo(0, batch), upTo(n-queue, n)...), n - batch - queue, 0, 0},
		{"latest of one", Latest, 1, append(upTo(0, batch), n-1), n - batch - 1, 0, 0},
		{"latest of four", Latest, 4, append(upTo(0, batch), 39, 36, 37, 38), n - batch - 4, 0, 0}, // in the order of the first ones
		{"latest of many", Latest, n, append(upTo(0, batch), upTo(n-queue, n)...), n - batch - queue, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := pair(t, "pipe")
				var drawn int64
				w := New(near, Config{Bound: bound, Draw: func(n int64) { drawn += n }})
				dropped, lost, refused := 0, 0, 0
				for i := range n {
					taken, d, err := push(w, test.policy, i%test.keys, i, size)
					dropped += d
					switch {
					case errors.Is(err, ErrFull):
						refused++
					case err != nil:
						t.Fatal(err)
					case !taken:
						lost++
					}
					w.Flush(NoBlock)
					synctest.Wait()
					if m, b := w.Queued(); b > bound || m > all {
						t.Fatalf("%d messages of %d bytes are queued, the bound is %d", m, b, bound)
					}
				}
				if dropped != test.dropped || lost != test.lost || refused != test.refused {
					t.Errorf("%d were dropped for others, %d at once, %d refused; want %d, %d, %d", dropped, lost, refused, test.dropped, test.lost, test.refused)
				}
				if got := numbers(t, far); !slices.Equal(got, test.want) {
					t.Errorf("the peer has got %v, want %v", got, test.want)
				}
				idle(t, w)
				if drawn != 0 {
					t.Errorf("%d bytes are still drawn", drawn)
				}
			})
		})
	}
}

// A message that takes the place of a smaller one, and does not fit there, drops it all the
// same: at most one of a key is queued.
func TestPushLatestThatGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pair(t, "pipe")
		w := New(near, Config{Bound: 200 << 10})
		for _, m := range []struct{ sender, number, size, dropped int }{
			{0, 1, 70 << 10, 0}, // the batch
			{1, 3, 100 << 10, 0}, {2, 5, 10 << 10, 0}, {2, 7, 60 << 10, 2}, {2, 9, 1 << 10, 1},
		} {
			if taken, dropped, err := push(w, Latest, m.sender, m.number, m.size); !taken || dropped != m.dropped || err != nil {
				t.Errorf("push %d: taken %v, %d dropped, %v; want %d dropped", m.number, taken, dropped, err, m.dropped)
			}
			w.Flush(NoBlock)
			synctest.Wait()
		}
		if got, want := numbers(t, far), []int{1, 9}; !slices.Equal(got, want) {
			t.Errorf("the peer has got %v, want %v", got, want)
		}
		idle(t, w)
	})
}

// Messages that wait, and those that are queued, are sent in the order in which they came;
// those that wait are never dropped.
func TestPushKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pair(t, "pipe")
		w := New(near, Config{Bound: 200 << 10})
		var wg sync.WaitGroup
		number := 0
		for _, step := range []string{"push", "push", "call", "push", "call", "push", "push", "call"} {
			for range 3 {
				i := number
				number++
				if step == "push" {
					if taken, dropped, err := push(w, DropOldest, 0, i, 8<<10); !taken || dropped > 0 || err != nil {
						t.Fatalf("push %d: taken %v, %d dropped, %v", i, taken, dropped, err)
					}
				} else {
					wg.Go(func() {
						if err := put(w, nil, 0, i, 8<<10); err != nil {
							t.Error(err)
						}
						w.Flush(NoBlock)
					})
				}
				w.Flush(NoBlock)
				synctest.Wait()
				if number == 18 {
					numbersUpTo(t, far, 12) // make room for the rest
				}
			}
		}
		if got, want := numbers(t, far), upTo(12, number); !slices.Equal(got, want) {
			t.Errorf("the peer has got %v, want %v", got, want)
		}
		wg.Wait()
		idle(t, w)
	})
}

// numbersUpTo reads n frames, with the numbers from 0 on.
func numbersUpTo(t *testing.T, far net.Conn, n int) {
	t.Helper()
	for want := range n {
		if _, got, err := readFrame(far); got != want || err != nil {
			t.Fatalf("read frame %d, %v; want %d", got, err, want)
		}
	}
	synctest.Wait()
}

// Wait waits for what is queued as well; a Close discards and counts it.
func TestPushIsFlushedOrLost(t *testing.T) {
	for _, name := range []string{"Wait", "Wait whose context ends", "Close"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := pair(t, "pipe")
				w := New(near, Config{Bound: 200 << 10})
				const n = 15
				for i := range n {
					push(w, DropOldest, 0, i, 10<<10)
					w.Flush(NoBlock)
				}
				synctest.Wait()
				if m, b := w.Queued(); m != n || b != n*10<<10 {
					t.Errorf("%d messages of %d bytes are queued; want all", m, b)
				}
				if name == "Close" {
					near.Close()
					if lost := w.Close(nil); lost != n {
						t.Errorf("Close has discarded %d messages, want %d", lost, n)
					}
					if _, _, err := push(w, DropOldest, 0, n, 10); !errors.Is(err, net.ErrClosed) {
						t.Errorf("push after Close: %v", err)
					}
					idle(t, w)
					return
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				waited := make(chan error, 1)
				go func() { waited <- w.Wait(ctx) }()
				if name == "Wait whose context ends" {
					synctest.Wait()
					cancel()
					if err := <-waited; err != context.Canceled {
						t.Errorf("Wait = %v, want the error of its context", err)
					}
					numbersUpTo(t, far, n)
					idle(t, w)
					return
				}
				numbersUpTo(t, far, n-1)
				select {
				case err := <-waited:
					t.Fatalf("Wait has returned %v before the last frame was read", err)
				default:
				}
				io.CopyN(io.Discard, far, 10<<10)
				if err := <-waited; err != nil {
					t.Error(err)
				}
				idle(t, w)
			})
		})
	}
}

// The age is that of the oldest frame which the network has not taken.
func TestPushAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pair(t, "pipe")
		w := New(near, Config{WriteTimeout: time.Hour})
		age := func() time.Duration {
			since, ok := w.Oldest()
			if !ok {
				return 0
			}
			return time.Since(since)
		}
		want := func(d time.Duration) {
			t.Helper()
			if got := age(); got != d {
				t.Errorf("the oldest message has waited for %v, want %v", got, d)
			}
		}
		want(0)
		for i := range 3 { // each a second after the last: the first in a batch of its own
			put(w, nil, 0, i, 1000)
			w.Flush(NoBlock)
			synctest.Wait()
			time.Sleep(time.Second)
		}
		want(3 * time.Second)
		readFrame(far)
		synctest.Wait()
		want(2 * time.Second) // of the second
		readFrame(far)
		readFrame(far)
		synctest.Wait()
		want(0)
		idle(t, w)
	})
}

// Many push and send at once to a peer that reads in bursts: each sender's frames come in
// order, what is sent arrives, and what does not arrive is counted.
func TestPushAtRandom(t *testing.T) {
	near, far := pair(t, "tcp")
	near.(*net.TCPConn).SetWriteBuffer(4 << 10)
	const senders, n, bound = 8, 400, 150 << 10
	w := New(near, Config{Bound: bound})
	var dropped, taken atomic.Int64
	var wg sync.WaitGroup
	for sender := range senders {
		policy := []Policy{0, Fail, DropNewest, DropOldest, DropOldest, Latest, Latest, 0}[sender]
		wg.Go(func() {
			for i := range n {
				size := frameHead + rand.IntN(3000)
				ok, d, err := true, 0, error(nil)
				if policy == 0 {
					err = put(w, t.Context(), sender, i, size)
				} else {
					ok, d, err = push(w, policy, sender, i, size)
				}
				if err != nil && !(policy == Fail && errors.Is(err, ErrFull)) {
					t.Error(err)
					return
				}
				if ok && err == nil {
					taken.Add(1)
				}
				dropped.Add(int64(d))
				w.Flush(NoBlock)
			}
		})
	}
	got := make(chan [senders][]int, 1)
	go func() {
		var list [senders][]int
		for {
			sender, number, err := readFrame(far)
			if err != nil {
				got <- list
				return
			}
			list[sender] = append(list[sender], number)
		}
	}()
	wg.Wait()
	if err := w.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	near.Close()
	sum := 0
	for sender, list := range <-got {
		sum += len(list)
		if !slices.IsSorted(list) {
			t.Errorf("the frames of sender %d came in another order: %v", sender, list)
		}
		if (sender == 0 || sender == senders-1) && len(list) != n {
			t.Errorf("%d frames of sender %d arrived, which waits; want all %d", len(list), sender, n)
		}
	}
	if want := int(taken.Load() - dropped.Load()); sum != want {
		t.Errorf("%d frames arrived; %d were taken, of which %d were dropped", sum, taken.Load(), dropped.Load())
	}
	idle(t, w)
}

// If the batch is full of frames that cannot be dropped, a new frame takes the place of older
// ones that can.
func TestPushBehindAFullBatch(t *testing.T) {
	for _, policy := range []Policy{DropOldest, Latest} {
		synctest.Test(t, func(t *testing.T) {
			near, far := pair(t, "pipe")
			w := New(near, Config{Bound: 100 << 10})
			for i := range 8 {
				push(w, policy, i%2, i, 10<<10)
				w.Flush(NoBlock)
			}
			synctest.Wait()
			for i := range 2 { // begun below the bound
				w.SendNow(appendFrame(bufpool.Get(30<<10), 0, 100+i, 30<<10))
			}
			for i := 8; i < 30; i++ {
				if taken, _, err := push(w, policy, i%2, i, 10<<10); !taken || err != nil {
					t.Fatalf("push %d with policy %d: taken %v, %v", i, policy, taken, err)
				}
			}
			got := numbers(t, far)
			if n := len(got); n < 10 || got[n-1] != 29 {
				t.Errorf("with policy %d the peer has got %v; want the newest last", policy, got)
			}
			idle(t, w)
		})
	}
}
