package socket

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"sync"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/xfer"
)

// Envelope is the implementation of Message. The zero value is an empty message
// without a size limit. Most programs use [GetMessage] or [NewMessage]; the type
// is exported so that an engine can embed it in what it allocates anyway.
type Envelope struct {
	seq      int32
	mtype    byte
	codec    byte
	rawOwned bool // raw belongs to the message
	shared   bool // and to somebody else
	encoded  bool // raw is the encoded body, ready to be packed
	inTurn   bool
	last     bool // sent while the session drains
	expects  bool // the encoded body is to be decoded into body
	replaced bool // which is not the value that Expect was given
	size     uint32
	limit    uint32 // 0: none
	sized    int32  // the codec's Size of body, just computed, plus 1; 0: unknown
	plain    uint32 // length of the body as it was encoded last
	place    uint64 // where it begins in what a Conn has accepted, plus 1; 0: it was not accepted

	method string
	body   any
	uri    *routeURI // made on demand from method

	ctx     context.Context
	rerr    *Rerror
	newBody NewBodyFunc
	pipe    xfer.XferPipe
	raw     []byte
	meta    Meta // its first fields are what Clear looks at; most messages have no use for the rest
	intern  Interner
	account codec.Account
	holder  Holder
	push    *pushing // what WithPushPolicy and WithPushKey have set; nil: nothing
}

var _ Message = (*Envelope)(nil)

// routeURI is the URL that UriObject has returned, and a copy of it from then: a
// difference means that a hook has rerouted.
type routeURI struct {
	url *url.URL
	was url.URL
}

// Interner maps the bytes of a service method to a string; it saves the
// allocation for names that are known. It must not keep b, which is not empty.
type Interner interface {
	Intern(b []byte) string
}

var pool = sync.Pool{New: func() any { return new(Envelope) }}

// NewMessage returns a new message with the settings applied.
func NewMessage(settings ...MessageSetting) Message {
	m := new(Envelope)
	m.apply(settings)
	return m
}

// GetMessage is NewMessage from a pool; give it back with [PutMessage].
func GetMessage(settings ...MessageSetting) Message {
	m := pool.Get().(*Envelope)
	m.apply(settings)
	return m
}

// PutMessage gives m back to the pool. Neither m nor anything got from it may be
// used afterwards.
func PutMessage(m Message) {
	e := m.envelope()
	e.Reset()
	pool.Put(e)
}

func (m *Envelope) envelope() *Envelope { return m }

// EnvelopeOf returns the Envelope that m is, or embeds: then methods that m has in place of
// the Envelope's are not called. A protocol calls a dozen methods of each message; through an
// interface that takes a tenth of the time of a small frame. It may be called concurrently.
func EnvelopeOf(m Message) *Envelope { return m.envelope() }

// Reset clears the message with its limit, its interner, its account and its holder, then
// applies the settings.
func (m *Envelope) Reset(settings ...MessageSetting) {
	m.Clear()
	m.limit, m.intern, m.account, m.holder = 0, nil, nil, nil
	m.apply(settings)
}

// Clear empties the message but keeps its limit, its interner, its account and its holder,
// which belong to the connection it is used on.
func (m *Envelope) Clear() {
	m.seq, m.mtype, m.codec, m.size, m.sized, m.place, m.plain = 0, 0, 0, 0, 0, 0, 0
	m.rawOwned, m.shared, m.encoded, m.inTurn, m.last, m.expects, m.replaced = false, false, false, false, false, false, false
	m.method, m.uri = "", nil
	if m.meta.Len() > 0 {
		m.meta.Reset()
	}
	if m.pipe.Len() > 0 {
		m.pipe.Reset()
	}
	m.rerr, m.body, m.newBody, m.raw, m.ctx, m.push = nil, nil, nil, nil, nil, nil
}

func (m *Envelope) apply(settings []MessageSetting) {
	for _, set := range settings {
		if set != nil {
			set(m)
		}
	}
}

