package sweep

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/suite"
)

const ms = int64(time.Millisecond)

// item records when it was called, and runs expire.
type item struct {
	Handle
	expire func(now int64) int64

	mu    sync.Mutex
	calls []int64
}

func (it *item) Expire(now int64) int64 {
	it.mu.Lock()
	it.calls = append(it.calls, now)
	it.mu.Unlock()
	if it.expire == nil {
		return 0
	}
	return it.expire(now)
}

func (it *item) times() []int64 {
	it.mu.Lock()
	defer it.mu.Unlock()
	return append([]int64(nil), it.calls...)
}

// alive reports whether the sweeper has a goroutine.
func (s *Sweeper) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

func TestTouch(t *testing.T) {
	for _, test := range []struct {
		name  string
		touch []int64 // in ms, one after the other, at time 0
		want  []int64 // latest times of the calls; each may come 10 ms later
	}{
		{"one", []int64{100}, []int64{100}},
		{"later is covered by earlier", []int64{100, 103, 250}, []int64{100}},
		{"earlier moves forward", []int64{250, 100}, []int64{100}},
		{"a bit earlier", []int64{120, 105}, []int64{105}},
		{"nothing asked", []int64{0}, nil},
		{"in the past", []int64{-50}, []int64{0}},
		{"for ever", []int64{math.MaxInt64 / ms}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, it := New(), &item{}
				defer s.Close()
				for _, at := range test.touch {
					s.Touch(it, at*ms)
				}
				time.Sleep(time.Second)
				got := it.times()
				if len(got) != len(test.want) {
					t.Fatalf("calls at %v, want %d of them", got, len(test.want))
				}
				for i, at := range got {
					if late := at - test.want[i]*ms; late < 0 || late > 10*ms {
						t.Errorf("call %d at %v, want %v to 10ms later", i, time.Duration(at), time.Duration(test.want[i]*ms))
					}
				}
			})
		})
	}
}

// A deadline before the one that the goroutine sleeps for wakes it up.
func TestEarlierWhileAsleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, late, early := New(), &item{}, &item{}
		defer s.Close()
		s.Touch(late, 500*ms)
		synctest.Wait()
		s.Touch(early, 300*ms)
		synctest.Wait()
		s.Touch(late, 100*ms)
		time.Sleep(110 * time.Millisecond)
		if got := late.times(); len(got) != 1 {
			t.Errorf("moved forward to 100 ms: calls at %v after 110 ms", got)
		}
		time.Sleep(200 * time.Millisecond)
		if got := early.times(); len(got) != 1 {
			t.Errorf("for 300 ms: calls at %v after 310 ms", got)
		}
	})
}

func TestNextIsPlanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, it := New(), &item{}
		defer s.Close()
		it.expire = func(now int64) int64 {
			if len(it.times()) == 3 {
				return 0
			}
			return now + 100*ms
		}
		s.Touch(it, 100*ms)
		time.Sleep(time.Second)
		if got := len(it.times()); got != 3 {
			t.Errorf("%d calls, want 3", got)
		}
		if s.alive() {
			t.Error("the goroutine lives on with nothing to wait for")
		}
		s.Touch(it, s.Now()+ms)
		time.Sleep(20 * time.Millisecond)
		if got := len(it.times()); got != 4 {
			t.Errorf("%d calls after a new start, want 4", got)
		}
	})
}

func TestAlwaysDueKeepsToTheGrid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, it := New(), &item{}
		defer s.Close()
		it.expire = func(int64) int64 { return 1 }
		s.Touch(it, 1)
		time.Sleep(time.Second)
		if got := len(it.times()); got < 190 || got > 201 {
			t.Errorf("%d calls in a second, want one each 5 ms", got)
		}
	})
}

// A Touch inside Expire counts, and so does the time that Expire returns: the earlier
// one holds.
func TestTouchInsideExpire(t *testing.T) {
	for _, test := range []struct {
		name        string
		touch, next int64
		want        int64
	}{
		{"touch first", 50, 200, 50},
		{"next first", 200, 50, 50},
		{"only touch", 50, 0, 50},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, it := New(), &item{}
				defer s.Close()
				it.expire = func(now int64) int64 {
					if len(it.times()) > 1 {
						return 0
					}
					s.Touch(it, now+test.touch*ms)
					if test.next == 0 {
						return 0
					}
					return now + test.next*ms
				}
				s.Touch(it, 5*ms)
				time.Sleep(time.Second)
				got := it.times()
				if len(got) != 2 {
					t.Fatalf("calls at %v, want two", got)
				}
				if d := got[1] - got[0] - test.want*ms; d < 0 || d > 10*ms {
					t.Errorf("second call %v after the first, want %d ms", time.Duration(got[1]-got[0]), test.want)
				}
			})
		})
	}
}

func TestRemove(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(s *Sweeper, it *item)
		want int
	}{
		{"before its time", func(s *Sweeper, it *item) { s.Touch(it, 100*ms); s.Remove(it) }, 0},
		{"never touched", func(s *Sweeper, it *item) { s.Remove(it) }, 0},
		{"twice", func(s *Sweeper, it *item) { s.Touch(it, 100*ms); s.Remove(it); s.Remove(it) }, 0},
		{"touch afterwards", func(s *Sweeper, it *item) { s.Remove(it); s.Touch(it, 100*ms); s.Touch(it, -ms) }, 0},
		{"inside its own Expire", func(s *Sweeper, it *item) {
			it.expire = func(now int64) int64 { s.Remove(it); return now + ms }
			s.Touch(it, 100*ms)
		}, 1},
		{"inside another's Expire", func(s *Sweeper, it *item) {
			other := &item{expire: func(int64) int64 { s.Remove(it); return 0 }}
			s.Touch(other, 95*ms)
			s.Touch(it, 100*ms)
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, it := New(), &item{}
				defer s.Close()
				test.do(s, it)
				time.Sleep(time.Second)
				if got := len(it.times()); got != test.want {
					t.Errorf("%d calls, want %d", got, test.want)
				}
				if s.alive() {
					t.Error("the goroutine lives on with nothing to wait for")
				}
			})
		})
	}
}

func TestRemoveEndsTheGoroutineAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, it := New(), &item{}
		defer s.Close()
		s.Touch(it, int64(time.Hour))
		synctest.Wait()
		s.Remove(it)
		synctest.Wait()
		if s.alive() {
			t.Error("the goroutine waits for an item that is gone")
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, it := New(), &item{}
		var done atomic.Bool
		slow := &item{expire: func(int64) int64 { time.Sleep(time.Minute); done.Store(true); return 1 }}
		s.Touch(slow, 10*ms)
		s.Touch(it, 20*ms)
		time.Sleep(15 * time.Millisecond)
		s.Close()
		if !done.Load() {
			t.Error("Close did not wait for the Expire that runs")
		}
		s.Close()
		s.Touch(it, 1)
		s.Touch(&item{}, 1)
		s.Remove(it)
		time.Sleep(time.Hour)
		if got := len(it.times()); got != 0 {
			t.Errorf("%d calls after Close, want 0", got)
		}
		if s.alive() {
			t.Error("the goroutine lives on after Close")
		}
	})
}

// Many items cost few wake-ups, and none is called early or late.
func TestManyItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const items = 10_000
		s := New()
		defer s.Close()
		all := make([]*item, items)
		at := make([]int64, items)
		for i := range all {
			all[i] = &item{}
			at[i] = (30 + int64(i*7919%items)) * 100_000 // 3 ms to 1003 ms
			s.Touch(all[i], at[i])
		}
		time.Sleep(2 * time.Second)
		for i, it := range all {
			got := it.times()
			if len(got) != 1 || got[0] < at[i] || got[0] > at[i]+10*ms {
				t.Fatalf("item %d for %v called at %v", i, time.Duration(at[i]), got)
			}
		}
	})
}

func TestNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		first := s.Now()
		if first <= 0 {
			t.Errorf("Now() = %d right after New, want above 0", first)
		}
		time.Sleep(time.Second)
		if got := s.Now() - first; got != int64(time.Second) {
			t.Errorf("Now() went on by %d in a second", got)
		}
	})
}

func TestAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		time.Sleep(time.Second)
		for d, want := range map[time.Duration]int64{
			0: s.Now(), time.Second: s.Now() + int64(time.Second), -time.Second: s.Now() - int64(time.Second),
			math.MaxInt64: math.MaxInt64, math.MaxInt64 - 1: math.MaxInt64, math.MinInt64: s.Now() + math.MinInt64,
		} {
			if got := s.After(d); got != want {
				t.Errorf("After(%v) = %d; want %d", d, got, want)
			}
		}
	})
}

// An Expire that ends its goroutine takes nobody's deadline along, nor its own next one.
func TestGoexitInExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, other := New(), &item{}
		bad := &item{expire: func(int64) int64 { runtime.Goexit(); return 0 }}
		s.Touch(bad, 10*ms)
		s.Touch(other, 50*ms)
		time.Sleep(100 * time.Millisecond)
		if got := other.times(); len(got) != 1 {
			t.Errorf("the other item was called at %v; want once", got)
		}
		if got := bad.times(); len(got) < 5 || len(got) > 25 {
			t.Errorf("the item itself was called %d times in 90 ms; want it to be asked again each 5 ms", len(got))
		}
		s.Close()
		if s.alive() {
			t.Error("the goroutine lives on after Close")
		}
	})
}

// Deadlines that are set from everywhere while Expire runs are all served:
// a Touch that took the fast path relied on a call that had not begun.
func TestNoDeadlineIsLost(t *testing.T) {
	s := New()
	defer s.Close()
	var nearest, served, set atomic.Int64
	it := &item{}
	it.expire = func(now int64) int64 {
		n := nearest.Load()
		if n == 0 || n > now {
			return n
		}
		if nearest.CompareAndSwap(n, 0) {
			served.Add(1)
		}
		return nearest.Load()
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20_000 {
				at := s.Now() + 1000
				if nearest.CompareAndSwap(0, at) {
					set.Add(1)
				}
				s.Touch(it, at)
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
	for limit := time.Now().Add(10 * time.Second); served.Load() < set.Load(); runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatalf("%d of %d deadlines served", served.Load(), set.Load())
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	s := New()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				it := &item{expire: func(now int64) int64 { return now + 1 }}
				s.Touch(it, s.Now())
				s.Touch(it, s.Now()+ms)
				s.Remove(it)
			}
		})
	}
	wg.Wait()
	s.Close()
	if s.alive() {
		t.Error("the goroutine lives on after Close")
	}
}

func TestFastPathAllocs(t *testing.T) {
	s, it := New(), &item{}
	defer s.Close()
	s.Touch(it, int64(time.Hour))
	if got := suite.Allocs(0, func() { s.Touch(it, int64(2*time.Hour)) }); got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

func BenchmarkTouch(b *testing.B) {
	b.Run("fast", func(b *testing.B) {
		s, it := New(), &item{}
		defer s.Close()
		s.Touch(it, int64(time.Hour))
		b.ReportAllocs()
		for b.Loop() {
			s.Touch(it, int64(2*time.Hour))
		}
	})
	b.Run("moved forward", func(b *testing.B) {
		s, it := New(), &item{}
		defer s.Close()
		at := int64(math.MaxInt64 / 2)
		b.ReportAllocs()
		for b.Loop() {
			at -= 2 * grid
			s.Touch(it, at)
		}
	})
}
