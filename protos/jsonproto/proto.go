// Package jsonproto is the JSON protocol: each message, header and body, is a JSON
// document behind four bytes of length. The encoded body is a string in it.
//
// It has two dialects, of which the older ages speak one each: [V5] and [V7], which
// has a key for the error of a reply. Both are read on any connection. What one
// speaks is settled by the first frame that arrives on it; until then it is V5,
// or the dialect that [NewJSONProtoFunc] was given.
//
// Bodies of any bytes arrive as they were. Older peers escape nothing in them but
// quotes; the README tells how they are read.
package jsonproto

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"

	"github.com/teleport-go/teleport/core/socket"
)

// ID and Name are what Version returns; by the name a configuration chooses the
// protocol.
const (
	ID   byte = 'j'
	Name      = "json"
)

const (
	header  = 4 + 1     // bytes before the filters' ids
	maxIDs  = 1<<8 - 1  // filters of a message that is written
	maxPipe = 8         // filters of a message that is read
	maxSize = 1<<32 - 1 // bytes of a frame

	// ownFrom is the size from which memory for one message passes to it; what
	// is smaller is the connection's and used again.
	ownFrom = 64 << 10
)

func init() {
	socket.RegisterProto(socket.Protocol{Name: Name, New: NewJSONProtoFunc(), Recognise: recognise})
}

// NewJSONProtoFunc returns the protocol. Without a dialect a connection speaks V5
// until it has heard something, then what it heard.
//
// With one, an accepted connection does the same but begins with that dialect; a
// dialled one speaks no other. Further dialects are ignored.
func NewJSONProtoFunc(dialect ...Dialect) socket.ProtoFunc {
	var named Dialect
	if len(dialect) > 0 {
		named = dialect[0]
	}
	return func(rw io.ReadWriter) socket.Proto {
		p := &jsonProto{rw: rw}
		p.peek, _ = rw.(socket.PeekReader)
		p.room, _ = rw.(socket.BufferWriter)
		if s, ok := rw.(socket.Sider); ok && s.Dialed() {
			p.settled = named != 0
		}
		speaks := named
		if speaks == 0 {
			speaks = V5
		}
		p.speaks.Store(uint32(speaks))
		return p
	}
}

type jsonProto struct {
	rw   io.ReadWriter
	peek socket.PeekReader   // rw, if it is one
	room socket.BufferWriter // rw, if it is one

	speaks atomic.Uint32 // a Dialect; Unpack may change it once, beside Pack

	// The rest belongs to who calls Unpack.
	settled bool   // speaks does not change any more
	frame   []byte // the frame, where it cannot be peeked at
	plain   []byte // what the pipe made of the frame
	text    []byte // strings of the document, unescaped
}

var _ socket.FrameAppender = (*jsonProto)(nil)

// Version returns ID and Name.
func (p *jsonProto) Version() (byte, string) { return ID, Name }

func (p *jsonProto) dialect() Dialect { return Dialect(p.speaks.Load()) }

// Pack writes the frame of m with one Write.
func (p *jsonProto) Pack(m socket.Message) error {
	if p.room != nil {
		frame, err := p.AppendFrame(p.room.AvailableBuffer(), m)
		if err != nil {
			return err
		}
		_, err = p.room.Write(frame)
		return err
	}
	s := getScratch()
	defer s.free()
	frame, err := p.AppendFrame(s.b, m)
	if err != nil {
		return err
	}
	s.b = frame
	_, err = p.rw.Write(frame)
	return err
}

// AppendFrame appends the frame of m to dst. It may be called concurrently.
func (p *jsonProto) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	d := p.dialect()
	if !d.valid() {
		return dst, fmt.Errorf("json: no such dialect: %d", d)
	}
	pipe := m.XferPipe()
	n := pipe.Len()
	if n > maxIDs {
		return dst, &FieldError{Field: "pipe", Fault: fmt.Sprintf("of %d filters is longer than %d", n, maxIDs)}
	}
	out := append(dst, 0, 0, 0, 0, byte(n)) // the size
	var err error
	if n == 0 {
		out, err = appendPayload(out, m, d)
	} else {
		out, err = appendPiped(pipe.AppendIDs(out), m, d)
	}
	if err != nil {
		return dst, err
	}
	size := len(out) - len(dst)
	if int64(size) > maxSize {
		return dst, fmt.Errorf("json: message of %d bytes: %w", size, socket.ErrSizeLimit)
	}
	if err := m.SetSize(uint32(size)); err != nil {
		return dst, err
	}
	binary.BigEndian.PutUint32(out[len(dst):], uint32(size-4))
	return out, nil
}

func appendPiped(dst []byte, m socket.Message, d Dialect) ([]byte, error) {
	s := getScratch()
	defer s.free()
	payload, err := appendPayload(s.b, m, d)
	if err != nil {
		return dst, err
	}
	s.b = payload
	return m.XferPipe().AppendPack(dst, payload)
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

// limitOf is the largest size the message takes, as an int.
func limitOf(m socket.Message) int { return int(min(uint64(m.Limit()), math.MaxInt)) }