// Accept says that m waits elsewhere for a Conn that will accept it: it is not Unwritten
// any more.
func (m *Envelope) Accept() { m.place = max(m.place, 1) }

// Recall makes m, whose outcome on one Conn is known, ready for another one.
func (m *Envelope) Recall() { m.place = 0 }

// A Holder knows of the memory of a message that is sent. It is asked before the message is
// packed, if that takes much.
type Holder interface {
	// Held returns how many bytes of the memory of the connection the sender holds until the
	// message is packed, and how many its encoded body likely has, 0 if nobody knows. If
	// exempt is true it need not wait for more.
	Held() (bytes, likely int64, exempt bool)
}

// SetHolder sets the Holder of messages that are sent; nil for none.
func (m *Envelope) SetHolder(h Holder) { m.holder = h }

func (m *Envelope) held() (bytes, likely int64, exempt bool) {
	if m.holder == nil {
		return 0, 0, false
	}
	return m.holder.Held()
}

// BodyLen returns the length of a body that is encoded already, or is bytes; else -1.
func (m *Envelope) BodyLen() int { return m.bodyLen() }

// Plain returns the length of the body as it was encoded last, before any filter.
func (m *Envelope) Plain() int64 { return int64(m.plain) }

// SetLimit sets the largest size SetSize accepts; 0 is no limit.
func (m *Envelope) SetLimit(limit uint32) { m.limit = limit }

// SetAccount sets the account on which decoding the body reserves memory; nil for none.
func (m *Envelope) SetAccount(a codec.Account) { m.account = a }

// SetInterner sets the Interner for service methods; nil for none.
func (m *Envelope) SetInterner(i Interner) { m.intern = i }

func (m *Envelope) Seq() int32          { return m.seq }
func (m *Envelope) SetSeq(seq int32)    { m.seq = seq }
func (m *Envelope) Mtype() byte         { return m.mtype }
func (m *Envelope) SetMtype(mtype byte) { m.mtype = mtype }
func (m *Envelope) Meta() *Meta         { return &m.meta }
func (m *Envelope) Rerror() *Rerror     { return m.rerr }
func (m *Envelope) SetRerror(r *Rerror) { m.rerr = r }

func (m *Envelope) ServiceMethod() string {
	if m.uri != nil && *m.uri.url != m.uri.was {
		return m.uri.url.String()
	}
	return m.method
}

func (m *Envelope) SetServiceMethod(method string) {
	m.method = method
	m.uri = nil
}

func (m *Envelope) SetServiceMethodBytes(b []byte) {
	if m.intern != nil && len(b) > 0 {
		m.SetServiceMethod(m.intern.Intern(b))
		return
	}
	m.SetServiceMethod(string(b))
}

func (m *Envelope) UriObject() *url.URL {
	if m.uri == nil {
		u := parseMethod(m.method)
		m.uri = &routeURI{u, *u}
	}
	return m.uri.url
}

func (m *Envelope) SetUriObject(u *url.URL) {
	if u == nil {
		u = new(url.URL)
	}
	m.method = u.String()
	m.uri = &routeURI{u, *u}
}

// RouteKey is UriObject().Path, found without parsing where the text is plain.
func (m *Envelope) RouteKey() string {
	if m.uri == nil {
		if path, ok := plainPath(m.method); ok {
			return path
		}
	}
	return m.UriObject().Path
}

func (m *Envelope) BodyCodec() byte           { return m.codec }
func (m *Envelope) SetBodyCodec(id byte)      { m.codec = id }
func (m *Envelope) Body() any                 { return m.body }
func (m *Envelope) SetNewBody(fn NewBodyFunc) { m.newBody = fn }

func (m *Envelope) SetBody(body any) {
	m.body = body
	m.encoded, m.sized = false, 0
	m.replaced = m.expects
}

