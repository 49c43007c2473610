package secure

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
)

// Legacy returns the plugin that speaks the older wire: AES-ECB. It shows which
// blocks are alike, lets anybody alter, repeat and swap them, and sends an MD5 of
// the key with each message: take it for peers that know nothing else, and for
// no secret. The side without the plugin gets on with it as long as nothing is
// sealed. It fails if the key is not 16, 24 or 32 bytes.
func Legacy(cipherkey string, opts ...Option) (tp.Plugin, error) {
	block, err := aes.NewCipher([]byte(cipherkey))
	if err != nil {
		return nil, fmt.Errorf("secure: %w", err)
	}
	sum := md5.Sum([]byte(cipherkey))
	return &legacy{newConfig(opts), block, hex.EncodeToString(sum[:])}, nil
}

type legacy struct {
	conf    *config
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
)

// envelope is the body of a sealed message, encoded with the message's codec. Its
// names are small in JSON alone, where the older ages have a tag for them.
type envelope struct {
	XMLName       struct{} `json:"-" xml:"Encrypt" form:"-"` // the element's name
	CipherVersion string   `json:"cipherversion" xml:"Cipherversion" form:"Cipherversion"`
	CipherText    string   `json:"ciphertext" xml:"Ciphertext" form:"Ciphertext"`
}

func (*legacy) Name() string { return "secure(encrypt/decrypt)" }

func (l *legacy) PreWriteCall(ctx tp.WriteCtx) *tp.Rerror { return l.write(ctx.Output()) }
func (l *legacy) PreWritePush(ctx tp.WriteCtx) *tp.Rerror { return l.write(ctx.Output()) }

func (l *legacy) PreWriteReply(ctx tp.WriteCtx) *tp.Rerror {
	if !markReply(ctx) && (!l.conf.enforce || ctx.Rerror().HasError()) {
		return nil
	}
	out := ctx.Output()
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
	if !l.conf.enforce && !wantsSeal(m.Meta()) {
		m.Meta().Del(MetaSecure)
		return nil
	}
	body, err := m.MarshalBody()
	if err == nil {
		body, err = marshalEnvelope(m.BodyCodec(), envelope{CipherVersion: l.version, CipherText: l.encrypt(body)})
	}
	if err != nil {
		return tp.NewRerror(l.conf.code, "marshal raw body error", err.Error()).WithCause(err)
	}
	setSecure(m.Meta())
	m.SetBody(body)
	return nil
}

func (l *legacy) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror  { return l.read(ctx.Input()) }
func (l *legacy) PreReadPushBody(ctx tp.ReadCtx) *tp.Rerror  { return l.read(ctx.Input()) }
func (l *legacy) PreReadReplyBody(ctx tp.ReadCtx) *tp.Rerror { return l.read(ctx.Input()) }

func (l *legacy) read(m tp.Message) *tp.Rerror {
	if !wantsSeal(m.Meta()) {
		if l.conf.enforce {
			return l.conf.refusal(fmt.Errorf("secure: %w", ErrPlain))
		}
		return nil
	}
	e, err := unmarshalEnvelope(m.BodyCodec(), m.RawBody())
	if err != nil {
		return tp.NewRerror(l.conf.code, "unmarshal raw body error", err.Error()).WithCause(err)
	}
	body, err := l.decrypt(e)
	if err != nil {
		return l.conf.refusal(err)
	}
	if err := m.UnmarshalBody(body); err != nil {
		return tp.NewRerror(l.conf.code, "unmarshal raw body error", err.Error()).WithCause(err)
	}
	return nil
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
		return nil, fmt.Errorf("secure: ciphertext: %w", err)
	}
	if len(b) == 0 || len(b)%aes.BlockSize != 0 {
		return nil, fmt.Errorf("secure: ciphertext of %d bytes: %w", len(b), ErrTruncated)
	}
	for i := 0; i < len(b); i += aes.BlockSize {
		l.block.Decrypt(b[i:], b[i:i+aes.BlockSize])
	}
	n := int(b[len(b)-1])
	if n == 0 || n > aes.BlockSize {
		return nil, fmt.Errorf("secure: padding: %w", ErrAltered)
	}
	text := len(b) - n
	if !bytes.Equal(b[text:], bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, fmt.Errorf("secure: padding: %w", ErrAltered)
	}
	return b[:text:text], nil
}

// marshalEnvelope encodes it with the codec of that id. The protobuf codec takes
// generated types alone; its form is simple enough to be written here.
func marshalEnvelope(id byte, e envelope) ([]byte, error) {
	if id != codec.Protobuf {
		return codec.Marshal(id, &e)
	}
	b := append([]byte(nil), 1<<3|2)
	b = binary.AppendUvarint(b, uint64(len(e.CipherVersion)))
	b = append(b, e.CipherVersion...)
	b = append(b, 2<<3|2)
	b = binary.AppendUvarint(b, uint64(len(e.CipherText)))
	return append(b, e.CipherText...), nil
}

func unmarshalEnvelope(id byte, b []byte) (e envelope, err error) {
	if id != codec.Protobuf {
		return e, codec.Unmarshal(id, b, &e)
	}
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		size, m := uint64(0), 0
		if n > 0 && tag&7 == 2 {
			size, m = binary.Uvarint(b[n:])
		}
		if m <= 0 || size > uint64(len(b)-n-m) {
			return envelope{}, errProtobuf
		}
		text := string(b[n+m : n+m+int(size)])
		b = b[n+m+int(size):]
		switch tag >> 3 {
		case 1:
			e.CipherVersion = text
		case 2:
			e.CipherText = text
		}
	}
	return e, nil
}

var errProtobuf = errors.New("secure: not the protobuf message of two strings")
