package socket

import (
	"bytes"
	"sync"
	"testing"

	"github.com/teleport-go/teleport/core/xfer"
)

// onceFilter counts what it packs.
type onceFilter struct{ packed *int }

const onceFilterID = 238

var oncePacked int

func (onceFilter) ID() byte                          { return onceFilterID }
func (onceFilter) Name() string                      { return "test once" }
func (f onceFilter) OnPack(b []byte) ([]byte, error) { *f.packed++; return bytes.Clone(b), nil }
func (onceFilter) OnUnpack(b []byte) ([]byte, error) { return bytes.Clone(b), nil }

var registerOnce = sync.OnceFunc(func() { xfer.Register(onceFilter{&oncePacked}) })

// The filters of a PUSH with a prepared body run once for the same payload. Those of a CALL,
// each of which has another number, and those of a message that serves again run each time.
func TestPreparedGoesThroughFiltersOnce(t *testing.T) {
	registerOnce()
	for _, test := range []struct {
		name   string
		mtype  byte
		pipe   []byte // of the Prepared
		before func(m *Envelope)
		want   int
	}{
		{"a PUSH", TypePush, []byte{onceFilterID}, func(*Envelope) {}, 1},
		{"a PUSH with the filter in its settings", TypePush, nil, func(m *Envelope) { m.pipe.Append(onceFilterID) }, 1},
		{"a CALL", TypeCall, []byte{onceFilterID}, func(*Envelope) {}, 2},
	} {
		p, err := Prepare(0, []byte("x"), test.pipe...)
		if err != nil {
			t.Fatal(err)
		}
		oncePacked = 0
		for range 2 {
			var m Envelope
			m.SetMtype(test.mtype)
			m.SetBody(p)
			test.before(&m)
			m.Share()
			if out, err := m.pipe.AppendPack(nil, []byte("payload")); string(out) != "payload" || err != nil {
				t.Errorf("%s: %q, %v", test.name, out, err)
			}
		}
		if oncePacked != test.want {
			t.Errorf("%s: the filter ran %d times, want %d", test.name, oncePacked, test.want)
		}
	}

	var m Envelope
	p, _ := Prepare(0, []byte("x"))
	m.SetMtype(TypePush)
	m.SetBody(p)
	m.Share()
	m.Clear()
	oncePacked = 0
	m.pipe.Append(onceFilterID)
	for range 2 {
		m.pipe.AppendPack(nil, []byte("payload"))
	}
	if oncePacked != 2 {
		t.Errorf("a message that serves again: the filter ran %d times, want 2", oncePacked)
	}
}
