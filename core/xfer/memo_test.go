package xfer

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// memoFilter counts what it packs, and fails on request.
type memoFilter struct {
	id     byte
	packed *atomic.Int64
}

var errMemo = errors.New("on request")

func (f memoFilter) ID() byte     { return f.id }
func (f memoFilter) Name() string { return fmt.Sprint("memo", f.id) }
func (f memoFilter) OnPack(b []byte) ([]byte, error) {
	f.packed.Add(1)
	if string(b) == "fail" {
		return nil, errMemo
	}
	return append([]byte{f.id}, b...), nil
}
func (memoFilter) OnUnpack(b []byte) ([]byte, error) { return bytes.Clone(b[1:]), nil }

// A Memo knows its results by payload and filters, keeps few, and none of what fails.
func TestMemo(t *testing.T) {
	var packed atomic.Int64
	var m Memo
	pack := func(payload string, remember bool, ids ...byte) (string, error) {
		var x XferPipe
		for _, id := range ids {
			x.filters = append(x.filters, memoFilter{id, &packed})
		}
		if remember {
			x.Remember(&m)
		}
		out, err := x.AppendPack([]byte("dst "), []byte(payload))
		return string(out), err
	}
	for _, test := range []struct {
		payload  string
		remember bool
		ids      []byte
		want     string
		packs    int64
	}{
		{"x", true, []byte{'a'}, "dst ax", 1},
		{"x", true, []byte{'a'}, "dst ax", 0},
		{"x", false, []byte{'a'}, "dst ax", 1},
		{"x", true, []byte{'a', 'b'}, "dst abx", 2},
		{"x", true, []byte{'b'}, "dst bx", 1},
		{"x", true, nil, "dst x", 0},
		{"y", true, []byte{'a'}, "dst ay", 1},
		{"x", true, []byte{'a'}, "dst ax", 0}, // one of four
		{"z", true, []byte{'a'}, "dst az", 1},
		{"x", true, []byte{'a'}, "dst ax", 1}, // it was the oldest
		{"z", true, []byte{'a'}, "dst az", 0},
	} {
		packed.Store(0)
		got, err := pack(test.payload, test.remember, test.ids...)
		if got != test.want || err != nil || packed.Load() != test.packs {
			t.Errorf("%q through %q: %q, %v, %d filters ran; want %q, %d", test.payload, test.ids, got, err, packed.Load(), test.want, test.packs)
		}
	}
	for range 2 {
		packed.Store(0)
		if got, err := pack("fail", true, 'a'); got != "dst " || !errors.Is(err, errMemo) || packed.Load() != 1 {
			t.Errorf("a filter that fails: %q, %v, it ran %d times; want once", got, err, packed.Load())
		}
	}
}

// A Memo may be used by many at once; what it returns is never another one's result.
func TestMemoConcurrently(t *testing.T) {
	var packed atomic.Int64
	var m Memo
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			x := XferPipe{filters: []XferFilter{memoFilter{'a', &packed}}}
			x.Remember(&m)
			for n := range 200 {
				payload := fmt.Sprint((i + n) % (memoSize + 2))
				if out, err := x.AppendPack(nil, []byte(payload)); string(out) != "a"+payload || err != nil {
					t.Errorf("%q becomes %q, %v", payload, out, err)
				}
			}
		})
	}
	wg.Wait()
}

// Reset ends Remember.
func TestMemoEndsWithReset(t *testing.T) {
	var packed atomic.Int64
	x := XferPipe{filters: []XferFilter{memoFilter{'a', &packed}}}
	x.Remember(new(Memo))
	x.Reset()
	for range 2 {
		x.filters = []XferFilter{memoFilter{'a', &packed}}
		if _, err := x.AppendPack(nil, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if n := packed.Load(); n != 2 {
		t.Errorf("the filter ran %d times, want 2", n)
	}
}
