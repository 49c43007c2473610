package httproto

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

const (
	maxChunkLine = 1 << 10 // bytes of the line before a chunk, extensions included
	piece        = 32 << 10
)

// readBody reads a body whose end is known, in chunks or not.
func (p *httpProto) readBody(h *head, m socket.Message) ([]byte, error) {
	if h.chunked {
		return p.readChunks(h, m)
	}
	if err := fits(m, int64(h.size), h.length); err != nil {
		return nil, err
	}
	if _, err := p.in.Discard(h.size); err != nil {
		return nil, err
	}
	if h.length == 0 {
		return nil, nil
	}
	n := int(h.length)
	body, err := p.in.Peek(n)
	if err != nil {
		return nil, cutShort(len(body), err)
	}
	// The bytes stay where they are until the next Peek.
	if _, err := p.in.Discard(n); err != nil {
		return nil, err
	}
	return body, nil
}

func cutShort(n int, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("http: body ended after %d bytes: %w", n, err)
}

// readAll reads a body that ends with the connection.
func (p *httpProto) readAll(h *head, m socket.Message) ([]byte, error) {
	if _, err := p.in.Discard(h.size); err != nil {
		return nil, err
	}
	body := p.body[:0]
	for {
		b, err := p.peekSome(1, piece)
		if errors.Is(err, io.EOF) {
			p.closing = true
			return p.collected(body), fits(m, int64(h.size), int64(len(body)))
		}
		if err != nil {
			return nil, cutShort(len(body), err)
		}
		if err := fits(m, int64(h.size), int64(len(body)+len(b))); err != nil {
			return nil, err
		}
		if body, err = p.grow(body, len(b), limitOf(m)); err != nil {
			return nil, err
		}
		body = append(body, b...)
		if _, err := p.in.Discard(len(b)); err != nil {
			return nil, err
		}
	}
}

// grow returns b with room for n bytes more; it will have at most most bytes in the end.
// The memory doubles. It is accounted for before it is taken, the old and the new.
func (p *httpProto) grow(b []byte, n, most int) ([]byte, error) {
	if cap(b)-len(b) >= n {
		return b, nil
	}
	size := max(len(b)+n, min(max(2*cap(b), firstBuffer), most))
	if err := p.keep(cap(b) + size); err != nil {
		return nil, fmt.Errorf("http: body of more than %d bytes: %w", len(b), err)
	}
	grown := append(make([]byte, 0, size), b...)
	p.keep(size)
	return grown, nil
}

// limitOf returns the limit of a message as an int.
func limitOf(m socket.Message) int { return int(min(uint64(m.Limit()), math.MaxInt)) }

// keep accounts for n bytes in which the message is collected.
func (p *httpProto) keep(n int) error {
	if p.keeper == nil {
		return nil
	}
	return p.keeper.Keep(n)
}

// collected returns a body that was put together. A large one is not kept.
func (p *httpProto) collected(body []byte) []byte {
	p.body = body
	if cap(body) > keepMax {
		p.body = nil
	}
	return body
}

// readChunks reads a body in chunks, and the trailers, which are dropped.
func (p *httpProto) readChunks(h *head, m socket.Message) ([]byte, error) {
	if _, err := p.in.Discard(h.size); err != nil {
		return nil, err
	}
	body, wire := p.body[:0], int64(0)
	for {
		text, err := p.readLine(maxChunkLine)
		if err != nil {
			return nil, err
		}
		n, err := chunkSize(text)
		if err != nil {
			return nil, err
		}
		wire += int64(len(text)) + 2 + n
		if n > 0 {
			wire += 2
		}
		if err := fits(m, int64(h.size), wire); err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		if body, err = p.readChunk(body, int(n), limitOf(m)); err != nil {
			return nil, err
		}
	}
	for left, lines := maxHead, 0; ; lines++ {
		if lines > maxHeaders {
			return nil, lost(431, "more than %d trailers", maxHeaders)
		}
		text, err := p.readLine(left)
		if err != nil {
			return nil, err
		}
		wire += int64(len(text)) + 2
		if err := fits(m, int64(h.size), wire); err != nil {
			return nil, err
		}
		if len(text) == 0 {
			return p.collected(body), nil
		}
		if _, err := p.cutField(text); err != nil {
			return nil, err
		}
		left -= len(text)
	}
}

// readChunk appends n bytes, and takes the CRLF behind them. limit is that of the body.
func (p *httpProto) readChunk(body []byte, n, limit int) ([]byte, error) {
	most := limit
	if n >= len(body) { // likely the last one
		most = len(body) + n
	}
	for n > 0 {
		b, err := p.peekSome(1, min(n, piece))
		if err != nil {
			return nil, cutShort(len(body), err)
		}
		if body, err = p.grow(body, len(b), most); err != nil {
			return nil, err
		}
		body = append(body, b...)
		if _, err := p.in.Discard(len(b)); err != nil {
			return nil, err
		}
		n -= len(b)
	}
	b, err := p.in.Peek(2)
	if err != nil {
		return nil, cutShort(len(body), err)
	}
	if b[0] != '\r' || b[1] != '\n' {
		return nil, lost(400, "a chunk ends with %q", b)
	}
	_, err = p.in.Discard(2)
	return body, err
}

