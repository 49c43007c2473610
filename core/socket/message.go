package socket

import (
	"context"
	"errors"
	"net/url"

	"github.com/teleport-go/teleport/core/xfer"
)

// Message types. A standalone Socket may use any other byte as well.
const (
	TypeUndefined byte = 0
	TypeCall      byte = 1 // a request that is answered by a REPLY of the same sequence number
	TypeReply     byte = 2
	TypePush      byte = 3 // a message that is not answered
	TypeAuthCall  byte = 4 // the first message of a connection that authenticates
	TypeAuthReply byte = 5
	TypeControl   byte = 6 // a message between the engines of both sides; its service method is a verb
	TypeData      byte = 7 // a message of a stream, whose number is that of the CALL that has opened it
)

// TypeText returns the name of a message type: CALL, REPLY, PUSH, AUTH_CALL,
// AUTH_REPLY, CONTROL, DATA, or Undefined.
func TypeText(mtype byte) string {
	switch mtype {
	case TypeCall:
		return "CALL"
	case TypeReply:
		return "REPLY"
	case TypePush:
		return "PUSH"
	case TypeAuthCall:
		return "AUTH_CALL"
	case TypeAuthReply:
		return "AUTH_REPLY"
	case TypeControl:
		return "CONTROL"
	case TypeData:
		return "DATA"
	}
	return "Undefined"
}

// Message is what travels: a header, a body, and the pipe of filters its frame
// goes through. [Envelope] is its one implementation. A Message is not safe for
// concurrent use.
type Message interface {
	Header
	Body

	// XferPipe is the pipe of filters of this message; never nil.
	XferPipe() *xfer.XferPipe
	// Size is the length of the frame in bytes; 0 until it was packed or unpacked.
	Size() uint32
	// SetSize is called by a Proto with the length of the frame: on reading
	// before it allocates memory, on writing before it returns the frame. Over the
	// limit it fails with an error matching [ErrSizeLimit].
	SetSize(size uint32) error
	// Limit is the largest size SetSize accepts.
	Limit() uint32
	// Context is the context of the exchange; never nil.
	Context() context.Context
	// Reset clears the message, then applies the settings in order.
	Reset(settings ...MessageSetting)
	// String is an indented JSON picture for people.
	String() string

	envelope() *Envelope
}

// Header is the part of a message that a protocol always understands.
type Header interface {
	// Seq is the sequence number; a REPLY carries that of its CALL.
	Seq() int32
	SetSeq(int32)
	// Mtype is one of the Type constants.
	Mtype() byte
	SetMtype(byte)
	// ServiceMethod is the text that names the handler, with its query if it
	// has one: "/math/add?author=x".
	ServiceMethod() string
	SetServiceMethod(string)
	// SetServiceMethodBytes is SetServiceMethod for a Proto: it copies b, or
	// takes a known name in its place without allocating.
	SetServiceMethodBytes(b []byte)
	// UriObject is the parsed service method; never nil. Changing it changes
	// ServiceMethod. What url.Parse refuses is a URL whose Path is the whole text.
	UriObject() *url.URL
	SetUriObject(*url.URL)
	// Meta is the metadata; never nil.
	Meta() *Meta
	// Rerror is the error a REPLY carries; nil means success.
	Rerror() *Rerror
	SetRerror(*Rerror)
}

// Body is the payload of a message and how it is encoded.
type Body interface {
	// BodyCodec is the codec's id; 0 means none.
	BodyCodec() byte
	SetBodyCodec(byte)
	// Body is the value to send, or the value that was decoded into.
	Body() any
	SetBody(any)
	// SetNewBody sets the function that makes the value to decode into, once
	// the header is known.
	SetNewBody(NewBodyFunc)
	// MarshalBody returns the encoded body: nothing for nil, the bytes
	// themselves for []byte and *[]byte, else what the codec makes of it.
	MarshalBody() ([]byte, error)
	// AppendBody is MarshalBody behind dst. On an error it returns dst as it was.
	AppendBody(dst []byte) ([]byte, error)
	// UnmarshalBody is how a Proto hands over the encoded body. If the message
	// has a value to decode into (SetBody, SetNewBody) it is decoded at once;
	// an empty body never is. Otherwise the message refers to b, which it borrows
	// until the next Unpack, for Bind and KeepBody.
	UnmarshalBody(b []byte) error
	// RawBody is the encoded body that UnmarshalBody was given. It is borrowed: valid
	// until the hook that calls RawBody returns.
	RawBody() []byte
	// KeepBody is RawBody without that bound: it copies the bytes unless they belong to
	// the message, and nothing writes to them afterwards.
	KeepBody() []byte
	// Bind decodes RawBody into v with the message's codec. A *[]byte gets its
	// own copy; an empty body leaves v as it is. It returns the codec's id.
	Bind(v any) (byte, error)
}

// NewBodyFunc makes the value a body is decoded into; nil means the body is dropped.
type NewBodyFunc func(Header) any

// ErrSizeLimit matches the errors of messages over their size limit.
var ErrSizeLimit = errors.New("message size over the limit")
