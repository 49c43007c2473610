package pending

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/teleport-go/teleport/core/internal/suite"
)

func mustAdd[T any](t *testing.T, table *Table[T], v T, deadline int64) int32 {
	t.Helper()
	seq, err := table.Add(v, deadline)
	if err != nil {
		t.Fatalf("Add(%v) = %v", v, err)
	}
	return seq
}

func TestNumbers(t *testing.T) {
	for _, test := range []struct {
		name string
		next int32 // 0: from the beginning
		busy []int32
		want []int32
	}{
		{"from 1", 0, nil, []int32{1, 2, 3}},
		{"around", math.MaxInt32 - 1, nil, []int32{math.MaxInt32 - 1, math.MaxInt32, 1, 2}},
		{"busy slots are skipped", 16, []int32{1, 2, 4}, []int32{16, 19, 21, 22}},
		{"busy after the turn", math.MaxInt32, []int32{1, 2}, []int32{math.MaxInt32, 3, 4}},
	} {
		for _, how := range []string{"Add", "Next"} {
			t.Run(test.name+"/"+how, func(t *testing.T) {
				var table Table[string]
				for _, seq := range test.busy {
					table.SetNext(seq)
					if got := mustAdd(t, &table, "busy", 0); got != seq {
						t.Fatalf("Add() = %d, want %d", got, seq)
					}
				}
				if test.next != 0 {
					table.SetNext(test.next)
				}
				for _, want := range test.want {
					got := table.Next
					if how == "Add" {
						got = func() int32 { seq := mustAdd(t, &table, "x", 0); table.Take(seq); return seq }
					}
					if got := got(); got != want {
						t.Errorf("next number %d, want %d", got, want)
					}
				}
			})
		}
	}
}

func TestTake(t *testing.T) {
	var table Table[string]
	a, b := mustAdd(t, &table, "a", 0), mustAdd(t, &table, "b", 0)
	for _, test := range []struct {
		name string
		seq  int32
		want string
		ok   bool
	}{
		{"there", a, "a", true},
		{"twice", a, "", false},
		{"same slot, other number", b + minSize, "", false},
		{"never given", b + 1, "", false},
		{"zero", 0, "", false},
		{"negative with the same low bits", b + math.MinInt32, "", false},
		{"least", math.MinInt32, "", false},
		{"the other", b, "b", true},
		{"of an empty table", b, "", false},
	} {
		got, ok := table.Take(test.seq)
		if got != test.want || ok != test.ok {
			t.Errorf("%s: Take(%d) = %q, %v; want %q, %v", test.name, test.seq, got, ok, test.want, test.ok)
		}
	}
	if got := table.Len(); got != 0 {
		t.Errorf("Len() = %d, want 0", got)
	}
	if _, ok := new(Table[string]).Take(1); ok {
		t.Error("Take of a table that was never used found something")
	}
}

// A reply that comes after its call has expired must not hit a later call.
func TestLateReply(t *testing.T) {
	var table Table[int]
	late := mustAdd(t, &table, -1, 10)
	expired := 0
	table.Expire(10, func(int32, int) { expired++ })
	if expired != 1 {
		t.Fatalf("%d calls expired, want 1", expired)
	}
	for i := range 100_000 {
		seq := mustAdd(t, &table, i, 0)
		if v, ok := table.Take(late); ok {
			t.Fatalf("late reply took call %d", v)
		}
		table.Take(seq)
	}
}

