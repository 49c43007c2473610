package prototest

import (
	"errors"
	"fmt"
	"io"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// checkAhead: of a protocol that is socket.Repeatable, whose Unpack is called twice for
// frames whose filters run ahead of their turn.
func checkAhead(s *suite, w way) error {
	r, ok := s.alone().(socket.Repeatable)
	if !ok || !r.Repeatable() || !w.engine || s.without[Pipe] {
		return nil
	}
	l := s.open(w)
	defer l.close()
	l.readAhead(8 << 20)
	sent := s.row(150)
	for i, m := range sent {
		ids := m.XferPipe().IDs()
		m.XferPipe().Reset()
		if i%4 != 3 {
			ids = append([]byte{testwire.Far}, ids...)
		}
		if i%20 == 19 {
			ids = []byte{testwire.Far, testwire.Fail}
		}
		if err := m.XferPipe().Append(ids...); err != nil {
			return err
		}
		if err := l.send(m); err != nil {
			return fmt.Errorf("message %d: Pack: %w", i, err)
		}
	}
	most := 0
	got := new(socket.Envelope)
	for i, m := range sent {
		got.Clear()
		err := l.recv(got)
		most = max(most, l.ahead())
		if i%20 == 19 {
			if !errors.Is(err, socket.ErrBadMessage) || isPanic(err) {
				return fmt.Errorf("message %d, with a filter that fails: %v, want %w", i, err, socket.ErrBadMessage)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("message %d: Unpack: %w", i, err)
		}
		if err := s.same(m, got); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
	}
	if err := l.recv(got); err != io.EOF {
		return fmt.Errorf("after the last frame: %v, want io.EOF", err)
	}
	if most < 2 {
		return errors.New("no frame was read ahead: Unpack has to peek at a whole frame, to discard it at once, and to reverse its filters by socket.Unpack in place")
	}
	return nil
}
