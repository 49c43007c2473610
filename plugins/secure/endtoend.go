package secure

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
)

// A body sealed from end to end:
//
//	1 byte    version, 2
//	4 bytes   number of the key, big-endian
//	12 bytes  random nonce of AES-GCM
//	          sealed: 16 bytes id of the message, of a reply that of its call;
//	          8 bytes time of sealing, Unix milliseconds; 1 byte body codec; body
//	16 bytes  tag, also over version, number of the key, type, and the service
//	          method of CALL and PUSH; the type of a CALL that opens a stream is DATA
const (
	endVersion   = 2
	idSize       = 16
	endInner     = idSize + 8 + 1
	minEndSealed = headSize + 12 + endInner + 16
	maxIDs       = 1 << 20 // remembered at once
)

// MetaSecureEnd marks a message that is sealed from end to end: "true". Set on a
// call or push to send it asks for that; other values are removed.
const MetaSecureEnd = "X-Secure-End"

// ErrFull says that more messages have come within the time window than are
// remembered, 1048576; until some are too old, all are refused.
var ErrFull = errors.New("too many messages to remember")

// WithSecureEndMeta seals a call or push from end to end.
func WithSecureEndMeta() tp.MessageSetting { return tp.WithSetMeta(MetaSecureEnd, "true") }

// Window sets how far the time at which a message was sealed may differ from the
// receiver's when it comes; for EndToEnd. The default is one minute.
func Window(d time.Duration) Option { return func(c *config) { c.window = d } }

// EndToEnd returns the plugin that seals body and service method from the caller
// to the handler, so that proxies, which do not have it, pass them on unopened. Of a
// stream it seals each message in its place, and the end of each direction: a proxy
// cannot read, alter, drop, repeat or move messages, nor end the stream as if that was
// all, without an error of Recv. A plain reply to a sealed call is an error of the call, unless it carries an error.
// Give it to the whole peer, in front of plugins that reroute. Each plugin accepts
// a message once: share one among peers that have the same keys, or a message can
// be repeated to each of them. What was sealed before EndToEnd was called is
// refused.
func EndToEnd(keys *Keys, opts ...Option) tp.Plugin {
	conf := newConfig(opts)
	if conf.window <= 0 {
		conf.window = time.Minute
	}
	now := time.Now()
	return &endToEnd{keys: keys, conf: conf, seen: memory{window: conf.window, since: now, turned: now, now: map[id]struct{}{}}}
}

type id [idSize]byte

type endToEnd struct {
	keys *Keys
	conf *config
	seen memory
}

var (
	_ tp.PreWriteCallPlugin       = (*endToEnd)(nil)
	_ tp.PreWritePushPlugin       = (*endToEnd)(nil)
	_ tp.PreWriteReplyPlugin      = (*endToEnd)(nil)
	_ tp.PostReadCallHeaderPlugin = (*endToEnd)(nil)
	_ tp.PostReadPushHeaderPlugin = (*endToEnd)(nil)
	_ tp.PreReadCallBodyPlugin    = (*endToEnd)(nil)
	_ tp.PreReadPushBodyPlugin    = (*endToEnd)(nil)
	_ tp.PreReadReplyBodyPlugin   = (*endToEnd)(nil)
	_ tp.NonBlockingPlugin        = (*endToEnd)(nil)
)

func (*endToEnd) Name() string { return "secure(end to end)" }

// NonBlocking promises that no hook blocks.
func (*endToEnd) NonBlocking() {}

// exchange is kept in the context of a sealed call, on either side.
type exchange struct {
	context.Context
	owner  *endToEnd
	method string // as it was sent
	id     id
	opened bool // the call, where it is served
	plain  bool // the call is not sealed after all
}

func (x *exchange) Value(key any) any {
	if key == any(x.owner) {
		return x
	}
	return x.Context.Value(key)
}

func (p *endToEnd) exchange(m tp.Message) *exchange {
	if x, _ := m.Context().Value(p).(*exchange); x != nil && !x.plain {
		return x
	}
	return nil
}

func (p *endToEnd) begin(m tp.Message) *exchange {
	x := &exchange{Context: m.Context(), owner: p, method: m.ServiceMethod()}
	tp.WithContext(x)(m)
	return x
}

func wantsEnd(m *tp.Meta) bool { return string(m.Peek(MetaSecureEnd)) == "true" }

