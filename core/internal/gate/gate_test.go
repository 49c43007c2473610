package gate

import (
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// start starts n goroutines that work at the gate until done is closed, and returns how
// many work.
func start(g *Gate, n int, work func()) (working *atomic.Int32) {
	working = new(atomic.Int32)
	for range n {
		go func() {
			defer g.Enter()()
			working.Add(1)
			work()
		}()
		synctest.Wait()
	}
	return working
}

func TestGate(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func()
	}{
		{"returns", func() {}},
		{"ends its goroutine", runtime.Goexit},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				next := make(chan struct{})
				working := start(New(2, time.Hour), 5, func() { <-next; test.end() })
				for want := 2; want <= 5; want++ {
					if n := int(working.Load()); n != want {
						t.Errorf("%d have begun; want %d", n, want)
					}
					next <- struct{}{}
					synctest.Wait()
				}
				close(next)
			})
		})
	}
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		g := New(2, time.Second)
		working := start(g, 5, func() { <-done })
		for _, want := range []int{2, 4, 5} {
			if n := int(working.Load()); n != want {
				t.Errorf("%d have begun; want %d", n, want)
			}
			time.Sleep(time.Second + time.Millisecond)
			synctest.Wait()
		}
		close(done)
		synctest.Wait()
		if n := len(g.places); n != 0 {
			t.Errorf("%d places are taken at the end", n)
		}
	})
}
