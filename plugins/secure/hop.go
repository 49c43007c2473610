package secure

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
)

// A sealed body:
//
//	1 byte    version, 3
//	4 bytes   number of the key, big-endian
//	12 bytes  random nonce of AES-GCM
//	          sealed: 8 bytes counter, big-endian; 1 byte X-Accept-Secure, 0 if
//	          absent, 1 true, 2 false; 1 byte body codec; body
//	16 bytes  tag
//
// The tag also covers version, number of the key, type, direction, sequence number,
// the connection's nonce, and the service method of CALL and PUSH as it was sent,
// in URL syntax. X-Secure is "true", once. Version 1 had no X-Accept-Secure under
// the tag: it is not read any more.
const (
	version   = 3
	headSize  = 1 + 4
	innerSize = 8 + 1 + 1
	minSealed = headSize + 12 + innerSize + 16
	nonceSize = 16
	extraSize = headSize + 1 + 1 + 4 + nonceSize // before the method
)

// Why a message was not sealed, or not opened; test with errors.Is.
var (
	ErrKey       = errors.New("the key is not known here")
	ErrAltered   = errors.New("wrong key, or the message was altered")
	ErrTruncated = errors.New("sealed body is cut short")
	ErrVersion   = errors.New("sealed body of a version that is not known here")
	ErrReplayed  = errors.New("message was received before, or is too old")
	ErrPlain     = errors.New("message is plain, and plain ones are refused")
	ErrRotate    = errors.New("the key has sealed 4294967296 messages: rotate")
)

const (
	fromDialler  byte = 1
	fromAcceptor byte = 2
)

// hop is one connection: what it seals with, and what it has received.
type hop struct {
	keys     *Keys
	keeper   socket.Keeper // the connection, if it accounts for memory
	nonce    [nonceSize]byte
	out, in  byte // directions
	sent     atomic.Uint64
	received window // of the goroutine that reads
}

// seal appends the sealed form of an encoded body to dst.
func (h *hop) seal(dst []byte, m tp.Message, body []byte) ([]byte, error) {
	key, err := h.keys.sealer()
	if err != nil {
		return dst, err
	}
	start := len(dst)
	dst = append(dst, version)
	dst = binary.BigEndian.AppendUint32(dst, key.id)
	inner := make([]byte, 0, innerSize+len(body))
	inner = binary.BigEndian.AppendUint64(inner, h.sent.Add(1))
	accept, _ := acceptOf(m.Meta())
	inner = append(inner, byte(accept), m.BodyCodec())
	inner = append(inner, body...)
	extra := h.extra(dst[start:], h.out, m)
	return key.aead.Seal(dst, nil, inner, extra), nil
}

// open returns body and codec of a sealed body, in memory of its own. Only the
// goroutine that reads calls it.
func (h *hop) open(m tp.Message, sealed []byte) (body []byte, codec byte, err error) {
	inner, err := h.decrypt(m, sealed)
	if err != nil {
		return nil, 0, err
	}
	if accept, exact := acceptOf(m.Meta()); !exact || byte(accept) != inner[8] {
		return nil, 0, fmt.Errorf("secure: metadata %s: %w", MetaAcceptSecure, ErrAltered)
	}
	if counter := binary.BigEndian.Uint64(inner); !h.received.take(counter) {
		return nil, 0, fmt.Errorf("secure: counter %d: %w", counter, ErrReplayed)
	}
	return inner[innerSize:], inner[9], nil
}

// keep accounts for a sealed body and for as much that it is opened to.
func (h *hop) keep(sealed []byte) error {
	if h.keeper == nil {
		return nil
	}
	if err := h.keeper.Keep(2 * len(sealed)); err != nil {
		return fmt.Errorf("secure: body of %d bytes: %w", len(sealed), err)
	}
	return nil
}

// decrypt returns what the tag of a sealed body vouches for.
func (h *hop) decrypt(m tp.Message, sealed []byte) ([]byte, error) {
	key, err := h.keys.keyOf(sealed, version, minSealed)
	if err != nil {
		return nil, err
	}
	inner, err := key.aead.Open(nil, nil, sealed[headSize:], h.extra(sealed[:headSize], h.in, m))
	if err != nil {
		return nil, fmt.Errorf("secure: key %d: %w", key.id, ErrAltered)
	}
	return inner, nil
}

// extra is what the tag covers besides the body. A reply belongs to its call by
// the sequence number.
func (h *hop) extra(head []byte, direction byte, m tp.Message) []byte {
	method := ""
	if m.Mtype() != tp.TypeReply {
		method = spelled(m.ServiceMethod())
	}
	b := make([]byte, 0, extraSize+len(method))
	b = append(b, head...)
	b = append(b, m.Mtype(), direction)
	b = binary.BigEndian.AppendUint32(b, uint32(m.Seq()))
	b = append(b, h.nonce[:]...)
	return append(b, method...)
}

// windowSize is how far behind the highest counter a message may come: messages
// that are packed side by side leave in another order.
const windowSize = 1024

