package socket_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

func TestSwap(t *testing.T) {
	var s socket.Swap
	if v, ok := s.Load("k"); v != nil || ok || s.Len() != 0 {
		t.Errorf("the zero value has %v", v)
	}
	if _, _, ok := s.Random(); ok {
		t.Error("Random finds something")
	}
	s.Delete("k")
	s.Clear()
	s.Range(func(any, any) bool { t.Error("Range finds something"); return true })

	if v, loaded := s.LoadOrStore("k", 1); v != 1 || loaded {
		t.Errorf("LoadOrStore = %v, %v; want 1, false", v, loaded)
	}
	if v, loaded := s.LoadOrStore("k", 2); v != 1 || !loaded {
		t.Errorf("LoadOrStore again = %v, %v; want 1, true", v, loaded)
	}
	s.Store("k", 3)
	s.Store(4, nil)
	if v, ok := s.Load("k"); v != 3 || !ok || s.Len() != 2 {
		t.Errorf("Load = %v, %v; Len = %d", v, ok, s.Len())
	}
	if v, ok := s.Load(4); v != nil || !ok {
		t.Errorf("Load of a stored nil = %v, %v", v, ok)
	}
	if k, v, ok := s.Random(); !ok || k != "k" && k != 4 || k == "k" && v != 3 {
		t.Errorf("Random = %v, %v, %v", k, v, ok)
	}

	var dst socket.Swap
	dst.Store("k", "old")
	dst.Store("own", true)
	s.CopyTo(&dst)
	s.CopyTo(&s)
	if v, _ := dst.Load("k"); v != 3 || dst.Len() != 3 || s.Len() != 2 {
		t.Errorf("CopyTo: k = %v, %d pairs; the source has %d", v, dst.Len(), s.Len())
	}

	n := 0
	s.Range(func(k, v any) bool { // may change it
		s.Delete(k)
		n++
		return true
	})
	if n != 2 || s.Len() != 0 {
		t.Errorf("Range visits %d, and leaves %d", n, s.Len())
	}
	dst.Range(func(any, any) bool { n++; return false })
	if n != 3 {
		t.Errorf("Range goes on after false: %d", n-2)
	}
	dst.Clear()
	if dst.Len() != 0 {
		t.Errorf("Clear leaves %d", dst.Len())
	}
}

func TestSwapConcurrent(t *testing.T) {
	var s, dst socket.Swap
	var wg sync.WaitGroup
	won := make([]int, 100)
	for i := range 8 {
		wg.Go(func() {
			for k := range won {
				if v, _ := s.LoadOrStore(k, i); v == i {
					s.Store(fmt.Sprint(k), i)
				}
				s.Len()
				s.Random()
				s.Load(k)
				if k%20 == 0 {
					s.CopyTo(&dst)
					s.Range(func(any, any) bool { return true })
				}
			}
		})
	}
	wg.Wait()
	for k := range won {
		first, _ := s.Load(k)
		if v, _ := s.Load(fmt.Sprint(k)); v != first {
			t.Errorf("key %d: %v has stored it first, and %v believes so", k, first, v)
		}
	}
}
