// Package rawproto is the default protocol: a binary frame of a few bytes
// around the body.
//
// It has three dialects. [Seed] is the project's own; [V5] and [V7] are those
// of the older ages, so that their programs can be called and can call. What a
// connection speaks is settled by the first frame that arrives on it; until then
// it is Seed, or the dialect that [NewRawProtoFunc] was given.
package rawproto

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"sync/atomic"

	"github.com/teleport-go/teleport/core/socket"
)

// Name is the name by which a configuration chooses the protocol.
const Name = "raw"

const (
	version  = 'r'       // byte 4 of a frame in the seed's layout
	version7 = 6         // what V7 calls itself; it is not on the wire
	maxText  = 1<<8 - 1  // bytes of a field with one byte of length
	maxBlock = 1<<16 - 1 // bytes of a field with two bytes of length
	maxPipe  = 8         // filters of a message that is read

	// ownFrom is the size from which memory for one message passes to it; what
	// is smaller is the connection's and used again.
	ownFrom = 64 << 10
)

func init() {
	socket.RegisterProto(socket.Protocol{Name: Name, New: NewRawProtoFunc(), Recognise: recognise})
}

// NewRawProtoFunc returns the protocol. Without a dialect a connection speaks
// Seed until it has heard something, then what it heard.
//
// With one, an accepted connection does the same but begins with that dialect; a
// dialled one speaks and reads no other. Further dialects are ignored.
func NewRawProtoFunc(dialect ...Dialect) socket.ProtoFunc {
	var named Dialect
	if len(dialect) > 0 {
		named = dialect[0]
	}
	return func(rw io.ReadWriter) socket.Proto {
		p := &rawProto{rw: rw}
		p.peek, _ = rw.(socket.PeekReader)
		p.room, _ = rw.(socket.BufferWriter)
		if s, ok := rw.(socket.Sider); ok {
			p.dialed = s.Dialed()
		}
		if p.dialed {
			p.reads = named
		}
		speaks := named
		if speaks == 0 {
			speaks = Seed
		}
		p.speaks.Store(uint32(speaks))
		return p
	}
}

type rawProto struct {
	rw     io.ReadWriter
	peek   socket.PeekReader   // rw, if it is one
	room   socket.BufferWriter // rw, if it is one
	dialed bool

	speaks atomic.Uint32 // a Dialect; Unpack may change it once, beside Pack

	// The rest belongs to who calls Unpack.
	reads Dialect // 0: not settled yet
	frame []byte  // the frame, where it cannot be peeked at
	plain []byte  // what the pipe made of the frame
}

var (
	_ socket.FrameAppender = (*rawProto)(nil)
	_ socket.Hinter        = (*rawProto)(nil)
)

// Version returns 'r' and "raw", in V7 6 and "raw".
func (p *rawProto) Version() (byte, string) {
	if p.dialect() == V7 {
		return version7, Name
	}
	return version, Name
}

func (p *rawProto) dialect() Dialect { return Dialect(p.speaks.Load()) }

// Hint guesses that the peer is of an older age.
func (p *rawProto) Hint() string {
	if !p.dialed || p.dialect() != Seed {
		return ""
	}
	return "the peer closed after the first frame: an older age? use rawproto.V7 (or V5) to dial it"
}

// Pack writes the frame of m with one Write.
func (p *rawProto) Pack(m socket.Message) error {
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
func (p *rawProto) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	d := p.dialect()
	if !d.valid() {
		return dst, fmt.Errorf("raw: no such dialect: %d", d)
	}
	pipe := m.XferPipe()
	n := pipe.Len()
	if n > maxText {
		return dst, tooLong("pipe", n, "filters", maxText)
	}
	out := append(dst, 0, 0, 0, 0) // the size
	if d == Seed {
		out = append(out, version)
	}
	out = append(out, byte(n))
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
	if int64(size) > math.MaxUint32 {
		return dst, fmt.Errorf("raw: message of %d bytes: %w", size, socket.ErrSizeLimit)
	}
	if err := m.SetSize(uint32(size)); err != nil {
		return dst, err
	}
	binary.BigEndian.PutUint32(out[len(dst):], uint32(size))
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
