package outproctest

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/outproc"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// lifeChecks are those of the whole guest.
var lifeChecks = []struct {
	name string
	run  func(s *suite, t *testing.T)
}{
	{"killed under load", (*suite).killed},
	{"reload under load", (*suite).reloaded},
	{"stopped and continued", (*suite).stopped},
	{"descriptors", (*suite).descriptors},
	{"lane", (*suite).lane},
	{"bundle", (*suite).bundle},
	{"wrong token", (*suite).wrongToken},
	{"wrong first message", (*suite).wrongFirst},
	{"garbage on the lane", (*suite).garbage},
	{"drain", (*suite).drained},
	{"the lane ends", (*suite).laneEnds},
	{"the host has gone before the lane", (*suite).hostGone},
}

// pureItem returns a function that sends an item to one of the guest's filters and codecs,
// and checks the answer; nil if the guest has none.
func (s *suite) pureItem(t *testing.T) func(n int) error {
	for _, p := range s.desc.Parts {
		switch p.Kind {
		case contract.KindFilter:
			f, err := xfer.Get(p.ID)
			require.NoError(t, err)
			return func(n int) error { return roundTrip(f, sample(600, uint64(n))) }
		case contract.KindCodec:
			c, err := codec.Get(p.ID)
			require.NoError(t, err)
			return func(n int) error { return codecTrip(c, value{Text: fmt.Sprint(n)}) }
		}
	}
	return nil
}

// item is pureItem or a question for one of the guest's deciders; nil if there is none.
func (s *suite) item(t *testing.T, h *outproc.Handle) func(n int) error {
	if item := s.pureItem(t); item != nil {
		return item
	}
	for _, p := range s.desc.Parts {
		if p.Kind == contract.KindDecision {
			return newDecided(t, h, p).question
		}
	}
	return nil
}

// underLoad has 16 callers send items until f has returned. An item ends with the right
// answer or with an error that bad accepts.
func (s *suite) underLoad(t *testing.T, h *outproc.Handle, good func(error) bool, f func(progress func())) {
	item := s.item(t, h)
	if item == nil {
		f(func() {})
		return
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var answered atomic.Int64
	for caller := range 16 {
		wg.Go(func() {
			for n := caller << 20; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				err := item(n)
				if err == nil {
					answered.Add(1)
				} else if !good(err) {
					t.Errorf("an item under load: %v", err)
					return
				}
			}
		})
	}
	defer wg.Wait()
	defer close(stop)
	f(func() {
		from := answered.Load()
		for end := time.Now().Add(patience); answered.Load() < from+50 && !t.Failed(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Error("the items under load are not answered")
				return
			}
		}
	})
}

func kill(pid int, sig os.Signal) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Signal(sig)
}

// killed: each item of 16 callers ends, and none with wrong bytes, when the guest is
// killed.
func (s *suite) killed(t *testing.T) {
	h := s.loaded(t)
	await(t, h, outproc.Ready)
	unavailable := func(err error) bool { return errors.Is(err, outproc.ErrGuestUnavailable) }
	s.underLoad(t, h, unavailable, func(progress func()) {
		for range 3 {
			progress()
			require.NoError(t, kill(activePID(h), os.Kill))
			await(t, h, outproc.Starting)
			await(t, h, outproc.Ready)
		}
		progress()
	})
	require.Equal(t, 3, h.Restarts())
}

// reloaded: no item fails when the guest is replaced.
func (s *suite) reloaded(t *testing.T) {
	h := s.loaded(t)
	s.underLoad(t, h, func(error) bool { return false }, func(progress func()) {
		for range 3 {
			progress()
			require.NoError(t, h.Reload(t.Context()))
		}
		progress()
	})
	require.Zero(t, h.Restarts())
}

// descriptors: items leave no descriptors and no threads behind in the guest.
func (s *suite) descriptors(t *testing.T) {
	h := s.loaded(t)
	item := s.pureItem(t)
	if item == nil {
		return
	}
	count := func() int {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", activePID(h)))
		if err != nil {
			return 0 // only Linux says
		}
		return len(list)
	}
	require.NoError(t, item(0))
	before := count()
	for n := range 200 {
		require.NoError(t, item(n))
	}
	require.LessOrEqual(t, count(), before+20, "descriptors after 200 items; a runtime opens some of its own when it first waits")
}
