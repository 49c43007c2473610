package jsonproto

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// This file holds the document for scripts that people write by hand.

// NewScriptProtoFunc returns the protocol of the documents for scripts, in which the body
// is JSON itself and what is not needed may be left out:
//
//	{"seq":7,"mtype":1,"serviceMethod":"/math/add","body":[1,2,3]}
//	{"seq":7,"mtype":2,"body":6}
//	{"seq":7,"mtype":2,"error":{"code":404,"message":"Not Found","reason":"no user 7"}}
//	{"mtype":3,"serviceMethod":"/chat/say","meta":{"room":"go"},"body":"hello"}
//
// mtype is always written, and may be missing in what arrives: without serviceMethod it is
// a REPLY, with seq a CALL, else a PUSH. An error without a code has -1. meta is an object
// of strings, or of lists of strings, at most 1000; where that does not say all, it is
// written as a query string, which is read as well. With bodyCodec, the body is that codec's bytes as a string,
// or as bodyBase64 if they are not UTF-8; xferPipe lists the filters that they went through.
//
// The documents are UTF-8 text, and have no frame: see [NewUnframedProtoFunc].
func NewScriptProtoFunc() socket.ProtoFunc {
	return func(rw io.ReadWriter) socket.Proto {
		p := new(script)
		p.init(rw)
		return p
	}
}

type script struct{ documents }

var _ socket.FrameAppender = (*script)(nil)

// Text reports that the documents are UTF-8.
func (p *script) Text() bool { return true }

// Pack writes the document of m with one Write.
func (p *script) Pack(m socket.Message) error { return p.out.Pack(p, m) }

// AppendFrame appends the document of m to dst. It may be called concurrently.
func (p *script) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	out := append(dst, '{')
	if seq := m.Seq(); seq != 0 || m.Mtype() == socket.TypeCall {
		out = append(strconv.AppendInt(append(out, `"seq":`...), int64(seq), 10), ',')
	}
	out = append(out, `"mtype":`...)
	out = strconv.AppendUint(out, uint64(m.Mtype()), 10)
	if method := m.ServiceMethod(); method != "" {
		out = append(out, `,"serviceMethod":"`...)
		out = append(appendEscaped(out, method), '"')
	}
	if m.Meta().Len() > 0 {
		out = appendMetaObject(append(out, `,"meta":`...), m.Meta())
	}
	if framing.IsReply(m.Mtype()) && m.Rerror().HasError() {
		out = m.Rerror().AppendJSON(append(out, `,"error":`...))
	}
	out, err := p.appendBody(out, m)
	if err != nil {
		return dst, err
	}
	out = append(out, '}')
	if err := p.setSize(m, len(out)-len(dst)); err != nil {
		return dst, err
	}
	return out, nil
}

// maxObject is the largest number of pairs of metadata that are written as an object.
const maxObject = 32

// appendMetaObject appends metadata as an object, or as a query string if an object cannot
// say it: it is not UTF-8, or a key comes twice.
func appendMetaObject(dst []byte, meta *socket.Meta) []byte {
	out, ok := append(dst, '{'), meta.Len() <= maxObject
	var seen [maxObject][]byte
	n := 0
	for k, v := range meta.All() {
		if ok = ok && utf8.Valid(k) && utf8.Valid(v); !ok {
			break
		}
		for _, before := range seen[:n] {
			ok = ok && !bytes.Equal(k, before)
		}
		if n > 0 {
			out = append(out, ',')
		}
		seen[n] = k
		n++
		out = appendEscapedBytes(append(out, '"'), k)
		out = appendEscapedBytes(append(out, `":"`...), v)
		out = append(out, '"')
	}
	if ok {
		return append(out, '}')
	}
	return append(meta.AppendBytes(append(dst, '"')), '"') // in which nothing has to be escaped
}

func appendEscapedBytes(dst, b []byte) []byte {
	at := len(dst)
	if dst = append(dst, b...); clean(b) {
		return dst
	}
	return appendEscaped(dst[:at], string(b))
}

// appendBody appends the body and what says how to read it.
func (p *script) appendBody(dst []byte, m socket.Message) ([]byte, error) {
	plain := m.BodyCodec() == codec.JSON && m.XferPipe().Len() == 0
	if plain && isJSON(m.Body()) {
		const key = `,"body":`
		out, err := m.AppendBody(append(dst, key...))
		if len(out) > len(dst)+len(key) || err != nil {
			return out, err
		}
	}
	start := len(dst)
	if m.XferPipe().Len() > 0 {
		dst = appendPipe(append(dst, ','), m)
	}
	if m.BodyCodec() != codec.NilCodecID {
		dst = append(dst, `,"bodyCodec":`...)
		dst = strconv.AppendUint(dst, uint64(m.BodyCodec()), 10)
	}
	key := len(dst)
	dst = append(dst, `,"body":"`...)
	at := len(dst)
	dst, err := p.out.Filter(dst, m, m.AppendBody)
	switch {
	case err != nil:
		return dst, err
	case len(dst) == at:
		return dst[:key], nil
	case m.BodyCodec() == codec.NilCodecID && key == start:
		// Without bodyCodec a body would be JSON.
		body := bytes.Clone(dst[at:])
		dst = append(append(dst[:key], `,"bodyCodec":0,"body":"`...), body...)
		at += len(`"bodyCodec":0,`)
		key += len(`,"bodyCodec":0`)
	}
	if utf8.Valid(dst[at:]) {
		return escapeTail(dst, at), nil
	}
	body := bytes.Clone(dst[at:])
	dst = base64.StdEncoding.AppendEncode(append(dst[:key], `,"bodyBase64":"`...), body)
	return append(dst, '"'), nil
}

