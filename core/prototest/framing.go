package prototest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// small are messages of all kinds.
func (s *suite) small() []*socket.Envelope {
	return []*socket.Envelope{
		s.message(),
		s.message(socket.WithMtype(socket.TypeReply), socket.WithBody(nil)),
		s.message(socket.WithAddMeta("One", "1"), asBytes(text[:300])),
		s.message(asBytes(text[:100]), s.piped(testwire.XOR, testwire.Sum)),
		s.message(socket.WithMtype(socket.TypeReply), socket.WithBody(nil),
			socket.WithRerror(socket.NewRerror(404, "Not Found", "gone"))),
	}
}

// samples are messages of all kinds and sizes.
func (s *suite) samples() []*socket.Envelope {
	return append(s.small(),
		s.message(asBytes(text[:40_000])),
		s.message(asBytes(text[:70_000])),
		s.message(asBytes(text[:40_000]), s.piped(testwire.Hex)))
}

// row returns n messages, numbered from 1: those of samples, then small ones with a large
// one after every ten. The large ones take most of the time.
func (s *suite) row(n int) []*socket.Envelope {
	row := s.samples()
	for len(row) < n {
		row = append(append(append(row, s.small()...), s.small()...), s.samples()[5+len(row)%3])
	}
	for i, m := range row[:n] {
		m.SetSeq(int32(i + 1))
	}
	return row[:n]
}

func checkDribble(s *suite, w way) error {
	l := s.open(w)
	defer l.close()
	l.wire.dribble = true
	for i, m := range s.samples() {
		m.SetSeq(int32(i + 1))
		if err := s.exchange(l, m, carry); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
	}
	return nil
}

func checkRow(s *suite, w way) error {
	l := s.open(w)
	defer l.close()
	sent := s.row(100)
	for i, m := range sent {
		if err := l.send(m); err != nil {
			return fmt.Errorf("message %d: Pack: %w", i, err)
		}
	}
	got := new(socket.Envelope)
	for i, m := range sent {
		got.Clear()
		if err := l.recv(got); err != nil {
			return fmt.Errorf("message %d: Unpack: %w", i, err)
		}
		if err := s.same(m, got); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
	}
	for range 2 {
		if err := l.recv(got); err != io.EOF {
			return fmt.Errorf("after the last frame: %v, want io.EOF", err)
		}
	}
	return nil
}

// frame returns the frame of a message.
func (s *suite) frame(w way, m *socket.Envelope) ([]byte, error) {
	l := s.open(w)
	defer l.close()
	if err := l.send(m); err != nil {
		return nil, fmt.Errorf("Pack: %w", err)
	}
	return l.wire.take(), nil
}

func checkCut(s *suite, w way) error {
	for _, m := range []*socket.Envelope{
		s.message(socket.WithAddMeta("One", "1")),
		s.message(s.piped(testwire.XOR, testwire.Sum)),
		s.message(socket.WithMtype(socket.TypeReply), socket.WithRerror(socket.NewRerror(404, "Not Found", ""))),
	} {
		frame, err := s.frame(w, m)
		if err != nil {
			return err
		}
		for n := range frame {
			l := s.open(w)
			l.wire.Write(frame[:n])
			err := l.recv(new(socket.Envelope))
			l.close()
			switch {
			case isPanic(err):
				return fmt.Errorf("cut after %d of %d bytes: %w", n, len(frame), err)
			case n == 0 && err != io.EOF:
				return fmt.Errorf("nothing arrived: %v, want io.EOF", err)
			case n > 0 && (err == nil || errors.Is(err, io.EOF) || errors.Is(err, socket.ErrBadMessage)):
				return fmt.Errorf("cut after %d of %d bytes: %v, want an error other than io.EOF and ErrBadMessage",
					n, len(frame), err)
			}
		}
	}
	return nil
}

