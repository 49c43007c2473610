package socket

import (
	"reflect"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/bufpool"
)

// The body of a received message: the ownership of its bytes, and what they are
// decoded into. MarshalBody and AppendBody, for sending, are in envelope.go.
//
// The bytes are borrowed from the connection, which uses the memory again, until the
// message owns them (rawOwned). What it owns is exclusive until KeepBody has given
// it to the user; then it is shared and never used again.

func (m *Envelope) UnmarshalBody(b []byte) error {
	if m.expects {
		m.raw, m.rawOwned, m.shared, m.encoded = b, false, false, false
		return nil
	}
	if m.body == nil && m.newBody != nil {
		m.body = m.newBody(m)
		if m.body == nil {
			m.DropRaw()
			return nil // the body is not wanted
		}
	}
	m.raw, m.rawOwned, m.shared, m.encoded = b, false, false, false
	if m.body == nil {
		return nil
	}
	_, err := m.Bind(m.body)
	return err
}

// Expect says that the encoded body will be decoded into v, after a call of Expected.
// Until that Body returns v, SetBody replaces it, and UnmarshalBody replaces the
// encoded body and decodes nothing.
func (m *Envelope) Expect(v any) { m.body, m.expects, m.replaced = v, true, false }

// Replaced reports whether SetBody has replaced the value that Expect was given.
func (m *Envelope) Replaced() bool { return m.replaced }

// Expected ends what Expect has begun. It returns what the encoded body is to be
// decoded into.
func (m *Envelope) Expected() any {
	m.expects, m.replaced = false, false
	return m.body
}

func (m *Envelope) RawBody() []byte { return m.raw }

func (m *Envelope) KeepBody() []byte {
	if !m.rawOwned && m.raw != nil {
		m.raw = append(make([]byte, 0, len(m.raw)), m.raw...)
	}
	m.rawOwned, m.shared = true, true
	return m.raw
}

// HoldBody makes the body the message's own until FreeBody, for a caller that decodes
// it later.
func (m *Envelope) HoldBody() {
	if !m.rawOwned && m.raw != nil {
		m.raw = append(bufpool.Get(len(m.raw)), m.raw...)
		m.rawOwned = true
	}
}

// FreeBody is DropRaw for a body that nothing refers to any more: memory that is
// exclusively the message's is used again.
func (m *Envelope) FreeBody() {
	if m.rawOwned && !m.shared {
		bufpool.Put(m.raw)
	}
	m.DropRaw()
}

// TakeBody removes the body from the message and returns it. exclusive says that
// nothing else refers to its memory.
func (m *Envelope) TakeBody() (raw []byte, exclusive bool) {
	m.HoldBody()
	raw, exclusive = m.raw, !m.shared
	m.DropRaw()
	return raw, exclusive
}

// OwnBody makes the bytes that were given to UnmarshalBody the message's own.
func (m *Envelope) OwnBody() { m.rawOwned = true }

// DropRaw forgets the encoded body, whose memory is about to be used again.
func (m *Envelope) DropRaw() { m.raw, m.rawOwned, m.shared = nil, false, false }

// BodyOwned reports whether the raw body may be kept without a copy.
func (m *Envelope) BodyOwned() bool { return m.rawOwned }

func (m *Envelope) Bind(v any) (byte, error) { return m.BindMode(v, 0) }

// BindMode is Bind; a [codec.Decoder] gets the mode, which is what is known of v.
func (m *Envelope) BindMode(v any, mode codec.Mode) (byte, error) {
	switch b := v.(type) {
	case nil:
		return m.codec, nil
	case *[]byte:
		if b != nil && len(m.raw) > 0 {
			*b = m.raw
			if !m.rawOwned || m.shared {
				*b = append(make([]byte, 0, len(m.raw)), m.raw...)
			}
			m.DropRaw() // it is v now
			m.body = v
		}
		return m.codec, nil
	}
	if len(m.raw) == 0 {
		return m.codec, nil
	}
	c, err := codec.Get(m.codec)
	if err != nil {
		return m.codec, err
	}
	return m.codec, m.decode(c, m.raw, v, mode)
}

// measuredFrom is the length of the smallest body whose decoding is accounted for.
const measuredFrom = 1 << 10

func (m *Envelope) decode(c codec.Codec, body []byte, v any, mode codec.Mode) error {
	if m.account != nil && len(body) >= measuredFrom {
		if c, ok := c.(codec.Measurer); ok {
			return c.DecodeMeasured(body, v, mode, m.account)
		}
		if err := m.account.Reserve(0); err != nil {
			return err
		}
	}
	if mode != 0 {
		if c, ok := c.(codec.Decoder); ok {
			return c.Decode(body, v, mode)
		}
	}
	return c.Unmarshal(body, v)
}

// BindOver is BindMode for a value that another message was decoded into: bytes
// overwrite the old ones where there is room, and an empty body is a zero value. If
// memory is not nil the body may be copied there and the value refer to it; then both
// are used for the next message together.
func (m *Envelope) BindOver(v any, memory *[]byte, mode codec.Mode) (byte, error) {
	if b, ok := v.(*[]byte); ok {
		return m.overwrite(b)
	}
	if len(m.raw) == 0 {
		return m.bindNothing(v)
	}
	if memory == nil {
		return m.BindMode(v, mode)
	}
	c, err := codec.Get(m.codec)
	if err != nil {
		return m.codec, err
	}
	d, ok := c.(codec.Decoder)
	if !ok || !d.Borrows(v) {
		return m.BindMode(v, mode)
	}
	body := m.raw
	if !m.rawOwned || m.shared {
		*memory = append((*memory)[:0], body...)
		body = *memory
	} else {
		*memory = body
		m.DropRaw()
	}
	if m.account == nil || len(body) < measuredFrom {
		return m.codec, d.Decode(body, v, mode|codec.Borrowed)
	}
	return m.codec, m.decode(c, body, v, mode|codec.Borrowed)
}

// overwrite is BindOver for bytes, whatever the codec.
func (m *Envelope) overwrite(b *[]byte) (byte, error) {
	switch {
	case b == nil || m.rawOwned && cap(*b) < len(m.raw):
		return m.Bind(b)
	case m.rawOwned:
		*b = append((*b)[:0], m.raw...)
		m.FreeBody()
	default:
		*b = append((*b)[:0], m.raw...)
	}
	m.body = b
	return m.codec, nil
}

// bindNothing is BindOver for an empty body.
func (m *Envelope) bindNothing(v any) (byte, error) {
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && !r.IsNil() {
		r.Elem().SetZero()
	}
	return m.Bind(v)
}
