package websocket

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"unicode/utf8"

	"github.com/teleport-go/teleport/core/socket"
)

// Unpack reads one message, in one frame or in several, and answers the control frames
// before and between them. Control frames with nothing behind them make a message of the
// type CONTROL that says nothing, so that the connection can be waited for elsewhere.
//
// The close frame of the other side is io.EOF, or a socket.Parted that says why. An error of
// the sub-protocol costs the message only: where the next one begins is known.
func (p *wsProto) Unpack(m socket.Message) error {
	if p.ended != nil {
		return p.ended
	}
	payload, some, err := p.next(m)
	if err != nil {
		if !p.link.stream || !errors.Is(err, os.ErrDeadlineExceeded) {
			p.end(err)
		}
		return err
	}
	if !some {
		m.SetMtype(socket.TypeControl)
		m.SetServiceMethod("")
		return nil
	}
	size := m.Size()
	p.message.rest = payload
	err = p.sub.Unpack(m)
	rest := len(p.message.rest)
	p.message.rest = nil
	p.total, p.joined = 0, nil // fragments are rare: an idle session keeps no memory for them
	if err != nil {
		if err = badMessage(err); !errors.Is(err, socket.ErrBadMessage) {
			p.end(err)
		}
		return err
	}
	if rest > 0 {
		return badMessage(fmt.Errorf("%d bytes of %d are behind the frame of the sub-protocol", rest, len(payload)))
	}
	return m.SetSize(size)
}

// end notes the error after which nothing is read. The engine of a session then asks for a
// farewell, behind the last replies; without an engine, and on a client, whose session may
// dial again at once, the close frame is sent here.
func (p *wsProto) end(err error) {
	p.ended = err
	if code := codeOf(err); code != 0 {
		p.code.Store(uint32(code))
	}
	_, engine := p.rw.(socket.Emitter)
	if code := uint16(p.code.Load()); code != 0 && (!engine || p.client) {
		p.leave(code)
	}
}

// badMessage is an error that costs one message.
func badMessage(err error) error {
	for _, kind := range []error{socket.ErrBadMessage, socket.ErrUnsupportedProto, socket.ErrMemory} {
		if errors.Is(err, kind) {
			return err
		}
	}
	var refusal *socket.Refusal
	if errors.As(err, &refusal) {
		return err
	}
	// Not with %w: io.ErrUnexpectedEOF would be taken for the connection's.
	return fmt.Errorf("websocket: message: %v: %w", err, socket.ErrBadMessage)
}

// Interruptible reports whether the connection may be interrupted within a message: in a
// stream, whose connection may break there, and the next one reach another process.
func (p *wsProto) Interruptible() bool { return p.link.stream }

// next returns the payload of the next message. some is false if only control frames have
// arrived, and nothing is behind them.
func (p *wsProto) next(m socket.Message) (payload []byte, some bool, err error) {
	if cap(p.joined) > 0 { // it was interrupted
		if err := p.keep(cap(p.joined)); err != nil {
			return nil, false, err
		}
	}
	for {
		h, err := p.header()
		if err != nil {
			if p.total > 0 && err == io.EOF {
				err = fmt.Errorf("websocket: the connection ended between the fragments of a message: %w", io.ErrUnexpectedEOF)
			}
			return nil, false, err
		}
		if h.op >= opClose {
			if err := p.controlFrame(m, h); err != nil {
				return nil, false, err
			}
			if p.total == 0 && p.peek != nil && p.peek.Buffered() == 0 {
				return nil, false, nil
			}
			continue
		}
		switch {
		case p.total == 0 && h.op == opContinuation:
			return nil, false, violation("a continuation frame arrived with no message to continue")
		case p.total > 0 && h.op != opContinuation:
			return nil, false, violation("a message began before the last fragment of the one before")
		}
		total := p.total + uint64(h.size) + h.length
		if total > math.MaxUint32 {
			return nil, false, fmt.Errorf("websocket: message of %d bytes: %w", total, socket.ErrSizeLimit)
		}
		if err := m.SetSize(uint32(total)); err != nil {
			return nil, false, err
		}
		if payload, err = p.frame(m, h); err != nil {
			return nil, false, err
		}
		if h.op != opContinuation {
			if h.final {
				return payload, true, checkText(h.op, payload)
			}
			p.first = h.op
		}
		p.total = total
		if err := p.join(payload); err != nil {
			return nil, false, err
		}
		if h.final {
			if err := m.SetSize(uint32(total)); err != nil {
				return nil, false, err
			}
			return p.joined, true, checkText(p.first, p.joined)
		}
	}
}