func (p *endToEnd) PreWriteCall(ctx tp.WriteCtx) *tp.Rerror {
	m := ctx.Output()
	r := p.write(m)
	if x := p.exchange(m); r == nil && x != nil && opensStream(m) {
		ctx.Swap().Store(streamOf{p}, p.openedStream(x.id))
	}
	return r
}

func (p *endToEnd) PreWritePush(ctx tp.WriteCtx) *tp.Rerror { return p.write(ctx.Output()) }

func (p *endToEnd) write(m tp.Message) *tp.Rerror {
	wanted := wantsEnd(m.Meta())
	m.Meta().Del(MetaSecureEnd)
	if !wanted && p.conf.optional {
		if p.exchange(m) != nil { // that of another call, whose context this one was given
			p.begin(m).plain = true
		}
		return nil
	}
	x := p.begin(m)
	rand.Read(x.id[:]) // never fails
	return p.seal(m, x.id, x.method)
}

// seal replaces the body by its sealed form.
func (p *endToEnd) seal(m tp.Message, of id, method string) *tp.Rerror {
	body, err := m.MarshalBody()
	if err != nil {
		return tp.NewRerror(p.conf.code, "marshal raw body error", err.Error()).WithCause(err)
	}
	key, err := p.keys.sealer()
	if err != nil {
		return unsealed(err)
	}
	head := binary.BigEndian.AppendUint32([]byte{endVersion}, key.id)
	inner := make([]byte, 0, endInner+len(body))
	inner = append(inner, of[:]...)
	inner = binary.BigEndian.AppendUint64(inner, uint64(time.Now().UnixMilli()))
	inner = append(inner, m.BodyCodec())
	inner = append(inner, body...)
	m.SetBody(key.aead.Seal(head, nil, inner, endExtra(head, sealedType(m), method)))
	m.Meta().Set(MetaSecureEnd, "true")
	return nil
}

// unsealed is the error of a message that cannot be sealed.
func unsealed(err error) *tp.Rerror {
	return tp.NewRerror(tp.CodeWriteFailed, tp.CodeText(tp.CodeWriteFailed), err.Error()).WithCause(err)
}

func endExtra(head []byte, mtype byte, method string) []byte {
	b := make([]byte, 0, headSize+1+len(method))
	b = append(b, head...)
	b = append(b, mtype)
	if mtype == tp.TypeReply {
		return b // it belongs to its call by the id
	}
	return append(b, spelled(method)...)
}

// open replaces the sealed body by its content, once check has agreed.
func (p *endToEnd) open(m tp.Message, method string, check func(of id, at time.Time) error) error {
	inner, err := p.decrypt(m, method)
	if err != nil {
		return err
	}
	at := time.UnixMilli(int64(binary.BigEndian.Uint64(inner[idSize:])))
	if err := check(id(inner[:idSize]), at); err != nil {
		return err
	}
	m.SetBodyCodec(inner[endInner-1])
	return m.UnmarshalBody(inner[endInner:])
}

// decrypt returns what the tag of a sealed body vouches for.
func (p *endToEnd) decrypt(m tp.Message, method string) ([]byte, error) {
	sealed := m.RawBody()
	key, err := p.keys.keyOf(sealed, endVersion, minEndSealed)
	if err != nil {
		return nil, err
	}
	inner, err := key.aead.Open(nil, nil, sealed[headSize:], endExtra(sealed[:headSize], sealedType(m), method))
	if err != nil {
		return nil, fmt.Errorf("secure: key %d: %w", key.id, ErrAltered)
	}
	return inner, nil
}

func (p *endToEnd) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror { return p.noteMethod(ctx.Input()) }
func (p *endToEnd) PostReadPushHeader(ctx tp.ReadCtx) *tp.Rerror { return p.noteMethod(ctx.Input()) }

// noteMethod keeps the service method as it was sent, before a plugin reroutes, of a
// sealed message, and of one that looks sealed: its mark may have been removed.
func (p *endToEnd) noteMethod(m tp.Message) *tp.Rerror {
	if p.exchange(m) == nil && (wantsEnd(m.Meta()) || p.keys.looksSealed(m.RawBody(), endVersion, minEndSealed)) {
		p.begin(m)
	}
	return nil
}

func (p *endToEnd) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror {
	m := ctx.Input()
	r := p.read(m)
	if x := p.exchange(m); r == nil && x != nil && x.opened && opensStream(m) {
		ctx.Swap().Store(streamOf{p}, p.acceptedStream(x.id))
	}
	return r
}

