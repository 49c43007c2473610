// Package secure seals the bodies of messages between two peers.
//
// New is for peers of this age: AES-GCM over one connection, against reading,
// altering and replaying. EndToEnd does that from the caller to the handler, with
// proxies between them. Legacy speaks the older wire, which only hides bodies
// from who does not look closely; it is there for older peers.
//
// Against all of it TLS is the better choice where it can be had: it hides and
// guards the service method, the metadata and errors, too, which stay open here.
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
	accept := string(m.Peek(MetaAcceptSecure))
	return accept == "true" || accept != "false" && wantsSeal(m)
}

// Option changes what New and Legacy make.
type Option func(*config)

type config struct {
	code    int32
	enforce bool
	window  time.Duration
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

// Enforce seals all calls, pushes and replies, whatever their metadata say, and
// refuses plain ones. Replies that carry an error are plain nevertheless, and taken.
func Enforce() Option { return func(c *config) { c.enforce = true } }

// Code sets the code of errors; the default is 400.
func Code(code int32) Option { return func(c *config) { c.code = code } }

// New returns the plugin that seals with AES-GCM. Both sides must have it, as
// plugin of the peer, and behind others that talk on a fresh connection (auth):
// when their turn comes nothing is sealed yet. keys may be shared.
func New(keys *Keys, opts ...Option) tp.Plugin { return &plugin{keys, newConfig(opts)} }

type plugin struct {
	keys *Keys
	conf *config
}

var (
	_ tp.PostDialPlugin      = (*plugin)(nil)
	_ tp.PostAcceptPlugin    = (*plugin)(nil)
	_ tp.PreWriteCallPlugin  = (*plugin)(nil)
	_ tp.PreWritePushPlugin  = (*plugin)(nil)
	_ tp.PreWriteReplyPlugin = (*plugin)(nil)
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
	if len(b) != 1+nonceSize || b[0] != version {
		return fmt.Errorf("secure: hello: %d bytes that are none of version %d; has the peer another plugin order?", len(b), version)
	}
	return nil
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
	pf := s.GetProtoFunc()
	s.ModifySocket(func(net.Conn) (net.Conn, tp.ProtoFunc) {
		return nil, func(rw io.ReadWriter) socket.Proto {
			sealed := &proto{pf(rw), h, p.conf}
			if a, ok := sealed.inner.(socket.FrameAppender); ok {
				return appender{sealed, a}
			}
			return sealed
		}
	})
}

// PreWriteReply seals the reply of a call that was sealed or wants it.
func (p *plugin) PreWriteReply(ctx tp.WriteCtx) *tp.Rerror {
	markReply(ctx)
	return p.encode(ctx)
}

// PreWriteCall encodes what is to be sealed.
func (p *plugin) PreWriteCall(ctx tp.WriteCtx) *tp.Rerror { return p.encode(ctx) }

// PreWritePush encodes what is to be sealed.
func (p *plugin) PreWritePush(ctx tp.WriteCtx) *tp.Rerror { return p.encode(ctx) }

// encode encodes a body ahead, since with the bytes at hand it can be sealed when
// its turn has come and not before it waits for that. An error comes again then.
func (p *plugin) encode(ctx tp.WriteCtx) *tp.Rerror {
	m, ok := ctx.Output().(*socket.Envelope)
	if ok && sealable(m) && (p.conf.enforce || wantsSeal(m.Meta())) {
		m.Encode(nil)
	}
	return nil
}

// markReply asks for sealing where the call does, and reports whether the reply
// is to be sealed.
func markReply(ctx tp.WriteCtx) bool {
	out := ctx.Output().Meta()
	if ctx.Rerror().HasError() {
		out.Del(MetaSecure)
		return false
	}
	if read, ok := ctx.(tp.ReadCtx); ok && wantsSealedReply(read.Input().Meta()) {
		setSecure(out)
	}
	return wantsSeal(out)
}
