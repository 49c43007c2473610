package inbox

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// half returns a Reader that has read n bytes of a frame of 64 MiB, and the error of its
// Peek: without more bytes that is a read deadline's.
func half(t *testing.T, m *Memory, n int, onExceeded func(error)) (*Reader, error) {
	t.Helper()
	r := New(&script{pieces: split(make([]byte, n), 1<<20), end: os.ErrDeadlineExceeded}, Config{Memory: m, OnMemoryExceeded: onExceeded})
	t.Cleanup(r.Close)
	_, err := r.Peek(64 << 20)
	return r, err
}

func TestLargestGoes(t *testing.T) {
	for _, test := range []struct {
		name  string
		limit int64
		sent  []int // bytes of each Reader, one after the other
		gone  []int // the Readers whose OnMemoryExceeded is called
	}{
		{"within the limit", 1 << 20, []int{100_000, 100_000, 100_000}, nil},
		{"alone too large", 1 << 20, []int{3 << 20}, []int{0}},
		{"the growing one is the largest", 1 << 20, []int{100_000, 3 << 20}, []int{1}},
		{"another is the largest", 1 << 20, []int{500_000, 200_000, 100_000, 100_000, 100_000}, []int{0}},
		{"two must go", 1 << 20, []int{400_000, 3 << 20, 100_000, 250_000, 200_000}, []int{1, 0}},
		{"among equals the growing one", 1 << 20, []int{100_000, 500_000, 500_000}, []int{2}},
		{"no limit", 0, []int{5 << 20, 5 << 20}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := NewMemory(test.limit)
			var gone []int
			var readers []*Reader
			for i, n := range test.sent {
				r, err := half(t, m, n, func(err error) {
					gone = append(gone, i)
					if !errors.Is(err, ErrMemory) || !strings.Contains(err.Error(), "limit of 1048576") {
						t.Errorf("OnMemoryExceeded got %q", err)
					}
				})
				if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, ErrMemory) {
					t.Errorf("Peek of reader %d = %v", i, err)
				}
				readers = append(readers, r)
			}
			if len(gone) != len(test.gone) {
				t.Fatalf("exceeded %v, want %v", gone, test.gone)
			}
			isExceeded := map[int]bool{}
			for i, want := range test.gone {
				if gone[i] != want {
					t.Errorf("exceeded %v, want %v", gone, test.gone)
				}
				isExceeded[want] = true
			}
			for i, r := range readers {
				_, err := r.Peek(64 << 20)
				if errors.Is(err, ErrMemory) != isExceeded[i] {
					t.Errorf("reader %d: Peek = %v; isExceeded: %v", i, err, isExceeded[i])
				}
				if test.limit > 0 && m.Used() > test.limit {
					t.Errorf("%d bytes in use, over the limit of %d", m.Used(), test.limit)
				}
				r.Close()
			}
			if m.Used() != 0 {
				t.Errorf("%d bytes in use after all is closed", m.Used())
			}
		})
	}
}

func TestDiscardGivesMemoryBack(t *testing.T) {
	m := NewMemory(1 << 20)
	r := New(&script{pieces: split(make([]byte, 900_000), 4096)}, Config{Memory: m})
	defer r.Close()
	for range 3 {
		if _, err := r.Peek(300_000); err != nil {
			t.Fatal(err)
		}
		if m.Used() < 300_000 {
			t.Errorf("%d bytes in use with a frame of 300000", m.Used())
		}
		r.Discard(300_000)
		if m.Used() < 300_000 {
			t.Errorf("%d bytes in use after the Discard: the message has them", m.Used())
		}
		if n := r.TakeMemory(); n != m.Used() {
			t.Errorf("TakeMemory() = %d, %d are in use", n, m.Used())
		}
		m.Draw(-m.Used())
	}
}

// Small frames do not count, so they can be read while the memory is used up.
func TestSmallFramesDoNotCount(t *testing.T) {
	m := NewMemory(1)
	r := New(&script{pieces: split(make([]byte, 900_000), 4096)}, Config{Memory: m})
	defer r.Close()
	for range 10 {
		if _, err := r.Peek(bigFrame); err != nil {
			t.Fatal(err)
		}
		r.Discard(bigFrame)
	}
	if _, err := r.Peek(bigFrame + 1); !errors.Is(err, ErrMemory) {
		t.Errorf("Peek(%d) = %v, want %v", bigFrame+1, err, ErrMemory)
	}
	if _, err := r.Peek(bigFrame); !errors.Is(err, ErrMemory) {
		t.Errorf("Peek after the failure = %v, want %v", err, ErrMemory)
	}
}