func (p *endToEnd) PreReadPushBody(ctx tp.ReadCtx) *tp.Rerror { return p.read(ctx.Input()) }

func (p *endToEnd) read(m tp.Message) *tp.Rerror {
	x := p.exchange(m)
	var err error
	switch value, n := sole(m.Meta(), MetaSecureEnd); {
	case n == 1 && string(value) == "true":
		if x == nil {
			x = p.begin(m)
		}
		err = p.open(m, x.method, func(of id, at time.Time) error {
			x.id, x.opened = of, true
			return p.seen.take(of, at)
		})
	case n > 0:
		err = fmt.Errorf("secure: metadata %s: %w", MetaSecureEnd, ErrAltered)
	case !p.conf.optional:
		err = fmt.Errorf("secure: %w", ErrPlain)
	case x != nil:
		if _, e := p.decrypt(m, x.method); e == nil { // the mark was removed
			err = fmt.Errorf("secure: metadata %s: %w", MetaSecureEnd, ErrAltered)
		}
	}
	if err != nil {
		return p.conf.refusal(err)
	}
	return nil
}

// PreWriteReply seals the reply of a sealed call.
func (p *endToEnd) PreWriteReply(ctx tp.WriteCtx) *tp.Rerror {
	out := ctx.Output()
	out.Meta().Del(MetaSecureEnd)
	read, ok := ctx.(tp.ReadCtx)
	if !ok || ctx.Rerror().HasError() {
		return nil
	}
	x := p.exchange(read.Input())
	if x == nil || !x.opened {
		return nil
	}
	var r *tp.Rerror
	if !opensStream(read.Input()) {
		r = p.seal(out, x.id, "")
	} else if s, none := p.stream(read); s != nil {
		r = s.writeReply(out)
	} else {
		r = none
	}
	if r != nil { // it must not leave as it is
		out.SetRerror(r)
		out.SetBody(nil)
		out.SetBodyCodec(codec.NilCodecID)
	}
	return r
}

// PreReadReplyBody opens the reply of a sealed call.
func (p *endToEnd) PreReadReplyBody(ctx tp.ReadCtx) *tp.Rerror {
	call, ok := ctx.(tp.WriteCtx)
	if !ok || ctx.Rerror().HasError() {
		return nil
	}
	x, m := p.exchange(call.Output()), ctx.Input()
	sealed := wantsEnd(m.Meta())
	var err error
	switch {
	case x != nil && opensStream(call.Output()):
		s, r := p.stream(ctx)
		if s == nil {
			return r
		}
		err = s.readReply(m)
	case x == nil && !sealed:
		return nil
	case x == nil:
		err = fmt.Errorf("secure: sealed reply to a plain call: %w", ErrAltered)
	case !sealed:
		err = fmt.Errorf("secure: reply: %w", ErrPlain)
	default:
		err = p.open(m, "", func(of id, _ time.Time) error {
			if of != x.id {
				return fmt.Errorf("secure: reply to another call: %w", ErrReplayed)
			}
			return nil
		})
	}
	if err != nil {
		return p.conf.refusal(err)
	}
	return nil
}

// memory knows the messages that have come, as long as they would not be too old.
type memory struct {
	window time.Duration
	since  time.Time // nothing sealed before was remembered

	mu         sync.Mutex // guards what follows
	now, older map[id]struct{}
	turned     time.Time // when now was begun
}

// take refuses what came before and what cannot be known not to have.
func (s *memory) take(of id, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if at.Before(s.since.Truncate(time.Millisecond)) || now.Sub(at).Abs() > s.window {
		return fmt.Errorf("secure: sealed at %s, %s from now: %w", at.UTC().Format(time.RFC3339), now.Sub(at).Round(time.Millisecond), ErrReplayed)
	}
	// A message sealed in the future is good for two windows from now.
	if life := now.Sub(s.turned); life >= 4*s.window {
		s.now, s.older, s.turned = map[id]struct{}{}, nil, now
	} else if life >= 2*s.window {
		s.now, s.older, s.turned = map[id]struct{}{}, s.now, now
	}
	_, a := s.now[of]
	_, b := s.older[of]
	if a || b {
		return fmt.Errorf("secure: %w", ErrReplayed)
	}
	if len(s.now)+len(s.older) >= maxIDs {
		return fmt.Errorf("secure: %w", ErrFull)
	}
	s.now[of] = struct{}{}
	return nil
}
