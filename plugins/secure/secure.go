// Package secure seals the bodies of messages between two peers.
//
// New seals with AES-GCM over one connection, against reading, altering and
// replaying. EndToEnd does that from the caller to the handler, with proxies
// between them. Either seals every call, push, reply and message of a stream and
// refuses plain ones, unless it is Optional. What v5 and v7 call secure is package securelegacy.
//
// TLS is the better choice where it can be had: it hides and guards the service
// method, the metadata and errors, too, which stay in clear here.
package secure

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
)

const (
	// MetaSecure marks a sealed message: "true". Set on a message to send it asks
	// for sealing; other values are removed.
	MetaSecure = "X-Secure"
	// MetaAcceptSecure says how a call wants its reply: "true" sealed, "false"
	// plain; without it, as the call itself.
	MetaAcceptSecure = "X-Accept-Secure"
)

// WithSecureMeta seals the body of a message.
func WithSecureMeta() tp.MessageSetting { return tp.WithSetMeta(MetaSecure, "true") }

// WithAcceptSecureMeta says whether the reply of a call shall be sealed.
func WithAcceptSecureMeta(accept bool) tp.MessageSetting {
	return tp.WithSetMeta(MetaAcceptSecure, fmt.Sprint(accept))
}

// EnforceSecure seals the body of a message to be sent, such as a reply.
func EnforceSecure(output tp.Message) { setSecure(output.Meta()) }

// setSecure makes "true" the only value.
func setSecure(m *tp.Meta) {
	m.Del(MetaSecure)
	m.Set(MetaSecure, "true")
}

func wantsSeal(m *tp.Meta) bool { return string(m.Peek(MetaSecure)) == "true" }

// wantsSealedReply reports whether the reply to a request with this metadata is
// to be sealed.
func wantsSealedReply(m *tp.Meta) bool {
	switch accept, _ := acceptOf(m); accept {
	case acceptSealed:
		return true
	case acceptPlain:
		return false
	}
	return wantsSeal(m)
}

// accept is how a call wants its reply, as it stands in a sealed body.
type accept byte

const (
	acceptAny    accept = 0 // as the call
	acceptSealed accept = 1
	acceptPlain  accept = 2
)

// acceptOf reads X-Accept-Secure, whose first value counts. exact says that it is
// as mark leaves it.
func acceptOf(m *tp.Meta) (a accept, exact bool) {
	value, n := sole(m, MetaAcceptSecure)
	switch string(value) {
	case "true":
		return acceptSealed, n == 1
	case "false":
		return acceptPlain, n == 1
	}
	return acceptAny, n == 0
}

// sole returns the first value of the key, and how many there are.
func sole(m *tp.Meta, key string) (value []byte, n int) {
	for k, v := range m.All() {
		if string(k) == key {
			if n++; n == 1 {
				value = v
			}
		}
	}
	return value, n
}

// mark makes the metadata say what is sent: X-Secure is "true", once, or absent;
// X-Accept-Secure is "true" or "false", once, or absent.
func mark(m *tp.Meta, sealed bool) {
	if m.Len() == 0 && !sealed {
		return
	}
	if value, n := sole(m, MetaSecure); sealed && (n != 1 || string(value) != "true") {
		setSecure(m)
	} else if !sealed && n > 0 {
		m.Del(MetaSecure)
	}
	a, exact := acceptOf(m)
	if exact {
		return
	}
	m.Del(MetaAcceptSecure)
	if a != acceptAny {
		m.Set(MetaAcceptSecure, fmt.Sprint(a == acceptSealed))
	}
}

// Option changes what New and EndToEnd make.
type Option func(*config)

type config struct {
	code     int32
	optional bool
	window   time.Duration
}

func newConfig(opts []Option) *config {
	c := &config{code: tp.CodeBadMessage}
	for _, set := range opts {
		set(c)
	}
	return c
}