func TestExpire(t *testing.T) {
	for _, test := range []struct {
		name      string
		deadlines []int64
		now       int64
		want      []int64 // taken
		next      int64
	}{
		{"empty", nil, 100, nil, 0},
		{"no deadlines", []int64{0, 0}, 100, nil, 0},
		{"none due", []int64{300, 101, 0}, 100, nil, 101},
		{"due now", []int64{100}, 100, []int64{100}, 0},
		{"some", []int64{300, 0, 50, 200, 99}, 100, []int64{50, 99}, 200},
		{"all", []int64{1, 2, 3}, 100, []int64{1, 2, 3}, 0},
		{"a deadline before the clock began", []int64{-5, 200}, 100, []int64{-5}, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			var table Table[int64]
			for _, d := range test.deadlines {
				mustAdd(t, &table, d, d)
			}
			var got []int64
			next := table.Expire(test.now, func(_ int32, v int64) { table.Len(); got = append(got, v) })
			slices.Sort(got)
			if !slices.Equal(got, test.want) || next != test.next {
				t.Errorf("Expire(%d) took %v, next %d; want %v, %d", test.now, got, next, test.want, test.next)
			}
			if got, want := table.Len(), len(test.deadlines)-len(test.want); got != want {
				t.Errorf("Len() = %d, want %d", got, want)
			}
		})
	}
}

// The deadline of a call that was taken stays as the nearest; it may cause one early
// Expire, after which the nearest deadline is right again.
func TestExpireBound(t *testing.T) {
	var table Table[int]
	near := mustAdd(t, &table, 1, 10)
	mustAdd(t, &table, 2, 1000)
	table.Take(near)
	none := func(_ int32, v int) { t.Errorf("call %d expired", v) }
	if next := table.Expire(10, none); next != 1000 {
		t.Errorf("Expire(10) = %d, want 1000", next)
	}
	if next := table.Expire(11, none); next != 1000 {
		t.Errorf("Expire(11) = %d, want 1000", next)
	}
}

func TestClose(t *testing.T) {
	var table Table[int]
	for i := range 100 {
		mustAdd(t, &table, i, 5)
	}
	want := table.Len()
	if got := len(table.Drain()); got != want {
		t.Errorf("Drain took %d, want %d", got, want)
	}
	if next := table.Expire(1, nil); next != 0 {
		t.Errorf("Expire of a drained table = %d, want 0", next)
	}
	seq := mustAdd(t, &table, 7, 0)
	if got := table.Close(); !slices.Equal(got, []int{7}) {
		t.Errorf("Close took %v, want [7]", got)
	}
	if _, err := table.Add(8, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("Add after Close: %v, want %v", err, ErrClosed)
	}
	if _, ok := table.Take(seq); ok {
		t.Error("Take after Close found something")
	}
	if got := table.Close(); len(got) != 0 {
		t.Errorf("second Close took %v", got)
	}
	if got := table.Next(); got != seq+1 {
		t.Errorf("Next after Close = %d, want %d", got, seq+1)
	}
}

func TestFull(t *testing.T) {
	var table Table[struct{}]
	table.SetNext(math.MaxInt32 - maxPending/2)
	first := mustAdd(t, &table, struct{}{}, 0)
	for range maxPending - 1 {
		mustAdd(t, &table, struct{}{}, 0)
	}
	if _, err := table.Add(struct{}{}, 0); !errors.Is(err, ErrFull) {
		t.Errorf("Add to a full table: %v, want %v", err, ErrFull)
	}
	if got := len(table.slots); got != 2*maxPending {
		t.Errorf("%d slots, want %d", got, 2*maxPending)
	}
	if _, ok := table.Take(first); !ok {
		t.Error("the first call is lost")
	}
	mustAdd(t, &table, struct{}{}, 0)
}

// An empty table does not keep a large ring: the garbage collector frees it, and a table
// that is used before that does not allocate a new one.
func TestLargeRingIsLentOnly(t *testing.T) {
	const calls = 5000
	var table Table[int]
	var seqs []int32
	fill := func() {
		for i := range calls {
			seqs = append(seqs, mustAdd(t, &table, i, 0))
		}
	}
	empty := func() {
		for _, seq := range seqs {
			table.Take(seq)
		}
		seqs = seqs[:0]
	}
	fill()
	size := len(table.slots)
	empty()
	if table.slots != nil {
		t.Errorf("an empty table keeps %d slots", len(table.slots))
	}
	if got := suite.Allocs(20, func() { fill(); empty() }); got > 20 {
		t.Errorf("%v allocations a round with the ring still there", got)
	}
	mustAdd(t, &table, 1, 0)
	if got := len(table.slots); got != size && got != minSize {
		t.Errorf("%d slots after the return, want %d", got, size)
	}
	table.Drain()
	runtime.GC()
	if table.spare.Value() != nil {
		t.Error("the ring outlives a collection while the table is empty")
	}
	fill()
	empty()
}

