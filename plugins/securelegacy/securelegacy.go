// Package securelegacy encrypts the bodies of messages as Teleport v5 and eRPC v7
// do: with AES-ECB. It exists to talk to such peers. New programs use package
// secure, or TLS.
//
// AES-ECB shows which blocks of a body are equal, and protects nothing against
// change: anybody on the line can alter, repeat and swap messages. Each message
// carries an MD5 of the key.
package securelegacy

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
)

const (
	// MetaSecure marks an encrypted message: "true". Set on a message to send it
	// asks for encryption; other values are removed.
	MetaSecure = "X-Secure"
	// MetaAcceptSecure says how a call wants its reply: "true" encrypted, "false"
	// plain; without it, as the call itself.
	MetaAcceptSecure = "X-Accept-Secure"
)

// Why a message was not decrypted; test with errors.Is.
var (
	ErrKey       = errors.New("the key is not known here")
	ErrAltered   = errors.New("wrong key, or the message was altered")
	ErrTruncated = errors.New("ciphertext is cut short")
	ErrPlain     = errors.New("message is plain, and plain ones are refused")
)

// WithSecureMeta encrypts the body of a message.
func WithSecureMeta() tp.MessageSetting { return tp.WithSetMeta(MetaSecure, "true") }

// WithAcceptSecureMeta says whether the reply of a call shall be encrypted.
func WithAcceptSecureMeta(accept bool) tp.MessageSetting {
	return tp.WithSetMeta(MetaAcceptSecure, strconv.FormatBool(accept))
}

// EnforceSecure encrypts the body of a message to be sent, such as a reply.
func EnforceSecure(output tp.Message) { setSecure(output.Meta()) }

// setSecure makes "true" the only value.
func setSecure(m *tp.Meta) {
	m.Del(MetaSecure)
	m.Set(MetaSecure, "true")
}

func isMarked(m *tp.Meta) bool { return string(m.Peek(MetaSecure)) == "true" }

// wantsEncryptedReply reports whether the reply to a request with this metadata is
// to be encrypted.
func wantsEncryptedReply(m *tp.Meta) bool {
	accept := string(m.Peek(MetaAcceptSecure))
	return accept == "true" || accept != "false" && isMarked(m)
}

// Option changes what New makes.
type Option func(*legacy)

// Enforce encrypts all calls, pushes and replies, whatever their metadata say, and
// refuses plain ones. Replies that carry an error are plain in any case, and
// accepted. Without it a message is encrypted if its metadata ask for that, and a
// peer without the plugin is served as long as nothing is encrypted.
func Enforce() Option { return func(l *legacy) { l.enforce = true } }

// Code sets the code of errors; the default is 400.
func Code(code int32) Option { return func(l *legacy) { l.code = code } }

// New returns the plugin. It fails if the key is not 16, 24 or 32 bytes.
func New(cipherkey string, opts ...Option) (tp.Plugin, error) {
	block, err := aes.NewCipher([]byte(cipherkey))
	if err != nil {
		return nil, fmt.Errorf("securelegacy: %w", err)
	}
	sum := md5.Sum([]byte(cipherkey))
	l := &legacy{code: tp.CodeBadMessage, block: block, version: hex.EncodeToString(sum[:])}
	for _, set := range opts {
		set(l)
	}
	return l, nil
}

// NewPlugin is New with the parameters it has in v5 and v7: the code of errors, and
// the key. It panics where New fails.
func NewPlugin(rerrCode int32, cipherkey string) tp.Plugin {
	p, err := New(cipherkey, Code(rerrCode))
	if err != nil {
		panic(err)
	}
	return p
}

// legacy is the plugin. It does not change once it is made.
type legacy struct {
	code    int32 // of errors
	enforce bool
	block   cipher.Block
	version string // names the key
}

var (
	_ tp.PreWriteCallPlugin     = (*legacy)(nil)
	_ tp.PreWritePushPlugin     = (*legacy)(nil)
	_ tp.PreWriteReplyPlugin    = (*legacy)(nil)
	_ tp.PreReadCallBodyPlugin  = (*legacy)(nil)
	_ tp.PreReadPushBodyPlugin  = (*legacy)(nil)
	_ tp.PreReadReplyBodyPlugin = (*legacy)(nil)
	_ tp.NonBlockingPlugin      = (*legacy)(nil)
)

// Name returns "secure(encrypt/decrypt)".
func (*legacy) Name() string { return "secure(encrypt/decrypt)" }

// NonBlocking promises that no hook blocks.
func (*legacy) NonBlocking() {}

// PreWriteCall encrypts a call.
func (l *legacy) PreWriteCall(ctx tp.WriteCtx) *tp.Rerror { return l.write(ctx.Output()) }

// PreWritePush encrypts a push.
func (l *legacy) PreWritePush(ctx tp.WriteCtx) *tp.Rerror { return l.write(ctx.Output()) }