func (m *Envelope) MarshalBody() (b []byte, err error) {
	b, ok := m.bytes()
	if p, prepared := m.body.(*Prepared); !ok && prepared {
		b, err = p.encodedFor(m.codec)
	} else if !ok {
		b, err = codec.Marshal(m.codec, m.body)
	}
	m.encodedTo(len(b))
	return b, err
}

// bytes returns the encoded body, if it is encoded already, or is bytes.
func (m *Envelope) bytes() (b []byte, ok bool) {
	if m.encoded {
		return m.raw, true
	}
	switch b := m.body.(type) {
	case nil:
		return nil, true
	case []byte:
		return b, true
	case *[]byte:
		if b == nil {
			return nil, true
		}
		return *b, true
	}
	return nil, false
}

// SetPlain says that the body, which was just packed, has n bytes for the receiver: what was
// encoded last was something else in its place, such as a sealed body.
func (m *Envelope) SetPlain(n int) { m.encodedTo(n) }

func (m *Envelope) encodedTo(n int) { m.plain = uint32(min(int64(n), math.MaxUint32)) }

func (m *Envelope) AppendBody(dst []byte) (out []byte, err error) {
	if b, ok := m.bytes(); ok {
		out = append(dst, b...)
	} else {
		out, err = m.appendEncoded(dst)
	}
	m.encodedTo(len(out) - len(dst))
	return out, err
}

func (m *Envelope) appendEncoded(dst []byte) ([]byte, error) {
	if p, ok := m.body.(*Prepared); ok {
		body, err := p.encodedFor(m.codec)
		return append(dst, body...), err
	}
	c, err := codec.Get(m.codec)
	if err != nil {
		return dst, err
	}
	if sized := m.sized; sized > 0 {
		m.sized = 0
		if a, ok := c.(codec.SizedAppender); ok {
			return a.AppendSized(dst, m.body, int(sized-1))
		}
	}
	return codec.AppendBody(dst, c, m.body)
}

// Encode appends the encoded body to buf and returns the grown buffer; a later
// MarshalBody or AppendBody then runs no user code. The buffer must not change until
// the message was packed. SetBody undoes it.
func (m *Envelope) Encode(buf []byte) ([]byte, error) {
	if m.encoded {
		return buf, nil
	}
	n := len(buf)
	buf, err := m.AppendBody(buf)
	if err != nil {
		return buf, err
	}
	m.SetEncoded(buf[n:len(buf):len(buf)])
	return buf, nil
}

// SetEncoded sets the encoded body, as Encode does with the one that it has made.
func (m *Envelope) SetEncoded(body []byte) { m.raw, m.encoded, m.rawOwned = body, true, false }

// inPlace reports whether the body may be encoded under the lock of a batch: that
// runs no user code and appends at most max bytes. n is their approximate number, below 0
// if it is not known.
func (m *Envelope) inPlace(max int) (n int, ok bool) {
	m.sized = 0
	if m.pipe.Len() > 0 {
		return -1, false
	}
	if n = m.bodyLen(); n >= 0 {
		return n, n <= max
	}
	c, err := codec.Get(m.codec)
	if err != nil {
		return -1, false
	}
	if a, ok := c.(codec.Appender); !ok || !a.Pure() {
		return -1, false
	}
	s, ok := c.(codec.Sizer)
	if !ok {
		return -1, false
	}
	if n = s.Size(m.body); n < 0 || n > max {
		return n, false
	}
	m.sized = int32(n) + 1 // AppendBody follows
	return n, true
}

// bodyLen returns the length of a body that is encoded already, or is bytes; else -1.
func (m *Envelope) bodyLen() int {
	if b, ok := m.bytes(); ok {
		return len(b)
	}
	if p, ok := m.body.(*Prepared); ok {
		return len(p.body)
	}
	return -1
}

