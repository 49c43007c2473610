package httproto

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

const (
	maxInterim = 100 // responses 1xx before a response
	methods    = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
)

// Unpack reads one request or response. The body it hands over is valid until
// the next call, if the message does not own it.
//
// A request that is wrong is a *socket.Refusal, with the response to it. If its
// end cannot be known nothing more is read.
func (p *httpProto) Unpack(m socket.Message) error {
	if p.closing || p.ended.Load() {
		return p.swallow()
	}
	m.XferPipe().Reset()
	m.Meta().Reset()
	m.SetServiceMethod("")
	m.SetRerror(nil)
	m.SetBodyCodec(codec.NilCodecID)
	h := &p.head
	*h = head{}
	for range maxInterim {
		b, err := p.readHead()
		if err == nil {
			err = p.parseHead(h, b, m)
		}
		if err != nil {
			return p.refuse(h, m, err)
		}
		if !h.response {
			return p.request(h, m)
		}
		if h.status >= 200 {
			return p.response(h, m)
		}
		if h.status == 101 {
			return lost(0, "the server switches to another protocol")
		}
		if _, err := p.in.Discard(h.size); err != nil {
			return err
		}
	}
	return lost(0, "more than %d interim responses", maxInterim)
}

// swallow drops what comes behind the last message, so that it does not reset the
// connection under the last response.
func (p *httpProto) swallow() error {
	for dropped := false; ; dropped = true {
		if _, err := p.in.Peek(1); err != nil {
			if errors.Is(err, io.EOF) && dropped {
				return bad(0, "bytes behind the last message")
			}
			return err
		}
		if _, err := p.in.Discard(p.in.Buffered()); err != nil {
			return err
		}
	}
}

// request reads the body of a request.
func (p *httpProto) request(h *head, m socket.Message) error {
	if p.peer.Load() == 0 && h.sender != 0 {
		p.peer.Store(uint32(h.sender))
		if !p.dialed {
			p.dialect.Store(uint32(h.sender))
		}
	}
	body, err := p.requestBody(h, m)
	if err == nil {
		err = h.fault
	}
	mtype := h.mtype
	switch {
	case err != nil:
	case mtype == 0:
		mtype = socket.TypeCall
	case mtype != socket.TypeCall && mtype != socket.TypeAuthCall:
		err = bad(400, "a request of type %d (%s)", mtype, socket.TypeText(mtype))
	}
	if err == nil && (h.method == "OPTIONS" || h.method == "TRACE") {
		err = bad(501, "method %s", h.method)
		if h.method == "OPTIONS" {
			err = &fault{status: 204, text: "method OPTIONS is the protocol's own", hint: header{"Allow", methods}}
		}
	}
	if err == nil {
		body, err = p.decode(h, m, body)
	}
	if err == nil {
		m.SetMtype(mtype)
		h.checkForm(body)
		err = p.setSeq(h, m)
	}
	if err != nil {
		return p.refuse(h, m, err)
	}
	m.SetBodyCodec(h.codec)
	return p.hand(h, m, body)
}

// requestBody reads the body as it was sent.
func (p *httpProto) requestBody(h *head, m socket.Message) ([]byte, error) {
	if h.expect && h.minor > 0 {
		if err := p.sendContinue(h, m); err != nil {
			return nil, err
		}
		defer p.bodyArrived()
	}
	if f, ok := h.fault.(*fault); ok && f.lost {
		return nil, f
	}
	if h.length < 0 {
		h.length = 0
	}
	return p.readBody(h, m)
}

// sendContinue tells a client that waits for it to send its body, or returns why it
// shall not.
func (p *httpProto) sendContinue(h *head, m socket.Message) error {
	switch f, _ := h.fault.(*fault); {
	case f != nil: // the body may never come
		refused := *f
		refused.lost = true
		return &refused
	case h.length < 0 && !h.chunked:
		return lost(411, "Expect: 100-continue without Content-Length or Transfer-Encoding")
	case h.length == 0:
		return nil
	}
	if err := fits(m, int64(h.size), max(h.length, 0)); err != nil {
		return err
	}
	if p.emit == nil || p.in.Buffered() > h.size || !p.awaitContinue() {
		return nil
	}
	return p.emit.Emit([]byte(continue100))
}

// origin is what the response to this request has to know.
func (h *head) origin() origin {
	o := origin{seq: h.seq, hasSeq: h.hasSeq, close: h.close, head: h.method == "HEAD", sender: h.sender, noCodec: h.noCodec}
	o.gzip = h.takes || h.filter != nil || h.sender != 0
	if h.minor == 0 {
		o.keep = h.keep && !h.close
		o.close = !o.keep
	}
	return o
}

var errCrowd = lost(503, "too many requests wait for their response")

// setSeq numbers the request. One that has to be answered in turn, or in a way
// of its own, gets a number below 0.
func (p *httpProto) setSeq(h *head, m socket.Message) error {
	if h.hasSeq && !h.close && h.minor > 0 && h.method != "HEAD" && h.noCodec == "" {
		m.SetSeq(h.seq)
		return nil
	}
	o := h.origin()
	o.size = m.Size()
	seq, ok := p.opened(o, m.Limit())
	if !ok {
		return errCrowd
	}
	p.closing = o.close
	m.SetSeq(seq)
	inTurn(m)
	return nil
}