// isJSON reports whether the body, of the JSON codec, is JSON once it is encoded, without
// space around it, which would be lost: bytes are sent as they are, and both sides of a
// stream count them.
func isJSON(body any) bool {
	switch b := body.(type) {
	case []byte:
		return isValue(b)
	case *[]byte:
		return b != nil && isValue(*b)
	}
	return body != nil
}

func isValue(b []byte) bool {
	return json.Valid(b) && utf8.Valid(b) && b[0] > ' ' && b[len(b)-1] > ' '
}

// Unpack reads one document. The body it hands over is valid until the next call, if the
// message does not own it.
func (p *script) Unpack(m socket.Message) error {
	b, err := p.next(m)
	if err != nil {
		return err
	}
	if len(b) > framing.OwnFrom && bytes.Contains(b, []byte(scriptKeys[scriptBase64])) {
		if err := keepTwice(p.keeper, b); err != nil { // it is decoded beside the document
			return err
		}
	}
	d := scriptDocument{document: p.begin()}
	err = d.parse(b)
	p.end(&d.document)
	if err != nil {
		return err
	}
	if err := p.fill(m, &d.document); err != nil {
		return err
	}
	d.fillMeta(m.Meta())
	if framing.IsReply(d.Mtype) {
		m.SetRerror(d.rerr)
	}
	return nil
}

// scriptDocument is a document for scripts, taken apart.
type scriptDocument struct {
	document
	has    [scriptUnknown]bool // the keys that are there and not null
	pairs  [][2][]byte         // of metadata that are an object
	body   []byte              // as it stands in the document
	base64 []byte
	rerr   *socket.Rerror
}

// Keys of the document.
const (
	scriptSeq = iota
	scriptMtype
	scriptMethod
	scriptMeta
	scriptCodec
	scriptBody
	scriptBase64
	scriptError
	scriptPipe
	scriptUnknown
)

var scriptKeys = [...]string{"seq", "mtype", "serviceMethod", "meta", "bodyCodec", "body", "bodyBase64", "error", "xferPipe"}

func (d *scriptDocument) parse(b []byte) error {
	s := scanner{b: b}
	err := s.object(&d.document, func(name []byte) error {
		for i, key := range scriptKeys {
			if string(name) == key && !d.has[i] {
				return d.value(&s, i)
			}
		}
		return s.skip()
	})
	if err != nil {
		return err
	}
	if err := s.end(); err != nil {
		return err
	}
	d.HasStatus = true // X-Reply-Error is metadata like any other
	switch {
	case d.has[scriptMtype]:
	case d.has[scriptError], !d.has[scriptMethod]:
		d.Mtype = socket.TypeReply
	case d.has[scriptSeq]:
		d.Mtype = socket.TypeCall
	default:
		d.Mtype = socket.TypePush
	}
	return d.takeBody()
}

// value reads the value of a key that has not come yet.
func (d *scriptDocument) value(s *scanner, key int) error {
	c, field := s.next(), scriptKeys[key]
	if c == 'n' && key != scriptBody {
		return s.word("null")
	}
	d.has[key] = true
	switch key {
	case scriptSeq, scriptMtype, scriptCodec:
		if c != '-' && (c < '0' || c > '9') {
			return bad(field, "is no number")
		}
		least, most := int64(0), int64(math.MaxUint8)
		if key == scriptSeq {
			least, most = math.MinInt32, math.MaxInt32
		}
		v, err := whole(field, s.token(), least, most)
		switch key {
		case scriptSeq:
			d.Seq = int32(v)
		case scriptMtype:
			d.Mtype = byte(v)
		default:
			d.Codec = byte(v)
		}
		return err
	case scriptBody:
		var err error
		d.body, err = s.span()
		return err
	case scriptPipe:
		return d.parsePipe(s)
	case scriptMeta:
		if c == '{' {
			return d.metaObject(s)
		}
	case scriptError:
		b, err := s.span()
		if err != nil {
			return err
		}
		d.rerr = new(socket.Rerror)
		if err := json.Unmarshal(b, d.rerr); err != nil {
			return framing.Errors(Name).Bad(field, "", err)
		}
		if !d.rerr.HasError() {
			d.rerr.Code = socket.CodeUnknownError // it has none, and is one nevertheless
		}
		return nil
	}
	if c != '"' {
		return bad(field, "is no string")
	}
	text, err := d.string(s, field)
	switch key {
	case scriptMethod:
		d.ServiceMethod = text
	case scriptMeta:
		d.Meta = text
	default:
		d.base64 = text
	}
	return err
}