// packs returns about how many bytes it takes at most to make a frame of the message, whose
// body has n bytes if n is not below 0, and else likely so many.
func (m *Envelope) packs(n int, likely int64) int64 {
	times := int64(1)
	if bytes := m.bodyLen(); bytes >= 0 {
		n = bytes
	} else {
		times++ // what a codec encodes to, it copies
		if c, err := codec.Get(m.codec); n < 0 && err == nil {
			if s, ok := c.(codec.Sizer); ok {
				n = s.Size(m.body)
			}
		}
		if n < 0 {
			return times * likely
		}
	}
	if m.pipe.Len() > 0 {
		times++
	}
	return times * int64(max(n, 0))
}

func (m *Envelope) XferPipe() *xfer.XferPipe { return &m.pipe }
func (m *Envelope) Size() uint32             { return m.size }

func (m *Envelope) SetSize(size uint32) error {
	if m.limit != 0 && size > m.limit {
		return &sizeError{size, m.limit}
	}
	m.size = size
	return nil
}

type sizeError struct{ size, limit uint32 }

func (e *sizeError) Error() string {
	return fmt.Sprintf("socket: message of %d bytes is over the limit of %d", e.size, e.limit)
}
func (e *sizeError) Is(target error) bool { return target == ErrSizeLimit }

// Limit is the largest size SetSize accepts; the largest uint32 if none was set.
func (m *Envelope) Limit() uint32 {
	if m.limit == 0 {
		return ^uint32(0)
	}
	return m.limit
}

func (m *Envelope) Context() context.Context {
	if m.ctx == nil {
		return context.Background()
	}
	return m.ctx
}

// SetContext sets the context of the exchange; nil for none.
func (m *Envelope) SetContext(ctx context.Context) { m.ctx = ctx }

// GivenContext is the context that was set, nil if none was.
func (m *Envelope) GivenContext() context.Context { return m.ctx }

// String is an indented JSON picture of the message, body included.
func (m *Envelope) String() string {
	var pic struct {
		Seq           int32   `json:"seq"`
		Mtype         string  `json:"mtype"`
		ServiceMethod string  `json:"serviceMethod"`
		Rerror        *Rerror `json:"rerror,omitempty"`
		Meta          string  `json:"meta"`
		BodyCodec     byte    `json:"bodyCodec"`
		Body          any     `json:"body"`
		XferPipe      []int   `json:"xferPipe"`
		Size          uint32  `json:"size"`
	}
	pic.Seq, pic.Mtype, pic.ServiceMethod = m.seq, TypeText(m.mtype), m.ServiceMethod()
	pic.Rerror, pic.Meta, pic.BodyCodec, pic.Size = m.rerr, m.meta.String(), m.codec, m.size
	pic.XferPipe = []int{}
	for _, id := range m.pipe.IDs() {
		pic.XferPipe = append(pic.XferPipe, int(id))
	}
	body := m.body
	if m.expects {
		body = nil
	}
	switch b := body.(type) {
	case []byte:
		pic.Body = string(b)
	case *[]byte:
		if b != nil {
			pic.Body = string(*b)
		}
	case nil:
		if len(m.raw) > 0 {
			pic.Body = string(m.raw)
		}
	default:
		pic.Body = b
	}
	text, err := json.MarshalIndent(pic, "", "  ")
	if err != nil { // a body that JSON cannot represent
		pic.Body = fmt.Sprintf("%+v", pic.Body)
		text, _ = json.MarshalIndent(pic, "", "  ")
	}
	return string(text)
}

// Share gives a message with a Prepared body, whose settings have been applied, the codec
// and the filters of that.
func (m *Envelope) Share() {
	p, ok := m.body.(*Prepared)
	if !ok || p == nil {
		return
	}
	if m.codec == codec.NilCodecID {
		m.codec = p.codec
	}
	if m.pipe.Len() == 0 {
		m.pipe.AppendFrom(&p.pipe)
	}
	m.packOnce()
}

// packOnce lets the filters of a PUSH with a Prepared body look for what they have made of
// it before. Each CALL has another number.
func (m *Envelope) packOnce() {
	if p, ok := m.body.(*Prepared); ok && m.mtype == TypePush && m.pipe.Len() > 0 {
		m.pipe.Remember(&p.memo)
	}
}
