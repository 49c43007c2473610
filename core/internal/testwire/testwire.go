// Package testwire holds a protocol, two codecs and five filters for the core's own
// tests, which must not import the modules of the real ones.
//
// Importing it registers nothing: see [Register].
package testwire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

// Name is the protocol's name.
const Name = "testwire"

// Ids of the codecs, and of the filters.
const (
	JSON byte = 250 // codec "testjson": [JSONCodec]
	Text byte = 251 // codec "testtext": [TextCodec]

	XOR  byte = 250 // filter "testxor": [XORFilter]
	Sum  byte = 251 // filter "testsum": [SumFilter]
	Fail byte = 252 // filter "testfail": [FailFilter]
	Hex  byte = 253 // filter "testhex": [HexFilter]
)

// Register registers the protocol, the codecs and the filters. It may be called many
// times, and concurrently.
func Register() { register() }

var register = sync.OnceFunc(func() {
	codec.Register(JSONCodec{})
	codec.Register(TextCodec{})
	xfer.Register(XORFilter{})
	xfer.Register(SumFilter{})
	xfer.Register(FailFilter{})
	xfer.Register(HexFilter{})
	xfer.Register(FarFilter{})
	socket.RegisterProto(socket.Protocol{Name: Name, New: New})
})

// New makes the protocol of a connection; it is a socket.ProtoFunc. It uses all optional
// interfaces of rw. A frame is the size, itself included (4 bytes), the number of filters
// and their ids, and then the output of the filters for: seq (4 bytes), type, codec,
// method, metadata and error (JSON), the latter three each after its length (4 bytes),
// and the body.
func New(rw io.ReadWriter) socket.Proto { return &proto{rw} }

// NewPlain is New, but the protocol has only Pack and Unpack, and uses only Read and Write.
func NewPlain(rw io.ReadWriter) socket.Proto {
	return struct{ socket.Proto }{New(struct{ io.ReadWriter }{rw})}
}

type proto struct{ rw io.ReadWriter }

func (p *proto) Version() (byte, string) { return 250, Name }

func (p *proto) CarriesControl() bool { return true }

func (p *proto) Repeatable() bool { return true }

func (p *proto) AppendState(dst []byte) ([]byte, error) { return dst, nil }

func (p *proto) Restore(state []byte) error {
	if len(state) > 0 {
		return fmt.Errorf("testwire: there is no state such as %.64q", state)
	}
	return nil
}

func (p *proto) Pack(m socket.Message) error {
	frame, err := p.AppendFrame(nil, m)
	if err != nil {
		return err
	}
	_, err = p.rw.Write(frame)
	return err
}

func (p *proto) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	b := binary.BigEndian.AppendUint32(nil, uint32(m.Seq()))
	b = append(b, m.Mtype(), m.BodyCodec())
	b = appendBlock(b, []byte(m.ServiceMethod()))
	b = appendBlock(b, m.Meta().AppendBytes(nil))
	var rerr []byte
	if isReply(m.Mtype()) && m.Rerror().HasError() {
		rerr = m.Rerror().AppendJSON(nil)
	}
	b, err := m.AppendBody(appendBlock(b, rerr))
	if err != nil {
		return dst, err
	}
	ids := m.XferPipe().IDs()
	if b, err = m.XferPipe().OnPack(b); err != nil {
		return dst, err
	}
	size := uint32(5 + len(ids) + len(b))
	if err := m.SetSize(size); err != nil {
		return dst, err
	}
	dst = append(binary.BigEndian.AppendUint32(dst, size), byte(len(ids)))
	return append(append(dst, ids...), b...), nil
}

func (p *proto) Unpack(m socket.Message) error {
	if r, ok := p.rw.(socket.PeekReader); ok {
		head, err := r.Peek(4)
		if err != nil {
			return err
		}
		size, err := frameSize(head, m)
		if err != nil {
			return err
		}
		frame, err := r.Peek(size)
		if err != nil {
			return cut(err)
		}
		defer r.Discard(size)
		return p.read(frame[4:], m)
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(p.rw, head); err != nil {
		return err
	}
	size, err := frameSize(head, m)
	if err != nil {
		return err
	}
	frame, err := io.ReadAll(io.LimitReader(p.rw, int64(size-4)))
	if err != nil {
		return err
	}
	if len(frame) < size-4 {
		return io.ErrUnexpectedEOF
	}
	return p.read(frame, m)
}

func frameSize(head []byte, m socket.Message) (int, error) {
	size := binary.BigEndian.Uint32(head)
	if size < 5 {
		return 0, fmt.Errorf("testwire: frame of %d bytes is below 5", size)
	}
	return int(size), m.SetSize(size)
}

func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// read reads the message from the part of a frame after the size.
func (p *proto) read(b []byte, m socket.Message) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("testwire: %w: %w", socket.ErrBadMessage, err)
		}
	}()
	n := int(b[0])
	if b = b[1:]; n > len(b) || n > maxPipe {
		return errShort
	}
	m.XferPipe().Reset()
	if err := m.XferPipe().Append(b[:n]...); err != nil {
		return err
	}
	if b = b[n:]; n > 0 {
		if b, err = socket.Unpack(p.rw, m.XferPipe(), nil, b, int(min(uint64(m.Limit()), math.MaxInt))); err != nil {
			return err
		}
	}
	if len(b) < 6 {
		return errShort
	}
	m.SetSeq(int32(binary.BigEndian.Uint32(b)))
	m.SetMtype(b[4])
	m.SetBodyCodec(b[5])
	method, b, err := block(b[6:])
	if err != nil {
		return err
	}
	meta, b, err := block(b)
	if err != nil {
		return err
	}
	rerr, b, err := block(b)
	if err != nil {
		return err
	}
	m.SetServiceMethodBytes(method)
	m.Meta().ParseBytes(meta)
	m.SetRerror(nil)
	if isReply(m.Mtype()) && len(rerr) > 0 {
		r := new(socket.Rerror)
		if err := r.UnmarshalJSON(rerr); err != nil {
			return err
		}
		m.SetRerror(r)
	}
	return m.UnmarshalBody(b)
}

const maxPipe = 8 // most filters of a message that is read

func isReply(mtype byte) bool {
	return mtype == socket.TypeReply || mtype == socket.TypeAuthReply
}

var errShort = errors.New("a field is longer than the frame")

func appendBlock(dst, b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(b))), b...)
}

func block(b []byte) (block, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errShort
	}
	n := uint64(binary.BigEndian.Uint32(b))
	if b = b[4:]; n > uint64(len(b)) {
		return nil, nil, errShort
	}
	return b[:n], b[n:], nil
}
