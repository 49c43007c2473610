package framing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/teleport-go/teleport/core/socket"
)

// Reader reads the frames of one connection: Head, Frame, then Payload or Unfilter,
// once each a message; or Next. Only the goroutine that calls Unpack may use it.
//
// An error of Head or Frame ends the connection, a later one costs the message.
// Memory grows with what has arrived, never with what a size claims.
type Reader struct {
	name string
	r    io.Reader
	peek socket.PeekReader // r, if it is one

	begins func(first byte) bool // until the first frame has been examined; nil: it is not
	mark   byte                  // of frames that begin with one; 0: there is none

	head  int    // bytes that Head has returned
	frame []byte // the frame, where it cannot be peeked at
	plain []byte // what the filters made of the payload
	owned bool
}

// NewReader returns a Reader of r for the protocol of that name, with which its
// errors begin. It leaves frames in place if r is a [socket.PeekReader]; else it
// reads them, and never a byte behind one.
func NewReader(name string, r io.Reader) Reader {
	peek, _ := r.(socket.PeekReader)
	return Reader{name: name, r: r, peek: peek}
}

// Head returns the first n bytes of the frame, from which the protocol computes its
// size. If they are not enough Head may be called again, for more. They are valid
// until the next call. The error is io.EOF only where no frame has begun.
func (r *Reader) Head(n int) ([]byte, error) {
	if r.peek == nil {
		return r.readHead(n)
	}
	head, err := r.peek.Peek(n)
	if err != nil {
		return nil, r.cutShort("size", len(head), n, err)
	}
	r.head = n
	return head, nil
}

// Frame returns the whole frame, of size bytes, those of Head included. It is
// valid until the next Head or Frame. The size of the message is set before any
// memory is taken, and the message may refuse it; a size that does not fit into 32
// bits is refused here. So is a TLS record, with an error that matches
// [socket.ErrTLS], and a first frame that is of another protocol; see [Format].
func (r *Reader) Frame(m socket.Message, size uint64) ([]byte, error) {
	switch {
	case size > maxSize:
		return nil, fmt.Errorf("%s: message of %d bytes: %w", r.name, size, socket.ErrSizeLimit)
	case size < uint64(max(r.head, 1)):
		return nil, r.lost("size", fmt.Sprintf("of %d bytes is below the header's %d", size, max(r.head, 1)))
	}
	if size >= tlsRecord {
		if err := r.notTLS(); err != nil {
			return nil, err
		}
	}
	if r.begins != nil {
		if err := r.examine(size); err != nil {
			return nil, err
		}
	}
	if err := m.SetSize(uint32(size)); err != nil {
		return nil, err
	}
	m.XferPipe().Reset()
	if r.peek == nil {
		return r.readFrame(int(size))
	}
	r.head, r.owned = 0, false
	frame, err := r.peek.Peek(int(size))
	if err != nil {
		return nil, r.cutShort("frame", len(frame), int(size), err)
	}
	// The bytes stay where they are until the next Peek.
	if _, err := r.peek.Discard(int(size)); err != nil {
		return nil, fmt.Errorf("%s: frame of %d bytes: %w", r.name, size, err)
	}
	return frame, nil
}

// Payload returns what went through the filters. b is the frame from their number
// on: one byte, then an id each, then what they made of the payload. They become
// the message's pipe. The payload is valid as long as the frame.
func (r *Reader) Payload(m socket.Message, b []byte) ([]byte, error) {
	if len(b) > 0 && b[0] == 0 {
		return b[1:], nil
	}
	return r.unfilter(m, b)
}

func (r *Reader) unfilter(m socket.Message, b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, r.bad("size", "of 0 bytes leaves no room for the number of filters", nil)
	}
	n, b := int(b[0]), b[1:]
	switch {
	case n > MaxFilters:
		return nil, r.tooMany(n)
	case n > len(b):
		return nil, r.bad("pipe", fmt.Sprintf("of %d bytes is over the frame's end", n), nil)
	}
	return r.Unfilter(m, b[:n], b[n:])
}

// Unfilter is Payload for a frame that has the filters' ids elsewhere: b is what
// they made of the payload, which without filters is b itself.
func (r *Reader) Unfilter(m socket.Message, ids, b []byte) ([]byte, error) {
	if len(ids) == 0 {
		return b, nil
	}
	if len(ids) > MaxFilters {
		return nil, r.tooMany(len(ids))
	}
	pipe := m.XferPipe()
	if err := pipe.Append(ids...); err != nil {
		return nil, r.bad("pipe", "", err)
	}
	plain, err := socket.Unpack(r.r, pipe, r.plain[:0], b, int(min(uint64(m.Limit()), math.MaxInt)))
	if err != nil {
		return nil, r.bad("pipe", "", err)
	}
	r.plain = plain
	if r.owned = cap(plain) > OwnFrom; r.owned {
		r.plain = nil
	}
	if begins := r.begins; begins != nil {
		if r.begins = nil; len(plain) > 0 && !begins(plain[0]) {
			const noFilters = "\x00\x00\x00\x00\x00"
			if like := socket.LooksLike(append([]byte(noFilters), plain[0])); like != "" {
				return nil, fmt.Errorf("%s: the payload behind the filters of the peer's first frame, %.32q, looks like that of %s: %w", r.name, plain, like, socket.ErrUnsupportedProto)
			}
		}
	}
	return plain, nil
}

