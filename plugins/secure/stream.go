package secure

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"sync"

	tp "github.com/teleport-go/teleport/core"
)

// The body of a message of a stream, DATA, sealed from end to end:
//
//	1 byte    version, 4
//	4 bytes   number of the key, big-endian
//	16 bytes  id of the sender: the opener's is that of its CALL, the handler's is random
//	12 bytes  random nonce of AES-GCM
//	          sealed: 1 byte body codec; body
//	16 bytes  tag, also over version, number of the key, sender, type, and the number of
//	          the message in its direction, 8 bytes, from 1 on
//
// Each direction has a key of its own: HKDF-SHA256 of the secret that the number names, as
// long as that, with the ids of the CALL and of the sender as salt and the direction in the
// info. So a message is opened in one place of one
// direction of one stream; and two servers that have got the same CALL, since a proxy has
// repeated it, are not taken for one.
//
// The end of a direction is sealed in the same form, without codec and body, with the type of
// the message that carries it, in base64 (RFC 4648, section 5, without padding) as the
// metadata X-Secure-End: CONTROL for CloseSend, REPLY for the handler's return without an
// error. Its number is how many messages there were.
//
// The CALL that opens a stream is sealed as any other, but under the type DATA: it cannot be
// made an ordinary one, nor that a stream.
const (
	streamVersion   = 4
	streamHeadSize  = headSize + idSize
	minStreamSealed = streamHeadSize + 12 + 16

	fromOpener  = "teleport secure stream 4 opener"
	fromHandler = "teleport secure stream 4 handler"
)

// sealedStream is what one side knows of a stream that is sealed from end to end.
type sealedStream struct {
	keys *Keys
	of   id // of the CALL
	me   id // as a sender

	mu      sync.Mutex // guards what follows
	peer    id         // the other side as a sender
	known   bool       // which id that is
	out, in direction
}

// direction has the key of one direction of a stream, and the one that it was made of.
type direction struct {
	info      string
	from, key *liveKey
}

var (
	_ tp.PreWriteDataPlugin = (*endToEnd)(nil)
	_ tp.PostReadDataPlugin = (*endToEnd)(nil)
	_ tp.PreWriteEndPlugin  = (*endToEnd)(nil)
	_ tp.PostReadEndPlugin  = (*endToEnd)(nil)
)

// streamOf is the key of a stream in the Swap of its CALL.
type streamOf struct{ p *endToEnd }

// openedStream is the state of the opener of a stream, acceptedStream that of its handler.
func (p *endToEnd) openedStream(of id) *sealedStream {
	return &sealedStream{keys: p.keys, of: of, me: of, out: direction{info: fromOpener}, in: direction{info: fromHandler}}
}

func (p *endToEnd) acceptedStream(of id) *sealedStream {
	s := &sealedStream{keys: p.keys, of: of, peer: of, known: true, out: direction{info: fromHandler}, in: direction{info: fromOpener}}
	rand.Read(s.me[:]) // never fails
	return s
}

// stream returns the state of the stream to which a message belongs. Without one the stream
// was opened in plain, which Optional allows.
func (p *endToEnd) stream(ctx interface{ Swap() *tp.Swap }) (*sealedStream, *tp.Rerror) {
	if v, ok := ctx.Swap().Load(streamOf{p}); ok {
		return v.(*sealedStream), nil
	}
	if p.conf.optional {
		return nil, nil
	}
	return nil, p.conf.refusal(fmt.Errorf("secure: stream: %w", ErrPlain))
}

// opensStream reports whether the message is a CALL that opens a stream.
func opensStream(m tp.Message) bool {
	return m.Mtype() == tp.TypeCall && m.Meta().Has(tp.MetaStream)
}

// sealedType is the type under which a message is sealed.
func sealedType(m tp.Message) byte {
	if opensStream(m) {
		return tp.TypeData
	}
	return m.Mtype()
}

// keyOf returns the key of a direction, made of the key from for the sender's messages.
func (s *sealedStream) keyOf(d *direction, from *liveKey, sender id) (*liveKey, error) {
	if d.from == from {
		return d.key, nil
	}
	secret, err := hkdf.Key(sha256.New, from.secret, slices.Concat(s.of[:], sender[:]), d.info, len(from.secret))
	if err != nil {
		return nil, fmt.Errorf("secure: key %d: %w", from.id, err)
	}
	return newLiveKey(Key{ID: from.id, Secret: secret})
}

// sealer returns the key to seal one message with.
func (s *sealedStream) sealer() (*liveKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := (*s.keys.live.Load())[0]
	key, err := s.keyOf(&s.out, from, s.me)
	if err != nil {
		return nil, err
	}
	s.out.from, s.out.key = from, key
	return key, key.count()
}

// seal returns the sealed form of a message, or of an end, of the type and with the number.
func (s *sealedStream) seal(mtype byte, number int64, inner []byte) ([]byte, error) {
	key, err := s.sealer()
	if err != nil {
		return nil, err
	}
	head := make([]byte, 0, minStreamSealed+len(inner))
	head = append(head, streamVersion)
	head = binary.BigEndian.AppendUint32(head, key.id)
	head = append(head, s.me[:]...)
	return key.aead.Seal(head, nil, inner, streamExtra(head, mtype, number)), nil
}

// streamExtra is what the tag covers besides the sealed bytes.
func streamExtra(head []byte, mtype byte, number int64) []byte {
	b := make([]byte, 0, streamHeadSize+1+8)
	b = append(b, head...)
	b = append(b, mtype)
	return binary.BigEndian.AppendUint64(b, uint64(number))
}

