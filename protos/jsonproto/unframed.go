package jsonproto

import (
	"bytes"
	"io"
	"math"
	"strconv"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// This file holds documents without a frame, for a carrier of messages such as
// WebSocket: each is a message of the carrier.

// NewUnframedProtoFunc returns the protocol of the documents that v5 and v7 send over
// WebSocket. They are those of V5, and the ids of the filters, which only the body goes
// through, are in the document:
//
//	{"seq":1,"mtype":1,"serviceMethod":"/a","meta":"k=v","bodyCodec":106,"body":"[1,2]","xferPipe":[]}
//
// Unpack takes all that is buffered for one document, so the io.ReadWriter must be a
// [socket.PeekReader] that ends with the message, as package websocket has it.
func NewUnframedProtoFunc() socket.ProtoFunc {
	return func(rw io.ReadWriter) socket.Proto {
		p := new(unframed)
		p.init(rw)
		return p
	}
}

// documents is what the protocols without frames have in common.
type documents struct {
	in     framing.Reader
	out    framing.Writer
	rw     io.ReadWriter
	keeper socket.Keeper // rw, if it is one
	text   []byte        // Unpack's: strings of the document, unescaped
}

func (p *documents) init(rw io.ReadWriter) {
	p.rw, p.in, p.out = rw, framing.NewReader(Name, rw), framing.NewWriter(Name, rw)
	p.keeper, _ = rw.(socket.Keeper)
}

// Version returns ID and Name.
func (*documents) Version() (byte, string) { return ID, Name }

// AppendState and Restore are those of a socket.Carrier: each document stands for itself.
func (*documents) AppendState(dst []byte) ([]byte, error) { return dst, nil }

// Restore takes the empty state.
func (*documents) Restore(state []byte) error {
	if len(state) > 0 {
		return framing.Errors(Name).NoState(state)
	}
	return nil
}

// next returns the whole message.
func (p *documents) next(m socket.Message) ([]byte, error) {
	n := 0
	if r, ok := p.rw.(socket.PeekReader); ok {
		n = r.Buffered()
	}
	if n == 0 {
		return nil, bad("document", "is empty")
	}
	b, err := p.in.Frame(m, uint64(n))
	if err != nil {
		return nil, err
	}
	return b, keep(p.keeper, b)
}

// begin returns a document that unescapes into the memory of the connection.
func (p *documents) begin() document { return document{text: p.text[:0]} }

// end takes that memory back.
func (p *documents) end(d *document) {
	if p.text = d.text[:0]; cap(p.text) > framing.OwnFrom {
		p.text = nil
	}
}

// fill fills the message: the body goes through the filters first.
func (p *documents) fill(m socket.Message, d *document) (err error) {
	filtered := len(d.pipe) > 0
	if d.Body, err = p.in.Unfilter(m, d.pipe, d.Body); err != nil {
		return err
	}
	switch {
	case filtered:
		d.Own = p.in.Owned()
	case d.unescaped:
		d.Own = p.text == nil // the body is in text, which is not used again
	}
	if err := d.Fill(m); err != nil {
		return framing.Errors(Name).Bad("body", "", err)
	}
	return nil
}

// setSize sets the size of the message to that of its document.
func (p *documents) setSize(m socket.Message, n int) error {
	_, err := p.out.Size(m, n)
	return err
}

// unframed is the layout of v5 and v7.
type unframed struct{ documents }

var (
	_ socket.FrameAppender = (*unframed)(nil)
	_ socket.Carrier       = (*unframed)(nil)
)

// Pack writes the document of m with one Write.
func (p *unframed) Pack(m socket.Message) error { return p.out.Pack(p, m) }

// AppendFrame appends the document of m to dst. It may be called concurrently.
func (p *unframed) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	out := append(appendHead(dst, m, V5), `,"body":"`...)
	at := len(out)
	out, err := p.out.Filter(out, m, m.AppendBody)
	if err != nil {
		return dst, err
	}
	out = appendPipe(append(escapeTail(out, at), ','), m)
	out = append(out, '}')
	if err := p.setSize(m, len(out)-len(dst)); err != nil {
		return dst, err
	}
	return out, nil
}

// appendPipe appends the key xferPipe with the ids of the filters.
func appendPipe(dst []byte, m socket.Message) []byte {
	dst = append(dst, `"xferPipe":[`...)
	for i, id := range m.XferPipe().IDs() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(id), 10)
	}
	return append(dst, ']')
}

// Unpack reads one document. The body it hands over is valid until the next call, if the
// message does not own it.
func (p *unframed) Unpack(m socket.Message) error {
	b, err := p.next(m)
	if err != nil {
		return err
	}
	d := p.begin()
	err = d.parseUnframed(b)
	p.end(&d)
	if err != nil {
		return err
	}
	return p.fill(m, &d)
}

// parseUnframed takes a document apart: first as v5 and v7 write it, keys in their order
// without a space, then as any JSON.
func (d *document) parseUnframed(b []byte) error {
	if body, ok := d.parseFixed(b); ok {
		if body, ok = d.lastPipe(body); ok && d.bodyText(body) {
			return nil
		}
	}
	*d = document{text: d.text[:0], piped: true}
	return d.parseAny(b)
}

// lastPipe cuts the key xferPipe off the end of the document.
func (d *document) lastPipe(b []byte) (body []byte, ok bool) {
	const key = `,"xferPipe":[`
	at := bytes.LastIndex(b, []byte(key))
	if at < 0 {
		return b, false
	}
	body, b = b[:at], b[at+len(key):]
	for {
		if rest, end := cut(b, "]}"); end {
			return body, len(rest) == 0
		}
		if len(d.pipe) > 0 {
			if b, ok = cut(b, ","); !ok {
				return body, false
			}
		}
		var id int64
		if id, b, ok = cutNumber(b, ""); !ok || id < 0 || id > math.MaxUint8 || len(d.pipe) == framing.MaxFilters {
			return body, false
		}
		d.pipe = append(d.pipe, byte(id))
	}
}
