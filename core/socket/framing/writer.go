package framing

import (
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/teleport-go/teleport/core/socket"
)

// Writer writes the frames of one connection. Payload, Filter and Size are for
// AppendFrame, and may be called concurrently; Pack runs one at a time.
type Writer struct {
	name string
	w    io.Writer
	room socket.BufferWriter // w, if it is one
}

// NewWriter returns a Writer to w for the protocol of that name, with which its
// errors begin.
func NewWriter(name string, w io.Writer) Writer {
	room, _ := w.(socket.BufferWriter)
	return Writer{name: name, w: w, room: room}
}

// Pack implements the Pack of p, by its AppendFrame: one Write, and none if that
// fails.
func (w *Writer) Pack(p interface {
	AppendFrame(dst []byte, m socket.Message) ([]byte, error)
}, m socket.Message) error {
	if w.room != nil {
		frame, err := p.AppendFrame(w.room.AvailableBuffer(), m)
		if err != nil {
			return err
		}
		_, err = w.room.Write(frame)
		return err
	}
	s := getScratch()
	defer s.free()
	frame, err := p.AppendFrame(s.b, m)
	if err != nil {
		return err
	}
	s.b = frame
	_, err = w.w.Write(frame)
	return err
}

// Payload appends the number of the message's filters, their ids, and what they
// make of the payload, which appendTo appends. On an error the slice it returns may
// hold anything.
//
// Without filters that is a zero and the payload. A protocol that appends them
// itself then saves two calls, which is a tenth of a small frame.
func (w *Writer) Payload(dst []byte, m socket.Message, appendTo func(dst []byte) ([]byte, error)) ([]byte, error) {
	pipe := m.XferPipe()
	n := pipe.Len()
	if n == 0 {
		return appendTo(append(dst, 0))
	}
	return w.Filter(pipe.AppendIDs(append(dst, byte(n))), m, appendTo)
}

// Filter is Payload for a frame that has the filters' ids elsewhere: it appends
// what they make of the payload, which without filters is the payload itself.
func (w *Writer) Filter(dst []byte, m socket.Message, appendTo func(dst []byte) ([]byte, error)) ([]byte, error) {
	pipe := m.XferPipe()
	n := pipe.Len()
	if n == 0 {
		return appendTo(dst)
	}
	if n > maxIDs {
		return dst, &FieldError{Proto: w.name, Field: "pipe", Fault: fmt.Sprintf("of %d filters is longer than %d", n, maxIDs)}
	}
	s := getScratch()
	defer s.free()
	payload, err := appendTo(s.b)
	if err != nil {
		return dst, err
	}
	s.b = payload
	return pipe.AppendPack(dst, payload)
}

// Size sets the message's size to that of its frame, and returns it. The message may
// refuse it; 4 GiB or more are refused here.
func (w *Writer) Size(m socket.Message, size int) (uint32, error) {
	if int64(size) > math.MaxUint32 {
		return 0, w.tooLarge(size)
	}
	return uint32(size), m.SetSize(uint32(size))
}

func (w *Writer) tooLarge(size int) error {
	return fmt.Errorf("%s: message of %d bytes: %w", w.name, size, socket.ErrSizeLimit)
}

// scratch is a pooled buffer.
type scratch struct{ b []byte }

var scratches = sync.Pool{New: func() any { return &scratch{make([]byte, 0, 1<<10)} }}

func getScratch() *scratch { return scratches.Get().(*scratch) }

func (s *scratch) free() {
	if cap(s.b) > 1<<20 {
		return // one large message must not stay in memory
	}
	s.b = s.b[:0]
	scratches.Put(s)
}
