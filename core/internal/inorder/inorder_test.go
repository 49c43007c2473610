package inorder

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Queues[string, int]
		var mu sync.Mutex
		got := map[string][]int{}
		var want []int
		for i := range 100 {
			want = append(want, i)
			for _, key := range []string{"a", "b"} {
				q.Add(key, i, func(v int) {
					mu.Lock()
					defer mu.Unlock()
					got[key] = append(got[key], v)
				})
			}
		}
		synctest.Wait()
		for _, key := range []string{"a", "b"} {
			if !slices.Equal(got[key], want) {
				t.Errorf("%s ran in the order %v", key, got[key])
			}
		}
	})
}

func TestOneAtATimeByKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Queues[string, int]
		var mu sync.Mutex
		var begun []string
		release := make(chan struct{})
		for _, key := range []string{"a", "a", "b"} {
			q.Add(key, 0, func(int) {
				mu.Lock()
				begun = append(begun, key)
				mu.Unlock()
				<-release
			})
		}
		synctest.Wait()
		slices.Sort(begun)
		if !slices.Equal(begun, []string{"a", "b"}) {
			t.Errorf("%v run concurrently, want one of each key", begun)
		}
		close(release)
		synctest.Wait()
		if len(begun) != 3 {
			t.Errorf("%d have run, want 3", len(begun))
		}
	})
}

// A value that ends its goroutine does not keep the next ones from running.
func TestGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Queues[int, int]
		var mu sync.Mutex
		var got []int
		for i := range 5 {
			q.Add(0, i, func(v int) {
				mu.Lock()
				got = append(got, v)
				mu.Unlock()
				if v%2 == 0 {
					runtime.Goexit()
				}
			})
		}
		synctest.Wait()
		if !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
			t.Errorf("%v have run, want all in order", got)
		}
	})
}
