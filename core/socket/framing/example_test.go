package framing_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// note is a protocol of frames like this: two bytes of size, little endian and all
// included, the filters, and a payload of type, codec, sequence number, length of
// the service method, service method, body.
type note struct {
	in  framing.Reader
	out framing.Writer
}

func newNote(rw io.ReadWriter) socket.Proto {
	return &note{framing.NewReader("note", rw), framing.NewWriter("note", rw)}
}

func (p *note) Version() (byte, string) { return 'n', "note" }

func (p *note) Pack(m socket.Message) error { return p.out.Pack(p, m) }

func (p *note) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	out, err := p.out.Payload(append(dst, 0, 0), m, func(b []byte) ([]byte, error) {
		b = binary.AppendVarint(append(b, m.Mtype(), m.BodyCodec()), int64(m.Seq()))
		method := m.ServiceMethod()
		if len(method) > 255 {
			return b, &framing.FieldError{Proto: "note", Field: "service method", Fault: "is too long"}
		}
		return m.AppendBody(append(append(b, byte(len(method))), method...))
	})
	if err != nil {
		return dst, err
	}
	size, err := p.out.Size(m, len(out)-len(dst))
	if err == nil && size > 0xffff {
		err = fmt.Errorf("note: message of %d bytes: %w", size, socket.ErrSizeLimit)
	}
	if err != nil {
		return dst, err
	}
	binary.LittleEndian.PutUint16(out[len(dst):], uint16(size))
	return out, nil
}

func (p *note) Unpack(m socket.Message) error {
	head, err := p.in.Head(2)
	if err != nil {
		return err
	}
	frame, err := p.in.Frame(m, uint64(binary.LittleEndian.Uint16(head)))
	if err != nil {
		return err
	}
	b, err := p.in.Payload(m, frame[2:])
	if err != nil {
		return err
	}
	bad := &framing.FieldError{Proto: "note", Field: "payload", Fault: "is cut short", Whole: true}
	if len(b) < 2 {
		return bad
	}
	f := framing.Fields{Mtype: b[0], Codec: b[1]}
	seq, n := binary.Varint(b[2:])
	if n <= 0 || len(b) < 2+n+1 {
		return bad
	}
	f.Seq = int32(seq)
	b = b[2+n:]
	if n = 1 + int(b[0]); n > len(b) {
		return bad
	}
	f.ServiceMethod, f.Body = b[1:n], b[n:]
	if err := f.Fill(m); err != nil {
		return err
	}
	if p.in.Owned() {
		framing.Own(m)
	}
	return nil
}

// A whole protocol: only what its frames look like is its own.
func Example() {
	var wire bytes.Buffer
	p := newNote(&wire)
	err := p.Pack(socket.NewMessage(
		socket.WithSeq(6),
		socket.WithMtype(socket.TypePush),
		socket.WithServiceMethod("/note/say"),
		socket.WithBodyCodec('s'),
		socket.WithBody([]byte("hi")),
	))
	fmt.Printf("%q %v\n", wire.Bytes(), err)

	m := socket.NewMessage()
	err = p.Unpack(m)
	fmt.Println(m.Seq(), m.ServiceMethod(), string(m.RawBody()), err)
	// Output:
	// "\x12\x00\x00\x03s\f\t/note/sayhi" <nil>
	// 6 /note/say hi <nil>
}