func TestRingDoublesWhenHalfFull(t *testing.T) {
	var table Table[int]
	for n := 1; n <= 1000; n++ {
		mustAdd(t, &table, n, 0)
		want := minSize
		for want/2 < n {
			want *= 2
		}
		if got := len(table.slots); got != want {
			t.Fatalf("%d calls in %d slots, want %d", n, got, want)
		}
	}
}

func TestTakeRace(t *testing.T) {
	const rounds, takers = 2000, 4
	var table Table[int]
	var won atomic.Int64
	for round := range rounds {
		seq := mustAdd(t, &table, round, 1)
		var wg sync.WaitGroup
		for range takers {
			wg.Go(func() {
				if v, ok := table.Take(seq); ok {
					if v != round {
						t.Errorf("took call %d, want %d", v, round)
					}
					won.Add(1)
				}
			})
		}
		wg.Go(func() { table.Expire(1, func(int32, int) { won.Add(1) }) })
		wg.Wait()
		if got := won.Swap(0); got != 1 {
			t.Fatalf("round %d has %d winners", round, got)
		}
	}
}

// With concurrent callers each call has one winner, and no number is pending twice.
func TestConcurrentUse(t *testing.T) {
	const callers, calls = 8, 5000
	var table Table[*atomic.Int32]
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := range calls {
				won := new(atomic.Int32)
				seq, err := table.Add(won, int64(i%3))
				if err != nil {
					t.Errorf("Add: %v", err)
					return
				}
				table.Next()
				if i%5 == 0 {
					table.Expire(1, func(_ int32, w *atomic.Int32) { w.Add(1) })
				}
				if w, ok := table.Take(seq); ok {
					w.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := table.Len(); got != 0 {
		t.Errorf("Len() = %d, want 0", got)
	}
}

// A table behaves like a map.
func TestModel(t *testing.T) {
	type call struct {
		v        int
		deadline int64
	}
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			var table Table[int]
			model := map[int32]call{}
			held := map[int32]bool{}
			var given []int32
			now, last := int64(1), int32(0)
			if seed%2 == 0 {
				last = math.MaxInt32 - 1500
				table.SetNext(last + 1)
			}
			number := func(seq int32) {
				if seq <= 0 {
					t.Fatalf("number %d", seq)
				}
				if _, ok := model[seq]; ok || held[seq] {
					t.Fatalf("number %d is pending or held already", seq)
				}
				if seq <= last && last < math.MaxInt32-1<<21 {
					t.Fatalf("number %d after %d", seq, last)
				}
				last = seq
				given = append(given, seq)
			}
			take := func(seq int32) {
				v, ok := table.Take(seq)
				want, wantOK := model[seq]
				if ok != wantOK || v != want.v {
					t.Fatalf("Take(%d) = %d, %v; want %d, %v", seq, v, ok, want.v, wantOK)
				}
				delete(model, seq)
			}
			for i := range 20_000 {
				switch op := rnd.IntN(100); {
				case op < 45:
					c := call{v: i}
					if rnd.IntN(2) == 0 {
						c.deadline = now + rnd.Int64N(2000)
					}
					seq, err := table.Add(c.v, c.deadline)
					if err != nil {
						t.Fatal(err)
					}
					number(seq)
					model[seq] = c
				case op < 47:
					number(table.Next())
				case op < 49:
					seq, err := table.Hold()
					if err != nil {
						t.Fatal(err)
					}
					number(seq)
					held[seq] = true
				case op < 51:
					for seq := range held {
						delete(held, seq)
						if rnd.IntN(2) == 0 {
							table.Release(seq)
							break
						}
						c := call{v: i, deadline: now + 1 + rnd.Int64N(2000)}
						model[seq] = c
						if n, err := table.AddHeld(seq, c.v, c.deadline); err != nil || n != len(model) {
							t.Fatalf("AddHeld = %d, %v; want %d", n, err, len(model))
						}
						break
					}
				case op < 55 && len(given) > 0:
					seq := given[len(given)-min(len(given), 1+rnd.IntN(300))]
					_, pending := model[seq]
					err := table.HoldAgain(seq)
					if (err != nil) != (pending || held[seq]) {
						t.Fatalf("HoldAgain(%d) = %v; the call is pending: %v, its number held: %v", seq, err, pending, held[seq])
					}
					if err == nil {
						held[seq] = true
					}
				case op < 90 && len(given) > 0:
					back := min(len(given), 1+rnd.IntN(300))
					take(given[len(given)-back])
				case op < 95:
					take(int32(rnd.Uint32()))
				case op < 99:
					now += rnd.Int64N(100)
					var got, want []int
					next := table.Expire(now, func(_ int32, v int) { got = append(got, v) })
					nearest := int64(0)
					for seq, c := range model {
						switch {
						case c.deadline == 0:
						case c.deadline <= now:
							want = append(want, c.v)
							delete(model, seq)
						case nearest == 0 || c.deadline < nearest:
							nearest = c.deadline
						}
					}
					slices.Sort(got)
					slices.Sort(want)
					if !slices.Equal(got, want) {
						t.Fatalf("Expire(%d) took %v, want %v", now, got, want)
					}
					if nearest != 0 && (next == 0 || next > nearest) || next != 0 && next <= now {
						t.Fatalf("Expire(%d) = %d, nearest is %d", now, next, nearest)
					}
				case rnd.IntN(20) == 0:
					if got := table.Drain(); len(got) != len(model) {
						t.Fatalf("Drain took %d, want %d", len(got), len(model))
					}
					clear(model)
				}
				if got := table.Len(); got != len(model) {
					t.Fatalf("Len() = %d, want %d", got, len(model))
				}
			}
		})
	}
}