// string reads a string.
func (d *document) string(s *scanner, field string) ([]byte, error) {
	text, escaped, err := s.text()
	if err == nil && escaped {
		var ok bool
		if text, ok = d.unescape(text, loose); !ok {
			err = bad(field, "has an escape that is none")
		}
	}
	return text, err
}

// maxPairs is the largest number of pairs of metadata in an object that is read. A pair has
// 3 bytes in a list and takes 48 of memory, which is not counted.
const maxPairs = 1000

// metaObject reads metadata that are an object of strings, numbers, booleans, and lists of
// these.
func (d *scriptDocument) metaObject(s *scanner) error {
	scalar := func(key []byte) error {
		if len(d.pairs) == maxPairs {
			return bad(scriptKeys[scriptMeta], fmt.Sprintf("has more than %d values; a query string may have more", maxPairs))
		}
		switch c := s.next(); {
		case c == '"':
			value, err := d.string(s, "meta")
			d.pairs = append(d.pairs, [2][]byte{key, value})
			return err
		case c == 'n':
			return s.word("null")
		default:
			value := s.token()
			if len(value) == 0 {
				return s.unexpected("want a string for a key of meta")
			}
			d.pairs = append(d.pairs, [2][]byte{key, value})
			return nil
		}
	}
	return s.object(&d.document, func(key []byte) error {
		if s.next() != '[' {
			return scalar(key)
		}
		s.i++
		for first := true; s.next() != ']'; first = false {
			if !first {
				if s.next() != ',' {
					return s.unexpected("want , or ]")
				}
				s.i++
			}
			if err := scalar(key); err != nil {
				return err
			}
		}
		s.i++
		return nil
	})
}

// fillMeta adds the pairs of metadata that are an object.
func (d *scriptDocument) fillMeta(meta *socket.Meta) {
	for _, pair := range d.pairs {
		meta.AddBytesKV(pair[0], pair[1])
	}
}

// takeBody finds out what the body is, once all keys are known.
func (d *scriptDocument) takeBody() error {
	switch {
	case d.has[scriptBase64]:
		n := len(d.text)
		text, err := base64.StdEncoding.AppendDecode(d.text, d.base64)
		if err != nil {
			return framing.Errors(Name).Bad(scriptKeys[scriptBase64], "", err)
		}
		d.text = text
		d.Body, d.unescaped = text[n:], true
	case !d.has[scriptBody]:
	case !d.has[scriptCodec] && len(d.pipe) == 0:
		d.Body, d.Codec = d.body, codec.JSON
	case d.body[0] == '"':
		s := scanner{b: d.body}
		n := len(d.text)
		body, err := d.string(&s, scriptKeys[scriptBody])
		if err != nil {
			return err
		}
		d.Body, d.unescaped = body, len(d.text) > n
	case d.Codec == codec.JSON && len(d.pipe) == 0:
		d.Body = d.body
	default:
		return bad(scriptKeys[scriptBody], fmt.Sprintf("is no string, and bodyCodec is %d", d.Codec))
	}
	return nil
}

// object reads an object. value reads the value of each key, which is valid until the next
// call of unescape.
func (s *scanner) object(d *document, value func(key []byte) error) error {
	if s.next() != '{' {
		return s.unexpected("want {")
	}
	s.i++
	for first := true; ; first = false {
		switch c := s.next(); {
		case c == '}':
			s.i++
			return nil
		case first:
		case c != ',':
			return s.unexpected("want , or }")
		default:
			s.i++
		}
		key, err := d.string(s, "a key")
		if err != nil {
			return err
		}
		if s.next() != ':' {
			return s.unexpected("want :")
		}
		s.i++
		if err := value(key); err != nil {
			return err
		}
	}
}

// span skips a value and returns it. Of an object or a list it looks for the end only: the
// codec checks what is in it.
func (s *scanner) span() ([]byte, error) {
	c, start := s.next(), s.i
	switch c {
	case '"':
		_, _, err := s.text()
		return s.b[start:s.i], err
	case '{', '[':
	default:
		if token := s.token(); len(token) > 0 {
			return token, nil
		}
		return nil, s.unexpected("want a value")
	}
	for depth := 0; s.i < len(s.b); {
		switch s.b[s.i] {
		case '"':
			if _, _, err := s.text(); err != nil {
				return nil, err
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				s.i++
				return s.b[start:s.i], nil
			}
		}
		s.i++
	}
	return nil, s.unexpected("want the end of a value")
}