// chunkSize reads the line before a chunk: a size, and extensions that are
// dropped.
func chunkSize(text []byte) (int64, error) {
	digits, extension, _ := bytes.Cut(text, []byte(";"))
	digits = trimRight(digits)
	if len(digits) == 0 || len(digits) > 8 || !validValue(extension) {
		return 0, lost(400, "invalid size of a chunk: %.40q", text)
	}
	var n int64
	for _, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | int64(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			n = n<<4 | int64(c|0x20-'a'+10)
		default:
			return 0, lost(400, "invalid size of a chunk: %.40q", text)
		}
	}
	return n, nil
}

func trimRight(b []byte) []byte {
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// readLine takes a line of at most max bytes, CRLF included, and returns it
// without that. It is valid until the next Peek.
func (p *httpProto) readLine(max int) ([]byte, error) {
	for n := 1; ; {
		b, err := p.peekSome(n, max)
		if err != nil {
			return nil, cutShort(0, err)
		}
		i := bytes.IndexByte(b, '\n')
		switch {
		case i == 0 || i > 0 && b[i-1] != '\r':
			return nil, lost(400, "a line of a chunked body ends without CR")
		case i > 0:
			_, err := p.in.Discard(i + 1)
			return b[:i-1], err
		case len(b) >= max:
			return nil, lost(400, "a line of a chunked body is longer than %d bytes", max)
		}
		n = len(b) + 1
	}
}

// decode undoes the compression of a body.
func (p *httpProto) decode(h *head, m socket.Message, body []byte) ([]byte, error) {
	if !h.gzip && h.filter == nil {
		return body, nil
	}
	limit := int(min(uint64(m.Limit()), math.MaxInt))
	var plain []byte
	var err error
	if h.filter != nil {
		if err = m.XferPipe().Append(h.filter.ID()); err == nil {
			plain, err = socket.Unpack(p.rw, m.XferPipe(), p.plain[:0], body, limit)
		}
	} else {
		plain, err = socket.Unpack(p.rw, gunzip{}, p.plain[:0], body, limit)
	}
	switch {
	case errors.Is(err, xfer.ErrTooLarge):
		return nil, &fault{status: 413, text: "compressed body", cause: err}
	case err != nil:
		return nil, &fault{status: 400, text: "compressed body", cause: err}
	}
	if p.plain = plain; cap(plain) > keepMax {
		p.plain = nil
	}
	return plain, nil
}

var gunzips sync.Pool

// gunzip is a [socket.Unpacker].
type gunzip struct{}

// AppendUnpack appends what src inflates to, at most limit bytes. No bytes are read as
// none, and the streams of Teleport v5, which have no end, as far as they go.
func (gunzip) AppendUnpack(dst, src []byte, limit int) ([]byte, error) {
	if len(src) < 4 {
		if len(src) == 0 {
			return dst, nil
		}
		return dst, io.ErrUnexpectedEOF
	}
	r := bytes.NewReader(src)
	z, ok := gunzips.Get().(*gzip.Reader)
	var err error
	if ok {
		err = z.Reset(r)
	} else {
		z, err = gzip.NewReader(r)
	}
	if err != nil {
		return dst, err
	}
	defer gunzips.Put(z)
	start := len(dst)
	if n := int64(binary.LittleEndian.Uint32(src[len(src)-4:])); n >= roomFrom && n <= int64(limit) && n/maxRatio <= int64(len(src)) {
		dst = withRoom(dst, int(n)+1)
	}
	for {
		if len(dst) == cap(dst) {
			n := len(dst) - start
			dst = withRoom(dst, min(512+n, limit+1-n)) // doubled: append would leave five times as much behind
		}
		n, err := z.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst)-start > limit:
			return dst[:start], fmt.Errorf("gzip: %w: the limit is %d", xfer.ErrTooLarge, limit)
		case err == io.EOF, err == io.ErrUnexpectedEOF && bytes.HasSuffix(src, []byte{0, 0, 0xff, 0xff}):
			return dst, nil
		case err != nil:
			return dst[:start], err
		}
	}
}

const (
	roomFrom = 1 << 20 // the least length that a stream says it has for which there is room at once
	maxRatio = 1032    // how many times the size of its stream the data can have
)

// withRoom returns dst with room for n bytes more, and no more than that.
func withRoom(dst []byte, n int) []byte {
	return append(make([]byte, 0, len(dst)+n), dst...)
}