func TestHeldWhenTheTableIsClosed(t *testing.T) {
	var table Table[string]
	mustAdd(t, &table, "a", 0)
	seq, err := table.Hold()
	if err != nil || seq != 2 {
		t.Fatalf("Hold = %d, %v", seq, err)
	}
	if got := table.Close(); len(got) != 1 || got[0] != "a" {
		t.Errorf("Close took %q; want the call that was added", got)
	}
	if _, err := table.AddHeld(seq, "b", 0); err != ErrClosed {
		t.Errorf("AddHeld = %v; want ErrClosed", err)
	}
	if _, err := table.Hold(); err != ErrClosed {
		t.Errorf("Hold = %v; want ErrClosed", err)
	}
	if table.n != 0 || table.held != 0 || table.Has(seq) {
		t.Errorf("%d slots busy, %d held; want none", table.n, table.held)
	}
}

func TestAllocs(t *testing.T) {
	var table Table[*int]
	v := new(int)
	held := []int32{mustAdd(t, &table, v, 0)}
	for range 1000 {
		held = append(held, mustAdd(t, &table, v, 0))
	}
	got := suite.Allocs(0, func() {
		seq, _ := table.Add(v, 1000)
		table.Expire(1, nil)
		table.Take(seq)
		table.Take(held[0])
	})
	if got != 0 {
		t.Errorf("%v allocations a call, want 0", got)
	}
}

func BenchmarkAddTake(b *testing.B) {
	for _, held := range []int{0, 100, 5000} {
		b.Run(fmt.Sprintf("%d pending", held), func(b *testing.B) {
			var table Table[*int]
			v := new(int)
			for range held {
				if _, err := table.Add(v, 0); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				seq, _ := table.Add(v, 0)
				table.Take(seq)
			}
		})
	}
}
