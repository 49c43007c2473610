package inbox

import (
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const testMiB = 1 << 20

// Claims are granted while there is room; those that wait are granted as it becomes free.
func TestClaim(t *testing.T) {
	m := NewMemory(10 * testMiB)
	first, second, third := m.Claim(ToBegin, 0, 6*testMiB), m.Claim(ToBegin, 0, 6*testMiB), m.Claim(ToBegin, 0, 4*testMiB)
	for i, want := range []bool{true, false, true} {
		if got := []*Claim{first, second, third}[i].Granted(); got != want {
			t.Errorf("claim %d: granted is %v, want %v", i, got, want)
		}
	}
	third.Set(2 * testMiB)
	if m.Used() != 8*testMiB || second.Granted() {
		t.Errorf("%d bytes in use after a part was not used; want 8 MiB, and the second claim waiting", m.Used())
	}
	first.Free()
	if !second.Granted() {
		t.Error("the second claim still waits, although there is room")
	}
	if n := second.Take(); n != 6*testMiB || m.Used() != 8*testMiB {
		t.Errorf("Take() = %d, %d bytes in use; want 6 and 8 MiB", n, m.Used())
	}
	second.Free()
	third.Free()
	if m.Used() != 6*testMiB {
		t.Errorf("%d bytes in use, want the 6 MiB that were taken", m.Used())
	}
	m.Draw(-6 * testMiB)
	forced := m.Claim(ToBegin, 0, 20*testMiB)
	forced.Force()
	if m.Used() != 20*testMiB {
		t.Errorf("%d bytes in use, want 20 MiB that were forced", m.Used())
	}
	forced.Free()
	if m.Used() != 0 || len(m.claims) != 0 || m.waiting != [purposes]int64{} || m.overshoot != nil {
		t.Errorf("%d bytes in use, %d claims wait that hold %v; want none", m.Used(), len(m.claims), m.waiting)
	}
}

// What claimants hold that wait for each other counts as free for one of them.
func TestClaimsDoNotDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(10 * testMiB)
		var mu sync.Mutex
		most, began := int64(0), time.Now()
		var wg sync.WaitGroup
		for range 5 {
			m.Draw(2 * testMiB)
			wg.Go(func() {
				c := m.Claim(ToEnd, 2*testMiB, 5*testMiB)
				if !c.Wait(nil, nil) {
					t.Error("Wait() = false")
				}
				mu.Lock()
				most = max(most, m.Used())
				mu.Unlock()
				time.Sleep(time.Millisecond)
				c.Free()
				m.Draw(-2 * testMiB)
			})
		}
		wg.Wait()
		if took := time.Since(began); took >= patience {
			t.Errorf("it took %v: nobody but those that wait has memory", took)
		}
		if most > 15*testMiB {
			t.Errorf("%d bytes were in use; want one claim beyond the limit, 15 MiB", most)
		}
		if m.Used() != 0 {
			t.Errorf("%d bytes in use at the end", m.Used())
		}
	})
}

// While others keep the memory a claim is granted beyond the limit after a second, and the
// next one when that was freed. One that is larger than the limit need not wait if it is alone.
func TestClaimIsPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(10 * testMiB)
		m.Draw(9 * testMiB)
		began := time.Now()
		granted := make(chan *Claim, 2)
		for range 2 {
			go func() {
				c := m.Claim(ToBegin, 0, 3*testMiB)
				c.Wait(nil, nil)
				granted <- c
			}()
		}
		first := <-granted
		if took := time.Since(began); took != patience {
			t.Errorf("granted after %v, want %v", took, patience)
		}
		time.Sleep(5 * patience)
		if m.Used() != 12*testMiB {
			t.Errorf("%d bytes in use, want 12 MiB: one claim beyond the limit", m.Used())
		}
		first.Free()
		(<-granted).Free()
		if took := time.Since(began); took != 6*patience {
			t.Errorf("the second claim was granted after %v, want %v", took, 6*patience)
		}
		done := make(chan struct{})
		time.AfterFunc(patience/2, func() { close(done) })
		gone := m.Claim(ToBegin, testMiB, 3*testMiB)
		if gone.Wait(done, nil) || gone.Wait(nil, done) {
			t.Error("Wait() = true for a claimant that has gone")
		}
		gone.Free()
		m.Draw(-9 * testMiB)
		alone := m.Claim(ToBegin, 0, 30*testMiB)
		if !alone.Granted() {
			t.Error("a claim over the limit is not granted, although it is alone")
		}
		alone.Free()
		if m.Used() != 0 || m.waiting != [purposes]int64{} || len(m.claims) != 0 {
			t.Errorf("%d bytes in use, %d claims wait that hold %v; want none", m.Used(), len(m.claims), m.waiting)
		}
	})
}

var sink []byte

// What was given back counts until the garbage collector has run, which it does when the
// room is needed; but not if the memory has served again.
func TestGarbageCounts(t *testing.T) {
	collections := func() uint32 {
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.NumForcedGC
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	m := NewMemory(100 * testMiB)
	m.Draw(60 * testMiB)
	sink = make([]byte, 60*testMiB)
	sink = nil
	before := collections()
	m.Draw(-60 * testMiB)
	if m.Used() != 0 || m.garbage != 60*testMiB || m.over.Load() {
		t.Errorf("%d bytes in use, %d of garbage, over: %v; want 0, 60 MiB, false", m.Used(), m.garbage, m.over.Load())
	}
	m.Draw(30 * testMiB)
	if m.Over() || collections() != before {
		t.Error("the garbage collector has run, although there was room")
	}
	c := m.Claim(ToBegin, 0, 30*testMiB)
	if !c.Granted() || m.garbage != 0 || collections() != before+1 {
		t.Errorf("granted: %v, %d bytes of garbage, %d collections; want it collected once", c.Granted(), m.garbage, collections()-before)
	}
	c.Free()
	for range 1000 {
		m.Claim(ToBegin, 0, 8*testMiB).Free()
	}
	if got := collections(); got != before+1 || m.Over() {
		t.Errorf("%d collections more for memory that serves again, over: %v", got-before-1, m.Over())
	}
}