// refusal is the answer to a message that cannot be opened.
func (c *config) refusal(err error) *tp.Rerror {
	return tp.NewRerror(c.code, "decrypt ciphertext error", err.Error()).WithCause(err)
}

// Optional seals what asks for it by its metadata, and accepts plain messages, for
// fleets in which not every program seals. An attacker on the line can then send
// plain messages of its own; it cannot make a sealed message, or the reply to one,
// pass in plain. Without it all calls, pushes and replies are sealed, whatever their
// metadata say, and plain ones are refused. Replies that carry an error are plain
// and accepted in any case.
func Optional() Option { return func(c *config) { c.optional = true } }

// Enforce takes back Optional.
//
// Deprecated: this is the default.
func Enforce() Option { return func(c *config) { c.optional = false } }

// Code sets the code of errors; the default is 400.
func Code(code int32) Option { return func(c *config) { c.code = code } }

// New returns the plugin that seals with AES-GCM. Both sides must have it, as
// plugin of the peer, and behind plugins that exchange messages on a fresh
// connection (auth): those messages are not sealed. keys may be shared.
func New(keys *Keys, opts ...Option) tp.Plugin {
	p := &plugin{keys, newConfig(opts)}
	if p.conf.optional {
		return &optional{p}
	}
	return p
}

type plugin struct {
	keys *Keys
	conf *config
}

var (
	_ tp.PostDialPlugin      = (*plugin)(nil)
	_ tp.PostAcceptPlugin    = (*plugin)(nil)
	_ tp.HandOverPlugin      = (*plugin)(nil)
	_ tp.PreWriteCallPlugin  = (*plugin)(nil)
	_ tp.PreWritePushPlugin  = (*plugin)(nil)
	_ tp.PreWriteReplyPlugin = (*plugin)(nil)
	_ tp.PreWriteDataPlugin  = (*plugin)(nil)
)

func (*plugin) Name() string { return "secure" }

// helloMethod is the CALL by which the sides tell each other their halves of the
// connection's nonce: a byte for the version, and 16 random ones.
const helloMethod = "/secure/hello"

func newHello() []byte {
	b := make([]byte, 1+nonceSize)
	b[0] = version
	rand.Read(b[1:]) // never fails
	return b
}

func checkHello(b []byte) error {
	switch {
	case len(b) == 1+nonceSize && b[0] == version:
		return nil
	case len(b) == 1+nonceSize:
		return fmt.Errorf("secure: hello: the peer has version %d of the sealed form, this one version %d", b[0], version)
	}
	return fmt.Errorf("secure: hello: %d bytes, want %d; are the peer's plugins in another order?", len(b), 1+nonceSize)
}

// PostDial says hello, on redials too: each connection has its own nonce.
func (p *plugin) PostDial(s tp.PreSession) *tp.Rerror {
	mine, theirs := newHello(), []byte(nil)
	if r := s.PreCall(helloMethod, mine, &theirs); r.HasError() {
		return tp.NewRerror(tp.CodeDialFailed, tp.CodeText(tp.CodeDialFailed), "secure: hello: "+r.String()).WithCause(r.Err())
	}
	if err := checkHello(theirs); err != nil {
		return tp.NewRerror(tp.CodeDialFailed, tp.CodeText(tp.CodeDialFailed), err.Error())
	}
	p.wrap(s, mine, theirs, fromDialler)
	return nil
}

// PostAccept waits for the hello and answers it.
func (p *plugin) PostAccept(s tp.PreSession) *tp.Rerror {
	var theirs []byte
	m := s.PreReceive(func(h tp.Header) any {
		if h.Mtype() != tp.TypeCall || h.ServiceMethod() != helloMethod {
			return nil
		}
		return &theirs
	})
	if r := m.Rerror(); r.HasError() {
		return r
	}
	if err := checkHello(theirs); err != nil {
		r := tp.NewRerror(p.conf.code, tp.CodeText(p.conf.code), err.Error())
		if m.Mtype() == tp.TypeCall {
			s.PreReply(m, nil, r)
		}
		return r
	}
	mine := newHello()
	if r := s.PreReply(m, mine, nil); r.HasError() {
		return r
	}
	p.wrap(s, theirs, mine, fromAcceptor)
	return nil
}