// took returns about how much memory f allocates, in bytes: the least of a few runs,
// since other goroutines allocate too.
func took(f func()) uint64 {
	least := ^uint64(0)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// mostMemory is what may be taken, in bytes, for a frame that did not arrive.
const mostMemory = 256 << 10

// huge returns frames whose body is larger than what is pooled (1 MiB), the first
// without filters, in the direction of w. They are packed once, since under the race detector that takes long.
func (s *suite) huge(w way) ([][]byte, error) {
	if s.hugeFrames[w.back] == nil {
		body := asBytes(bytes.Repeat([]byte("x"), 3<<19))
		for _, m := range []*socket.Envelope{s.message(body), s.message(body, s.piped(testwire.XOR))} {
			frame, err := s.frame(way{back: w.back}, m)
			if err != nil {
				return nil, err
			}
			s.hugeFrames[w.back] = append(s.hugeFrames[w.back], frame)
		}
	}
	return s.hugeFrames[w.back], nil
}

func checkMemory(s *suite, w way) error {
	frames, err := s.huge(w)
	if err != nil {
		return err
	}
	for _, frame := range frames {
		var got error
		n := took(func() {
			l := s.open(w)
			defer l.close()
			l.wire.Write(frame[:10_000])
			got = l.recv(new(socket.Envelope))
		})
		if isPanic(got) || got == nil {
			return fmt.Errorf("a cut frame: %v, want an error", got)
		}
		if n > mostMemory {
			return fmt.Errorf("a frame of %d bytes, cut after 10000: takes %d bytes of memory, want less than %d", len(frame), n, mostMemory)
		}
	}
	return nil
}

func checkLimit(s *suite, w way) error {
	for _, m := range []*socket.Envelope{
		s.message(asBytes(make([]byte, 500))),
		s.message(asBytes(make([]byte, 500)), s.piped(testwire.Sum)),
		s.message(asBytes(text[:70_000])),
	} {
		frame, err := s.frame(w, m)
		if err != nil {
			return err
		}
		size := uint32(len(frame))

		l := s.open(w)
		l.sendLimit(size)
		l.recvLimit(size)
		if err := s.exchange(l, m, carry); err != nil {
			return fmt.Errorf("a frame of exactly the limit: %w", err)
		}
		l.close()

		l = s.open(w)
		l.sendLimit(size - 1)
		if err := l.send(m); !errors.Is(err, socket.ErrSizeLimit) {
			return fmt.Errorf("a frame a byte over the limit: Pack: %v, want ErrSizeLimit", err)
		}
		if n := l.wire.len(); n > 0 {
			return fmt.Errorf("Pack refused a frame over the limit and wrote %d bytes of it", n)
		}
		if err := s.exchange(l, s.message(), carry); err != nil {
			return fmt.Errorf("after a Pack over the limit: %w", err)
		}
		l.recvLimit(size - 1)
		l.sendLimit(0)
		if err := l.send(m); err != nil {
			return err
		}
		if err := l.recv(new(socket.Envelope)); !errors.Is(err, socket.ErrSizeLimit) {
			return fmt.Errorf("a frame a byte over the limit: Unpack: %v, want ErrSizeLimit", err)
		}
		l.close()
	}
	return s.limitMemory(w)
}

// limitMemory checks that a refused frame is not read first.
func (s *suite) limitMemory(w way) error {
	frames, err := s.huge(w)
	if err != nil {
		return err
	}
	frame := frames[0]
	var got error
	n := took(func() {
		l := s.open(w)
		defer l.close()
		l.recvLimit(1000)
		l.wire.buf = *bytes.NewBuffer(frame) // which is only read
		got = l.recv(new(socket.Envelope))
	})
	if !errors.Is(got, socket.ErrSizeLimit) {
		return fmt.Errorf("a frame of %d bytes, limit 1000: Unpack: %v, want ErrSizeLimit", len(frame), got)
	}
	if n > mostMemory {
		return fmt.Errorf("a frame of %d bytes, limit 1000: takes %d bytes of memory before it is refused", len(frame), n)
	}
	return nil
}

func checkKeep(s *suite, w way) error {
	bad, lost := slices.Clone(s.bad), s.lost
	if w.back {
		bad, lost = nil, nil
	}
	if !s.without[Pipe] {
		frame, err := s.frame(w, s.message(socket.WithXferPipe(testwire.Fail)))
		if err != nil {
			return err
		}
		bad = append(bad, rawFrame{"a filter that fails", frame})
		frame, err = s.frame(w, s.message(socket.WithXferPipe(testwire.Fail), asBytes(text[:70_000])))
		if err != nil {
			return err
		}
		bad = append(bad, rawFrame{"a filter that fails on a large frame", frame})
	}
	for _, b := range bad {
		if err := s.keeps(w, b); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	for _, b := range lost {
		l := s.open(w)
		l.wire.Write(b.bytes)
		err := l.recv(new(socket.Envelope))
		l.close()
		if err == nil || isPanic(err) || err == io.EOF || errors.Is(err, socket.ErrBadMessage) {
			return fmt.Errorf("%s: Unpack: %v, want an error other than io.EOF and ErrBadMessage", b.name, err)
		}
	}
	return nil
}

func (s *suite) keeps(w way, b rawFrame) error {
	l := s.open(w)
	defer l.close()
	// First a good one, for protocols whose dialect it settles.
	if err := s.exchange(l, s.message(), carry); err != nil {
		return err
	}
	for range 2 {
		l.wire.Write(b.bytes)
		m := s.message(socket.WithAddMeta("One", "1"))
		if err := l.send(m); err != nil {
			return err
		}
		got := new(socket.Envelope)
		if err := l.recv(got); !errors.Is(err, socket.ErrBadMessage) {
			return fmt.Errorf("Unpack: %v, want ErrBadMessage", err)
		}
		got.Clear()
		if err := l.recv(got); err != nil {
			return fmt.Errorf("the next message: %w", err)
		}
		if err := s.same(m, got); err != nil {
			return fmt.Errorf("the next message: %w", err)
		}
	}
	return nil
}

func checkFail(s *suite, w way) error {
	l := s.open(w)
	defer l.close()
	for name, m := range map[string]*socket.Envelope{
		"a codec that is not there":         s.message(socket.WithBodyCodec(249), socket.WithBody(1)),
		"a body that its codec cannot take": s.message(socket.WithBodyCodec(testwire.JSON), socket.WithBody(make(chan int))),
		"the same with a pipe": s.message(socket.WithBodyCodec(testwire.JSON), socket.WithBody(make(chan int)),
			s.piped(testwire.XOR)),
	} {
		if err := s.exchange(l, m, refuse); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := s.exchange(l, s.message(), carry); err != nil {
			return fmt.Errorf("%s: the next message: %w", name, err)
		}
		if err := s.appendFails(m); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// appendFails checks that an AppendFrame that fails returns dst as it was.
func (s *suite) appendFails(m *socket.Envelope) error {
	a, ok := s.alone().(socket.FrameAppender)
	if !ok {
		return nil
	}
	before := []byte("before")
	dst := append(make([]byte, 0, 4096), before...)
	if got, err := a.AppendFrame(dst, m); err == nil || !bytes.Equal(got, before) {
		return fmt.Errorf("AppendFrame behind %q = %.40q, %v; want it as it was, and an error", before, got, err)
	}
	if got, err := a.AppendFrame(dst, s.message()); err != nil || !bytes.HasPrefix(got, before) || len(got) == len(before) {
		return fmt.Errorf("AppendFrame behind %q = %.40q, %v; want a frame behind it", before, got, err)
	}
	return nil
}

func checkWrite(s *suite, w way) error {
	for i, m := range s.samples() {
		l := s.open(way{name: w.name})
		if err := l.send(m); err != nil {
			return err
		}
		if l.wire.writes != 1 {
			return fmt.Errorf("message %d: %d Writes, want 1", i, l.wire.writes)
		}
		l.close()
	}
	return nil
}
