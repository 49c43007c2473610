package prototest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

func checkBorrowed(s *suite, w way) error {
	l := s.open(w)
	defer l.close()
	sizes := []int{10, 3000, 40_000, 70_000, 200_000}
	type kept struct{ got, want []byte }
	var all []kept
	for i := range 4 * len(sizes) {
		n := sizes[i%len(sizes)]
		body := bytes.Repeat([]byte{byte('a' + i)}, n)
		var pipe socket.MessageSetting
		switch i % 4 {
		case 1:
			pipe = s.piped(testwire.XOR, testwire.Sum)
		case 3:
			pipe = s.piped(testwire.Hex) // the frame is larger than the body
		}
		if err := l.send(s.message(asBytes(body), pipe)); err != nil {
			return err
		}
		// The next one lies behind it already.
		if err := l.send(s.message(asBytes(bytes.Repeat([]byte("#"), min(n, 4000))), pipe)); err != nil {
			return err
		}
		m := new(socket.Envelope)
		if err := l.recv(m); err != nil {
			return err
		}
		if !bytes.Equal(m.RawBody(), body) {
			return fmt.Errorf("body of %d bytes is %.20q…, want %.20q…", n, m.RawBody(), body)
		}
		if cap(m.RawBody()) > len(m.RawBody()) && m.BodyOwned() {
			// Its owner may append to it.
			_ = append(m.RawBody(), '!')
		}
		all = append(all, kept{m.KeepBody(), body})
		if err := l.recv(new(socket.Envelope)); err != nil {
			return err
		}
	}
	for i, k := range all {
		if !bytes.Equal(k.got, k.want) {
			return fmt.Errorf("message %d: the body of %d bytes was kept and has changed to %.20q…, want %.20q…",
				i, len(k.want), k.got, k.want)
		}
	}
	return nil
}

func checkBeside(s *suite, w way) error {
	// The other end of another connection has packed what this one reads.
	row := s.row(100)
	from, to := new(stream), new(stream)
	for _, m := range row {
		frame, err := s.frame(w.turned(), m)
		if err != nil {
			return err
		}
		from.Write(frame)
	}
	g := &guard{pack: w.pack}
	send, recv, end := s.both(w, g, from, to)
	defer end()
	var wg sync.WaitGroup
	var sendErr, recvErr error
	wg.Go(func() {
		for _, m := range s.row(len(row)) {
			if sendErr = send(m); sendErr != nil {
				return
			}
		}
	})
	wg.Go(func() {
		for i, want := range row {
			got := new(socket.Envelope)
			if recvErr = recv(got); recvErr != nil {
				return
			}
			if recvErr = s.same(want, got); recvErr != nil {
				recvErr = fmt.Errorf("message %d: %w", i, recvErr)
				return
			}
		}
	})
	wg.Wait()
	if err := errors.Join(sendErr, recvErr); err != nil {
		return err
	}
	// And what it wrote is in order.
	l := s.open(w)
	defer l.close()
	l.wire.Write(to.take())
	for i, want := range row {
		got := new(socket.Envelope)
		if err := l.recv(got); err != nil {
			return fmt.Errorf("written message %d: %w", i, err)
		}
		if err := s.same(want, got); err != nil {
			return fmt.Errorf("written message %d: %w", i, err)
		}
	}
	return nil
}

// both returns one connection that reads from and writes to the streams.
func (s *suite) both(w way, g *guard, from, to *stream) (send, recv func(*socket.Envelope) error, end func()) {
	if !w.engine {
		p := g.wrap(s.pf)(s.plain(from, to, !w.back))
		return func(m *socket.Envelope) error { return g.panicked(p.Pack(m)) },
			func(m *socket.Envelope) error { return g.panicked(p.Unpack(m)) },
			func() {}
	}
	c := socket.NewConn(&conn{r: from, w: to}, g.wrap(s.pf), socket.Options{Dialed: !w.back})
	send = func(m *socket.Envelope) error {
		if err := c.Enqueue(context.Background(), m); err != nil {
			return g.panicked(err)
		}
		c.Flush(0)
		return g.panicked(c.WaitFlushed(context.Background()))
	}
	recv = func(m *socket.Envelope) error { return g.panicked(c.ReadInto(m)) }
	return send, recv, func() {
		c.Stop(nil)
		c.Join()
		c.Release()
	}
}

func checkTogether(s *suite, w way) error {
	if !w.engine {
		return s.appendTogether()
	}
	const senders, each = 8, 12
	l := s.open(w)
	defer l.close()
	errs := make([]error, senders)
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for j := range each {
				seq := i*each + j
				if errs[i] = l.send(s.numbered(seq)); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	seen := make([]bool, senders*each)
	for range seen {
		got := new(socket.Envelope)
		if err := l.recv(got); err != nil {
			return err
		}
		seq := int(got.Seq())
		if seq < 0 || seq >= len(seen) || seen[seq] {
			return fmt.Errorf("message %d arrives twice, or was never sent", seq)
		}
		seen[seq] = true
		if err := s.same(s.numbered(seq), got); err != nil {
			return fmt.Errorf("message %d: %w", seq, err)
		}
	}
	return nil
}

// numbered is a message of which all follows from its number.
func (s *suite) numbered(n int) *socket.Envelope {
	m := s.message(socket.WithSeq(int32(n)), socket.WithAddMeta("N", fmt.Sprint(n)),
		asBytes(bytes.Repeat([]byte{byte('A' + n%26)}, []int{0, 20, 3000, 20_000, 50_000}[n%5])))
	if pipe := s.piped(testwire.XOR, testwire.Sum); n%3 == 0 && pipe != nil {
		pipe(m)
	}
	return m
}

// appendTogether runs AppendFrame on several goroutines at once.
func (s *suite) appendTogether() error {
	a, ok := s.alone().(socket.FrameAppender)
	if !ok {
		return nil
	}
	const many = 60
	frames := make([][]byte, many)
	errs := make([]error, many)
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() { frames[i], errs[i] = a.AppendFrame(nil, s.numbered(i)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	l := s.open(way{})
	defer l.close()
	for i, frame := range frames {
		l.wire.Write(frame)
		got := new(socket.Envelope)
		if err := l.recv(got); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		if err := s.same(s.numbered(i), got); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
	}
	return nil
}