// PreWriteReply encrypts the reply to a call that asks for it.
func (l *legacy) PreWriteReply(ctx tp.WriteCtx) *tp.Rerror {
	out := ctx.Output()
	if ctx.Rerror().HasError() {
		out.Meta().Del(MetaSecure)
		return nil
	}
	if read, ok := ctx.(tp.ReadCtx); ok && wantsEncryptedReply(read.Input().Meta()) {
		setSecure(out.Meta())
	}
	if !isMarked(out.Meta()) && !l.enforce {
		return nil
	}
	r := l.write(out)
	if r != nil { // it must not leave as it is
		out.Meta().Del(MetaSecure)
		out.SetRerror(r)
		out.SetBody(nil)
		out.SetBodyCodec(codec.NilCodecID)
	}
	return r
}

func (l *legacy) write(m tp.Message) *tp.Rerror {
	if !l.enforce && !isMarked(m.Meta()) {
		m.Meta().Del(MetaSecure)
		return nil
	}
	if m.Mtype() == tp.TypeCall && m.Meta().Has(tp.MetaStream) {
		return tp.NewRerror(tp.CodeNotImplemented, tp.CodeText(tp.CodeNotImplemented), "securelegacy: the messages of a stream are not encrypted")
	}
	body, err := m.MarshalBody()
	if err == nil {
		body, err = marshalEnvelope(m.BodyCodec(), envelope{CipherVersion: l.version, CipherText: l.encrypt(body)})
	}
	if err != nil {
		return tp.NewRerror(l.code, "marshal raw body error", err.Error()).WithCause(err)
	}
	setSecure(m.Meta())
	m.SetBody(body)
	return nil
}

// PreReadCallBody decrypts a call.
func (l *legacy) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror { return l.read(ctx.Input()) }

// PreReadPushBody decrypts a push.
func (l *legacy) PreReadPushBody(ctx tp.ReadCtx) *tp.Rerror { return l.read(ctx.Input()) }

// PreReadReplyBody decrypts a reply; one with an error is plain.
func (l *legacy) PreReadReplyBody(ctx tp.ReadCtx) *tp.Rerror {
	if ctx.Rerror().HasError() {
		return nil
	}
	return l.read(ctx.Input())
}

func (l *legacy) read(m tp.Message) *tp.Rerror {
	if !isMarked(m.Meta()) {
		if l.enforce {
			return l.refusal(fmt.Errorf("securelegacy: %w", ErrPlain))
		}
		return nil
	}
	e, err := unmarshalEnvelope(m.BodyCodec(), m.RawBody())
	if err != nil {
		return tp.NewRerror(l.code, "unmarshal raw body error", err.Error()).WithCause(err)
	}
	body, err := l.decrypt(e)
	if err != nil {
		return l.refusal(err)
	}
	if err := m.UnmarshalBody(body); err != nil {
		return tp.NewRerror(l.code, "unmarshal raw body error", err.Error()).WithCause(err)
	}
	return nil
}

// refusal is the error of a message that was not decrypted.
func (l *legacy) refusal(err error) *tp.Rerror {
	return tp.NewRerror(l.code, "decrypt ciphertext error", err.Error()).WithCause(err)
}

// encrypt pads as PKCS#7 says, encrypts each block by itself, and returns hex.
func (l *legacy) encrypt(plain []byte) string {
	n := aes.BlockSize - len(plain)%aes.BlockSize
	b := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(n)}, n)...)
	for i := 0; i < len(b); i += aes.BlockSize {
		l.block.Encrypt(b[i:], b[i:i+aes.BlockSize])
	}
	return hex.EncodeToString(b)
}

func (l *legacy) decrypt(e envelope) ([]byte, error) {
	if e.CipherVersion != l.version {
		got := e.CipherVersion
		if len(got) > 64 {
			got = got[:64] + "…"
		}
		return nil, fmt.Errorf("inconsistent encryption version, get:%q, want:%q: %w", got, l.version, ErrKey)
	}
	b, err := hex.DecodeString(e.CipherText)
	if err != nil {
		return nil, fmt.Errorf("securelegacy: ciphertext: %w", err)
	}
	if len(b) == 0 || len(b)%aes.BlockSize != 0 {
		return nil, fmt.Errorf("securelegacy: ciphertext of %d bytes: %w", len(b), ErrTruncated)
	}
	for i := 0; i < len(b); i += aes.BlockSize {
		l.block.Decrypt(b[i:], b[i:i+aes.BlockSize])
	}
	n := int(b[len(b)-1])
	if n == 0 || n > aes.BlockSize {
		return nil, fmt.Errorf("securelegacy: padding: %w", ErrAltered)
	}
	text := len(b) - n
	if !bytes.Equal(b[text:], bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, fmt.Errorf("securelegacy: padding: %w", ErrAltered)
	}
	return b[:text:text], nil
}