// window knows which counters were there: the highest, and the 1024 up to it.
type window struct {
	highest uint64
	seen    [windowSize / 64]uint64 // bit counter%1024
}

// take reports whether the counter comes for the first time, and remembers it.
func (w *window) take(n uint64) bool {
	if n == 0 || w.highest >= windowSize && n <= w.highest-windowSize {
		return false
	}
	if n > w.highest {
		for i := range min(n-w.highest, windowSize) { // forget what falls out
			w.clear(n - i)
		}
		w.highest = n
	}
	at, bit := n%windowSize/64, uint64(1)<<(n%64)
	if w.seen[at]&bit != 0 {
		return false
	}
	w.seen[at] |= bit
	return true
}

func (w *window) clear(n uint64) { w.seen[n%windowSize/64] &^= 1 << (n % 64) }

// proto is the protocol of a connection, with bodies sealed.
type proto struct {
	inner socket.Proto
	hop   *hop
	conf  *config
}

var (
	_ socket.Proto  = (*proto)(nil)
	_ socket.Ender  = (*proto)(nil)
	_ socket.Hinter = (*proto)(nil)

	_ socket.Carrier = (*proto)(nil)
)

func (p *proto) Version() (byte, string) { return p.inner.Version() }

func (p *proto) Ended() bool {
	e, ok := p.inner.(socket.Ender)
	return ok && e.Ended()
}

func (p *proto) Hint() string {
	if h, ok := p.inner.(socket.Hinter); ok {
		return h.Hint()
	}
	return ""
}

// sealable reports whether a message is sealed at all: other types are exchanged
// before the session is ready, and a reply with an error has no body. That a call
// or push has an error says nothing: a protocol may let anybody write one there.
func sealable(m socket.Message) bool {
	switch m.Mtype() {
	case tp.TypeCall, tp.TypePush, tp.TypeData:
		return true
	case tp.TypeReply:
		return !m.Rerror().HasError()
	}
	return false
}

func (p *proto) Pack(m socket.Message) error {
	restore, err := p.prepare(m)
	if err != nil {
		return err
	}
	defer restore()
	return p.inner.Pack(m)
}

// appender is a proto that can pack under the lock of a batch: so small messages
// leave in the order of their counters, however many wait for room.
type appender struct {
	*proto
	inner socket.FrameAppender
}

var _ socket.FrameAppender = appender{}

func (p appender) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	restore, err := p.prepare(m)
	if err != nil {
		return dst, err
	}
	defer restore()
	return p.inner.AppendFrame(dst, m)
}

// prepare seals the body if that is to be. restore gives the message its own body
// again: it may be packed once more, for another connection.
func (p *proto) prepare(m socket.Message) (restore func(), err error) {
	seal := sealable(m) && (!p.conf.optional || wantsSeal(m.Meta()))
	mark(m.Meta(), seal)
	if !seal {
		return func() {}, nil
	}
	body, err := m.MarshalBody()
	if err != nil {
		return nil, err
	}
	sealed, err := p.hop.seal(nil, m, body)
	if err != nil {
		return nil, err
	}
	plain := m.Body()
	m.SetBody(sealed)
	return func() {
		m.SetBody(plain)
		if e, ok := m.(*socket.Envelope); ok {
			e.SetPlain(len(body))
		}
	}, nil
}

func (p *proto) Unpack(m socket.Message) error {
	if err := p.inner.Unpack(m); err != nil {
		return err
	}
	if !sealable(m) {
		return nil
	}
	value, n := sole(m.Meta(), MetaSecure)
	if n > 0 || p.hop.keys.looksSealed(m.RawBody(), version, minSealed) {
		if err := p.hop.keep(m.RawBody()); err != nil {
			return err
		}
	}
	var err error
	switch {
	case n == 1 && string(value) == "true":
		err = p.unseal(m)
	case n > 0:
		err = fmt.Errorf("secure: metadata %s: %w", MetaSecure, ErrAltered)
	case !p.conf.optional:
		err = fmt.Errorf("secure: %w", ErrPlain)
	case p.hop.keys.looksSealed(m.RawBody(), version, minSealed):
		if _, e := p.hop.decrypt(m, m.RawBody()); e == nil { // the mark was removed
			err = fmt.Errorf("secure: metadata %s: %w", MetaSecure, ErrAltered)
		}
	}
	if err == nil {
		return nil
	}
	r := p.conf.refusal(err)
	if m.Mtype() == tp.TypeReply {
		m.SetRerror(r)
		return nil
	}
	return &socket.Refusal{Rerror: r, Err: err}
}

func (p *proto) unseal(m socket.Message) error {
	body, codec, err := p.hop.open(m, m.RawBody())
	if err != nil {
		return err
	}
	m.SetBodyCodec(codec)
	if err := m.UnmarshalBody(body); err != nil {
		return fmt.Errorf("secure: %w", err)
	}
	if e, ok := m.(*socket.Envelope); ok {
		e.OwnBody()
	}
	return nil
}