func checkText(op byte, payload []byte) error {
	if op == opText && !utf8.Valid(payload) {
		return &CloseError{CloseInvalid, "a text message is not UTF-8"}
	}
	return nil
}

// header reads the header of the next frame, which stays where it is.
func (p *wsProto) header() (h header, err error) {
	b, err := p.head()
	if err != nil {
		return h, err
	}
	if h, err = parseHeader(b); err != nil {
		return h, err
	}
	switch {
	case p.link.stream && h.masked:
		return h, violation("a frame in a stream is masked")
	case p.server && !h.masked && !p.link.stream:
		return h, violation("a frame of the client is not masked")
	case p.client && h.masked:
		return h, violation("a frame of the server is masked")
	}
	return h, nil
}

// head returns the bytes of the next header.
func (p *wsProto) head() ([]byte, error) {
	if p.peek != nil {
		if n := min(p.peek.Buffered(), maxHeader); n >= 2 { // mostly
			b, err := p.peek.Peek(n)
			if err != nil {
				return nil, err
			}
			if size := headerSize(b); size <= n {
				return b[:size], nil
			}
		}
	}
	b, err := p.in.Head(2)
	if err != nil {
		return nil, err
	}
	if n := headerSize(b); n > len(b) {
		return p.in.Head(n)
	}
	return b, nil
}

// frame returns the payload of the frame with this header, unmasked in place.
func (p *wsProto) frame(m socket.Message, h header) ([]byte, error) {
	b, err := p.in.Frame(m, uint64(h.size)+h.length)
	if err != nil {
		return nil, err
	}
	b = b[h.size:]
	if h.masked {
		mask(b, h.key)
	}
	return b, nil
}

// join appends a fragment to the message. Its memory is at most twice what has arrived.
func (p *wsProto) join(fragment []byte) error {
	n := len(p.joined) + len(fragment)
	if n > cap(p.joined) {
		room := max(2*cap(p.joined), n, 512)
		if err := p.keep(cap(p.joined) + room); err != nil {
			return fmt.Errorf("websocket: fragments of %d bytes: %w", n, err)
		}
		p.joined = append(make([]byte, 0, room), p.joined...)
	}
	p.joined = append(p.joined, fragment...)
	return nil
}

// keep accounts for n bytes of the present message, if the connection does.
func (p *wsProto) keep(n int) error {
	if k, ok := p.rw.(socket.Keeper); ok {
		return k.Keep(n)
	}
	return nil
}

// controlFrame reads a control frame. It answers a ping; the error of a close frame is that
// of Unpack.
func (p *wsProto) controlFrame(m socket.Message, h header) error {
	b, err := p.frame(m, h)
	if err != nil {
		return err
	}
	switch h.op {
	case opPing:
		var pong [maxHeader + maxControl]byte
		return p.send(appendControl(pong[:0], opPong, b, p.masks))
	case opClose:
		code, reason, err := parseClose(b)
		if err != nil {
			return err
		}
		p.code.Store(uint32(code))
		return parted(code, reason)
	}
	return nil
}

// leave sends a close frame, unless one was sent.
func (p *wsProto) leave(code uint16) {
	if p.left.Swap(true) {
		return
	}
	var frame [maxHeader + maxControl]byte
	_ = p.send(appendClose(frame[:0], code, "", p.masks)) // the connection is about to end anyway
}

// send sends a control frame behind what was accepted for sending.
func (p *wsProto) send(frame []byte) error {
	if e, ok := p.rw.(socket.Emitter); ok {
		return e.Emit(frame)
	}
	_, err := p.rw.Write(frame)
	return err
}