// inTurn notes in the message that its reply is known by its place alone.
func inTurn(m socket.Message) {
	if t, ok := m.(interface{ SetInTurn() }); ok {
		t.SetInTurn()
	}
}

// hand gives the body to the message: for ever if it was collected, or decompressed, in
// memory that the protocol does not use again.
func (p *httpProto) hand(h *head, m socket.Message, body []byte) error {
	if err := m.UnmarshalBody(body); err != nil {
		return &fault{text: "body", cause: err}
	}
	fresh := h.collected() && p.body == nil
	if h.compressed() {
		fresh = p.plain == nil
	}
	if fresh && len(body) > 0 {
		own(m)
	}
	return nil
}

// last notes in the message that the server takes no request behind the one that it
// answers: it must not process any after "Connection: close" (RFC 9112, section 9.6).
func last(m socket.Message) {
	if l, ok := m.(interface{ SetLast() }); ok {
		l.SetLast()
	}
}

// bye makes the message the server's goodbye. That is what 408 is, sent to a client by a
// server that has not read its request and closes (RFC 9110, section 15.5.9).
func bye(m socket.Message) error {
	m.SetMtype(socket.TypeReply)
	m.SetSeq(0)
	m.Meta().Set(socket.MetaBye, "0")
	return m.UnmarshalBody(nil)
}

// collected reports whether the body was put together, and is not a part of a frame.
func (h *head) collected() bool { return h.chunked || h.length < 0 }

// compressed reports whether the body came compressed.
func (h *head) compressed() bool { return h.gzip || h.filter != nil }

// own notes in the message that nothing else refers to the bytes of its body.
func own(m socket.Message) {
	if o, ok := m.(interface{ OwnBody() }); ok {
		o.OwnBody()
	}
}

// refuse makes a response of what is wrong with a request. Errors of the
// connection, and those of responses, stay as they are.
func (p *httpProto) refuse(h *head, m socket.Message, err error) error {
	f, ok := err.(*fault)
	if !ok || f.status == 0 || h.response || p.dialed && f.lost {
		return err
	}
	o := h.origin()
	o.status = f.status
	if f.lost || o.close {
		o.close, o.keep, p.closing = true, false, true
	}
	o.hint = f.hint
	seq, ok := p.opened(o, m.Limit())
	if !ok {
		return p.refuse(h, m, errCrowd)
	}
	m.SetSeq(seq)
	m.SetMtype(socket.TypeCall)
	inTurn(m)
	rerr := socket.NewRerror(int32(f.status), statusText(f.status), err.Error())
	return &socket.Refusal{Rerror: rerr, Err: err}
}

// response reads the body of a response.
func (p *httpProto) response(h *head, m socket.Message) error {
	body, err := p.responseBody(h, m)
	seq := h.seq
	if h.hasSeq {
		p.echoed()
	} else if err == nil && h.status == 408 && h.close {
		return bye(m)
	} else if err == nil {
		seq, err = p.replied(h)
	}
	mtype := h.mtype
	switch {
	case err != nil:
	case mtype == 0:
		mtype = socket.TypeReply
	case mtype != socket.TypeReply && mtype != socket.TypeAuthReply:
		err = bad(0, "a response of type %d (%s)", mtype, socket.TypeText(mtype))
	}
	if err != nil {
		return err
	}
	m.SetMtype(mtype)
	m.SetSeq(seq)
	m.SetBodyCodec(h.codec)
	if h.close && !h.hasSeq {
		last(m)
	}
	if h.status != 200 && settable(h.status) {
		m.Meta().Set(MetaStatus, strconv.Itoa(h.status))
	}
	if err = h.fault; err == nil {
		body, err = p.decode(h, m, body)
	}
	switch {
	case err != nil: // an answer all the same: none other will come
		m.SetRerror(socket.NewRerror(socket.CodeBadMessage, socket.CodeText(socket.CodeBadMessage), err.Error()))
		body = nil
	case h.status >= 300 || h.status == business:
		m.SetRerror(responseError(h.status, body))
		body = nil
	}
	return p.hand(h, m, body)
}

// replied returns the seq of a response that does not say it.
func (p *httpProto) replied(h *head) (seq int32, err error) {
	seq, pending := p.oldest()
	switch {
	case pending == 0:
		return 0, bad(0, "a response of status %d to no call", h.status)
	case pending > 1:
		return 0, lost(0, "a response without X-Seq while %d calls wait: such servers take one at a time", pending)
	}
	return seq, nil
}

func (p *httpProto) responseBody(h *head, m socket.Message) ([]byte, error) {
	switch {
	case h.status == 204 || h.status == 304:
		h.length, h.chunked = 0, false
	case h.length < 0 && !h.chunked:
		return p.readAll(h, m)
	}
	return p.readBody(h, m)
}

// fits gives the message its size.
func fits(m socket.Message, head, body int64) error {
	size := uint64(head) + uint64(body)
	if size <= math.MaxUint32 && size <= math.MaxInt {
		err := m.SetSize(uint32(size))
		if err == nil {
			return nil
		}
		return &fault{status: 413, lost: true, text: fmt.Sprintf("a body of %d bytes", body), cause: err}
	}
	return &fault{status: 413, lost: true, text: fmt.Sprintf("a message of %d bytes", size), cause: socket.ErrSizeLimit}
}