// What the caller keeps of a frame by itself counts as the Reader's own buffers do.
func TestKeep(t *testing.T) {
	const mib = 1 << 20
	m := NewMemory(4 * mib)
	r := New(&script{pieces: split(make([]byte, 3*mib), mib), end: os.ErrDeadlineExceeded}, Config{Memory: m})
	for _, step := range []struct {
		keep int
		want int64
	}{{mib, mib}, {2 * mib, 2 * mib}, {mib, mib}, {bigFrame, 0}, {3 * mib, 3 * mib}} {
		if err := r.Keep(step.keep); err != nil || m.Used() != step.want {
			t.Errorf("Keep(%d) = %v, %d bytes in use; want %d", step.keep, err, m.Used(), step.want)
		}
	}
	r.EndFrame()
	if m.Used() != 3*mib {
		t.Errorf("%d bytes in use after the end of the frame, want the 3 MiB that were kept: the message has them", m.Used())
	}
	r.DropMemory()
	if m.Used() != 0 {
		t.Errorf("%d bytes in use after DropMemory", m.Used())
	}
	if _, err := r.Peek(2 * mib); err != nil {
		t.Fatal(err)
	}
	if err := r.Keep(3 * mib); !errors.Is(err, ErrMemory) {
		t.Errorf("Keep beside a large frame = %v, want %v", err, ErrMemory)
	}
	if r.Close(); m.Used() != 0 {
		t.Errorf("%d bytes in use after Close", m.Used())
	}
}

// Readers that need more than they have reserved do not wait for each other: each gives
// up its part while it waits.
func TestReserveDoesNotDeadlock(t *testing.T) {
	const mib = 1 << 20
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(4 * mib)
		await := func(blocked func() bool) bool {
			for {
				room := m.Room()
				if !blocked() {
					return true
				}
				select {
				case <-room:
				case <-time.After(time.Minute):
					return false
				}
			}
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				r := New(&script{end: os.ErrDeadlineExceeded}, Config{Memory: m, AwaitMemory: await})
				defer r.Close()
				for _, n := range []int{mib, 2 * mib, 3 * mib} {
					if err := r.Reserve(n); err != nil {
						t.Errorf("Reserve(%d) = %v", n, err)
					}
					time.Sleep(time.Millisecond) // the filters run
				}
				r.DropMemory()
			})
		}
		wg.Wait()
		if m.Used() != 0 {
			t.Errorf("%d bytes in use at the end", m.Used())
		}
		r := New(&script{end: os.ErrDeadlineExceeded}, Config{Memory: m})
		defer r.Close()
		if err := r.Reserve(5 * mib); !errors.Is(err, ErrMemory) {
			t.Errorf("Reserve of more than the limit = %v, want %v", err, ErrMemory)
		}
	})
}

// A thousand peers begin frames of 64 MiB and stop: the Reader of the one that has sent
// most fails first, and the memory is always within its limit.
func TestThousandHalfSentFrames(t *testing.T) {
	const limit, largest = 16 << 20, 0
	m := NewMemory(limit)
	var readers [1000]*Reader
	var exceeded []int
	for i := range readers {
		n := 70_000 + i*16
		if i == largest {
			n = 5 << 20
		}
		s := &script{pieces: split(make([]byte, n), 1<<20), end: os.ErrDeadlineExceeded}
		s.before = func() {
			if used := m.Used(); used > limit {
				t.Errorf("%d bytes in use, over the limit", used)
			}
		}
		readers[i] = New(s, Config{Memory: m, OnMemoryExceeded: func(error) { exceeded = append(exceeded, i) }})
		seen := len(exceeded)
		readers[i].Peek(64 << 20)
		for _, o := range exceeded[seen:] {
			readers[o].Close() // as their owners do
		}
	}
	if len(exceeded) < 800 || exceeded[0] != largest {
		t.Fatalf("%d exceeded, want most of the 1000, the first of them %d", len(exceeded), largest)
	}
	held := 0
	for _, r := range readers {
		held += cap(r.big) + cap(r.buf)
		r.Close()
	}
	if held > limit || held < limit/2 {
		t.Errorf("%d bytes held, want close to the limit of %d and not over", held, limit)
	}
	if m.Used() != 0 {
		t.Errorf("%d bytes in use after all is closed", m.Used())
	}
}

func TestMemoryConcurrentUse(t *testing.T) {
	const limit = 4 << 20
	m := NewMemory(limit)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 20 {
				s := &script{pieces: split(make([]byte, 70_000+i*50_000), 40_000), end: os.ErrDeadlineExceeded}
				closed := make(chan struct{})
				r := New(s, Config{Memory: m, OnMemoryExceeded: func(error) { close(closed) }}) // a second call would panic
				_, err := r.Peek(64 << 20)
				select {
				case <-closed:
				default:
					if errors.Is(err, ErrMemory) && r.account.condemned() == nil {
						t.Error("Peek failed for memory, but no Reader is condemned")
					}
				}
				if m.Used() > limit {
					t.Errorf("%d bytes in use, over the limit", m.Used())
				}
				r.Close()
			}
		})
	}
	wg.Wait()
	if m.Used() != 0 || len(m.accounts) != 0 {
		t.Errorf("%d bytes in %d accounts after all is closed", m.Used(), len(m.accounts))
	}
}
