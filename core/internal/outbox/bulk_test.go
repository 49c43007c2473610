package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// sendBulk sends a frame of n bytes that is bulk.
func sendBulk(ctx context.Context, w *Writer, b *Bulk, n int) error {
	if err := w.EnterBulk(ctx, b); err != nil {
		return err
	}
	defer b.Leave()
	at, err := w.Send(ctx, appendFrame(nil, 0, 0, n))
	if err == nil {
		b.Accepted(at, n)
	}
	return err
}

// While so much bulk waits to be written more of it is not accepted, and other frames are.
func TestBulk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newGate()
		w, b := New(c, Config{}), NewBulk()
		const n = 64 << 10
		ended := make(chan string, 100)
		for i := range bulkBound/n + 4 {
			go func() {
				ended <- fmt.Sprint(i, sendBulk(t.Context(), w, b, n))
			}()
			synctest.Wait() // so that they are in order
		}
		accepted := func() (got []string) {
			synctest.Wait()
			for len(ended) > 0 {
				got = append(got, <-ended)
			}
			slices.Sort(got) // those that end together say so in any order
			return got
		}
		if got := fmt.Sprint(accepted()); got != "[0 <nil> 1 <nil> 2 <nil> 3 <nil>]" {
			t.Errorf("accepted of the first ones: %s", got)
		}
		if err := put(w, t.Context(), 0, 0, 100); err != nil {
			t.Errorf("a small frame: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := sendBulk(ctx, w, b, n); err != context.DeadlineExceeded {
			t.Errorf("in the queue until the context ends: %v", err)
		}
		c.pass(n)
		if got := fmt.Sprint(accepted()); got != "[4 <nil>]" {
			t.Errorf("accepted when one is written: %s", got)
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.EnterBulk(cancelled, NewBulk()); err != nil {
			t.Errorf("without a wait: %v", err) // an ended context ends only waits
		}
		reason := errors.New("reason")
		w.Close(reason)
		if got := fmt.Sprint(accepted()); got != "[5 reason 6 reason 7 reason]" {
			t.Errorf("at the end: %s", got)
		}
		c.fail(errors.New("closed"))
		synctest.Wait()
	})
}
