package secure

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, err := NewKeys(Key{1, make([]byte, 16)})
		if err != nil {
			t.Fatal(err)
		}
		s := &EndToEnd(k).(*endToEnd).seen
		n := uint64(0)
		fresh := func() (of id) {
			n++
			binary.BigEndian.PutUint64(of[:], n)
			return of
		}
		want := func(what string, of id, at time.Time, want error) {
			t.Helper()
			if err := s.take(of, at); !errors.Is(err, want) {
				t.Errorf("%s: %v; want %v", what, err, want)
			}
		}
		for range 300 { // over several generations
			a, b := fresh(), fresh()
			now := time.Now()
			want("now", a, now, nil)
			want("a minute ahead", b, now.Add(time.Minute), nil)
			want("further ahead", fresh(), now.Add(time.Minute+time.Millisecond), ErrReplayed)
			time.Sleep(time.Minute)
			want("again after a minute", a, now, ErrReplayed)
			time.Sleep(time.Minute)
			want("again after two minutes", b, now.Add(time.Minute), ErrReplayed)
			time.Sleep(time.Duration(n%7) * time.Second)
		}
		if got := len(s.now) + len(s.older); got > 12 {
			t.Errorf("%d ids are remembered; want those of four minutes", got)
		}
		now := time.Now()
		for len(s.now)+len(s.older) < maxIDs {
			s.now[fresh()] = struct{}{}
		}
		want("one more than are remembered", fresh(), now, ErrFull)
		time.Sleep(10 * time.Minute)
		want("when all are too old", fresh(), time.Now(), nil)
		if got := len(s.now) + len(s.older); got != 1 {
			t.Errorf("%d ids are remembered; want 1", got)
		}
	})
}

func FuzzEndToEnd(f *testing.F) {
	k, err := NewKeys(Key{7, bytes.Repeat([]byte("k"), 16)})
	if err != nil {
		f.Fatal(err)
	}
	p := EndToEnd(k).(*endToEnd)
	m := message(tp.TypeCall, 1, "/a")
	m.SetBody([]byte("body"))
	if r := p.seal(m, id{}, "/a"); r != nil {
		f.Fatal(r)
	}
	sealed := m.Body().([]byte)
	f.Add(sealed[:minEndSealed])
	f.Add([]byte{})
	f.Add([]byte{2, 0, 0, 0, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := message(tp.TypeCall, 1, "/a")
		m.UnmarshalBody(b)
		err := p.open(m, "/a", func(id, time.Time) error { return nil })
		if err == nil && !bytes.Equal(b, sealed) {
			t.Errorf("opened %x as %x", b, m.RawBody())
		}
	})
}