// Next reads a frame of four bytes of size, big endian and without themselves, and
// what [Writer.Payload] has appended, and returns its payload: Head, Frame and Payload
// in one.
func (r *Reader) Next(m socket.Message) ([]byte, error) {
	head, err := r.Head(4)
	if err != nil {
		return nil, err
	}
	frame, err := r.Frame(m, 4+uint64(binary.BigEndian.Uint32(head)))
	if err != nil {
		return nil, err
	}
	return r.Payload(m, frame[4:])
}

// Owned reports whether the bytes of the last Frame, or of its payload if there were
// filters, are used by nobody else: then a body that is a part of them may be passed
// on by [Own]. (For a frame in place the connection does that.)
func (r *Reader) Owned() bool { return r.owned }

// tlsRecord is the smallest size, in bytes, for which the first bytes of a TLS record
// may be taken.
const tlsRecord = 0x15 << 24

// notTLS returns an error if the frame, which is at least tlsRecord bytes long, is a
// TLS record.
func (r *Reader) notTLS() error {
	head, err := r.Head(max(r.head, 2))
	if err != nil || head[0] != tlsRecord>>24 && head[0] != tlsRecord>>24+1 || head[1] != 3 {
		return err
	}
	if head, err = r.Head(max(r.head, socket.TLSPrefix)); err != nil {
		return err
	}
	if err := socket.TLSRecord(head); err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	return nil
}

// examine returns an error if the first frame, of size bytes, looks like one of
// another protocol: there its size may mean something else, so that the rest of it
// never comes. The payload of a frame with filters is examined once they are undone.
func (r *Reader) examine(size uint64) error {
	const header = 4 + 1
	if size <= header {
		return nil // the protocol's own errors are better
	}
	head, err := r.Head(max(r.head, header+1))
	if err != nil {
		return err
	}
	switch n := head[header-1]; {
	case r.mark != 0 && n == r.mark, n == 0 && r.begins(head[header]):
		r.begins = nil
		return nil
	case n > 0 && n <= MaxFilters:
		return nil
	}
	if head = r.Arrived(head); socket.LooksLike(head) == "" {
		r.begins = nil
		return nil
	}
	return socket.WrongProto(r.name, head)
}

// maxArrived is the largest number of bytes that Arrived returns.
const maxArrived = 256

// Arrived returns head, which Head has returned, and what has arrived behind it, at most
// 256 bytes: for the words of an error.
func (r *Reader) Arrived(head []byte) []byte {
	if r.peek == nil {
		return head
	}
	if n := min(r.peek.Buffered(), maxArrived); n > len(head) {
		if more, err := r.peek.Peek(n); err == nil {
			return more
		}
	}
	return head
}

func (r *Reader) readHead(n int) ([]byte, error) {
	if r.frame == nil {
		r.frame = make([]byte, max(n, 4<<10))
	}
	if n > len(r.frame) {
		r.frame = append(r.frame, make([]byte, n-len(r.frame))...)
	}
	if r.head < n {
		got, err := io.ReadFull(r.r, r.frame[r.head:n])
		if r.head += got; err != nil {
			return nil, r.cutShort("size", r.head, n, err)
		}
	}
	return r.frame[:n], nil
}

// readFrame reads what is left of the frame. Its memory is at most twice what has
// arrived, or what there was, and is accounted for if r is a [socket.Keeper].
func (r *Reader) readFrame(size int) ([]byte, error) {
	b := r.frame[:r.head]
	r.head = 0
	keeper, _ := r.r.(socket.Keeper)
	for len(b) < size {
		if len(b) == cap(b) {
			room := min(max(2*len(b), 4<<10), size)
			if keeper != nil {
				if err := keeper.Keep(cap(b) + room); err != nil {
					return nil, fmt.Errorf("%s: frame of %d bytes: %w", r.name, size, err)
				}
			}
			grown := make([]byte, len(b), room)
			copy(grown, b)
			b = grown
		}
		n, err := io.ReadFull(r.r, b[len(b):min(cap(b), size)])
		if b = b[:len(b)+n]; err != nil {
			return nil, r.cutShort("frame", len(b), size, err)
		}
	}
	r.frame = b[:cap(b)]
	if r.owned = size > OwnFrom; r.owned {
		r.frame = nil
	}
	return b, nil
}

// cutShort is the error of a connection that ended, or failed, after n of size
// bytes: io.EOF only where no frame had begun.
func (r *Reader) cutShort(field string, n, size int, err error) error {
	if n == 0 && field == "size" {
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		return err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%s: %s ended after %d of %d bytes: %w", r.name, field, n, size, err)
}

func (r *Reader) bad(field, fault string, cause error) error {
	return Errors(r.name).Bad(field, fault, cause)
}

func (r *Reader) tooMany(filters int) error {
	return r.bad("pipe", fmt.Sprintf("of %d filters is longer than %d", filters, MaxFilters), nil)
}

func (r *Reader) lost(field, fault string) error { return Errors(r.name).Lost(field, fault) }