// opener returns the key to open a message of the sender's with.
func (s *sealedStream) opener(from *liveKey, sender id) (*liveKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known && sender != s.peer {
		return nil, fmt.Errorf("secure: message of another side, or of another stream: %w", ErrAltered)
	}
	key, err := s.keyOf(&s.in, from, sender)
	if err == nil && s.known {
		s.in.from, s.in.key = from, key
	}
	return key, err
}

// open returns what the tag of a sealed message, or of an end, vouches for.
func (s *sealedStream) open(sealed []byte, mtype byte, number int64) ([]byte, error) {
	from, err := s.keys.keyOf(sealed, streamVersion, minStreamSealed)
	if err != nil {
		return nil, err
	}
	sender := id(sealed[headSize:streamHeadSize])
	key, err := s.opener(from, sender)
	if err != nil {
		return nil, err
	}
	inner, err := key.aead.Open(nil, nil, sealed[streamHeadSize:], streamExtra(sealed[:streamHeadSize], mtype, number))
	if err != nil {
		return nil, fmt.Errorf("secure: key %d: not what stands at %d of this stream (one is missing, was repeated, or is another's): %w", from.id, number, ErrAltered)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known && sender != s.peer { // the other goroutine has opened what another handler has sealed
		return nil, fmt.Errorf("secure: two handlers have answered: %w", ErrAltered)
	}
	s.peer, s.known = sender, true
	return inner, nil
}

// PreWriteData seals a message of a sealed stream.
func (p *endToEnd) PreWriteData(ctx tp.WriteCtx) *tp.Rerror {
	s, r := p.stream(ctx)
	if s == nil {
		return r
	}
	m := ctx.Output()
	body, err := m.MarshalBody()
	if err != nil {
		return tp.NewRerror(p.conf.code, "marshal raw body error", err.Error()).WithCause(err)
	}
	inner := append(append(make([]byte, 0, 1+len(body)), m.BodyCodec()), body...)
	sealed, err := s.seal(tp.TypeData, ctx.(tp.DataCtx).Number(), inner)
	if err != nil {
		return unsealed(err)
	}
	m.SetBody(sealed)
	return nil
}

// PostReadData opens a message of a sealed stream.
func (p *endToEnd) PostReadData(ctx tp.ReadCtx) *tp.Rerror {
	s, r := p.stream(ctx)
	if s == nil {
		return r
	}
	m := ctx.Input()
	inner, err := s.open(m.RawBody(), tp.TypeData, ctx.(tp.DataCtx).Number())
	if err == nil && len(inner) == 0 {
		err = fmt.Errorf("secure: message of a stream without a codec: %w", ErrTruncated)
	}
	if err == nil {
		m.SetBodyCodec(inner[0])
		err = m.UnmarshalBody(inner[1:])
	}
	if err != nil {
		return p.conf.refusal(err)
	}
	return nil
}

// PreWriteEnd seals the end of this side's messages.
func (p *endToEnd) PreWriteEnd(ctx tp.WriteCtx) *tp.Rerror {
	s, r := p.stream(ctx)
	if s == nil {
		return r
	}
	return s.writeEnd(ctx.Output(), ctx.(tp.DataCtx).Number())
}

// PostReadEnd refuses an end that the other side has not sealed, or behind other messages.
func (p *endToEnd) PostReadEnd(ctx tp.ReadCtx) *tp.Rerror {
	s, r := p.stream(ctx)
	if s == nil {
		return r
	}
	if err := s.readEnd(ctx.Input(), ctx.(tp.DataCtx).Number()); err != nil {
		return p.conf.refusal(err)
	}
	return nil
}

// writeReply seals the end of the handler, which has sent as many messages as the REPLY says.
func (s *sealedStream) writeReply(m tp.Message) *tp.Rerror {
	sent, err := sentOf(m)
	if err != nil {
		return tp.NewRerror(tp.CodeInternalServerError, tp.CodeText(tp.CodeInternalServerError), err.Error()).WithCause(err)
	}
	m.SetBody(nil)
	return s.writeEnd(m, sent)
}

// readReply refuses a REPLY that the handler has not sealed. That as many messages have come
// as it says the engine checks.
func (s *sealedStream) readReply(m tp.Message) error {
	sent, err := sentOf(m)
	if err != nil {
		return err
	}
	return s.readEnd(m, sent)
}

// sentOf returns how many messages a REPLY says that the handler has sent. The engine leaves
// that out if a Send still runs when the handler has returned.
func sentOf(m tp.Message) (int64, error) {
	value, n := sole(m.Meta(), tp.MetaStream)
	sent, err := strconv.ParseInt(string(value), 10, 64)
	if n != 1 || err != nil {
		return 0, fmt.Errorf("secure: the end of a stream does not say how many messages were sent (has its handler returned while one was sent?): %w", ErrTruncated)
	}
	return sent, nil
}

func (s *sealedStream) writeEnd(m tp.Message, number int64) *tp.Rerror {
	sealed, err := s.seal(m.Mtype(), number, nil)
	if err != nil {
		return unsealed(err)
	}
	m.Meta().Del(MetaSecureEnd)
	m.Meta().Set(MetaSecureEnd, base64.RawURLEncoding.EncodeToString(sealed))
	return nil
}

func (s *sealedStream) readEnd(m tp.Message, number int64) error {
	value, n := sole(m.Meta(), MetaSecureEnd)
	if n == 0 {
		return fmt.Errorf("secure: end of a stream: %w", ErrPlain)
	}
	sealed, err := base64.RawURLEncoding.AppendDecode(nil, value)
	if n > 1 || err != nil {
		return fmt.Errorf("secure: end of a stream: metadata %s: %w", MetaSecureEnd, ErrAltered)
	}
	_, err = s.open(sealed, m.Mtype(), number)
	return err
}