// wrap seals all that comes after. Neither side chooses the nonce alone, so that
// neither can be made to take an old connection's messages.
func (p *plugin) wrap(s tp.PreSession, dialler, acceptor []byte, me byte) {
	sum := sha256.Sum256(append(append([]byte("teleport secure 1"), dialler...), acceptor...))
	h := &hop{keys: p.keys, out: me, in: fromDialler + fromAcceptor - me}
	copy(h.nonce[:], sum[:])
	p.seal(s, h)
}

// seal puts the hop around the protocol of the connection.
func (p *plugin) seal(s tp.PreSession, h *hop) {
	pf := s.GetProtoFunc()
	s.ModifySocket(func(net.Conn) (net.Conn, tp.ProtoFunc) {
		return nil, func(rw io.ReadWriter) socket.Proto {
			h.keeper, _ = rw.(socket.Keeper)
			sealed := &proto{pf(rw), h, p.conf}
			if a, ok := sealed.inner.(socket.FrameAppender); ok {
				return appender{sealed, a}
			}
			return sealed
		}
	})
}

// PreWriteReply seals the reply of a call that was sealed or asks for it.
func (p *plugin) PreWriteReply(ctx tp.WriteCtx) *tp.Rerror {
	if read, ok := ctx.(tp.ReadCtx); ok && wantsSealedReply(read.Input().Meta()) {
		setSecure(ctx.Output().Meta())
	}
	return p.encode(ctx)
}

// PreWriteCall encodes what is to be sealed.
func (p *plugin) PreWriteCall(ctx tp.WriteCtx) *tp.Rerror {
	if m := ctx.Output().Meta(); p.conf.optional && m.Len() > 0 && m.Has(tp.MetaStream) && wantsSeal(m) {
		return tp.NewRerror(tp.CodeNotImplemented, tp.CodeText(tp.CodeNotImplemented), "secure: a plugin that is Optional does not seal the messages of a stream")
	}
	return p.encode(ctx)
}

// PreWritePush encodes what is to be sealed.
func (p *plugin) PreWritePush(ctx tp.WriteCtx) *tp.Rerror { return p.encode(ctx) }

// PreWriteData encodes what is to be sealed.
func (p *plugin) PreWriteData(ctx tp.WriteCtx) *tp.Rerror { return p.encode(ctx) }

// encode encodes a body ahead, since with the bytes at hand it can be sealed when
// its turn has come and not before it waits for that. An error comes again then.
func (p *plugin) encode(ctx tp.WriteCtx) *tp.Rerror {
	m, ok := ctx.Output().(*socket.Envelope)
	if !ok {
		return nil
	}
	seal := sealable(m) && (!p.conf.optional || wantsSeal(m.Meta()))
	mark(m.Meta(), seal) // here, since from the next step on the reader may look at it
	if seal {
		m.Encode(nil)
	}
	return nil
}

// optional is a plugin that also accepts plain messages.
type optional struct{ *plugin }

var (
	_ tp.PreReadReplyBodyPlugin = (*optional)(nil)
	_ tp.NonBlockingPlugin      = (*optional)(nil)
)

// NonBlocking promises that no hook blocks.
func (*optional) NonBlocking() {}

// PreReadReplyBody refuses a plain reply to a call that asks for a sealed one.
func (p *optional) PreReadReplyBody(ctx tp.ReadCtx) *tp.Rerror {
	call, ok := ctx.(tp.WriteCtx)
	if !ok || ctx.Rerror().HasError() || wantsSeal(ctx.Input().Meta()) || !wantsSealedReply(call.Output().Meta()) {
		return nil
	}
	return p.conf.refusal(fmt.Errorf("secure: reply: %w", ErrPlain))
}
