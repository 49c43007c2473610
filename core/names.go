package tp

import (
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

// The words of the wire, so that most programs need this package alone.
type (
	// Message is what travels: header, body, pipe. See package socket.
	Message = socket.Message
	// Header is the part of a message that every protocol understands.
	Header = socket.Header
	// Body is the payload of a message and how it is encoded.
	Body = socket.Body
	// NewBodyFunc makes the value a body is decoded into.
	NewBodyFunc = socket.NewBodyFunc
	// MessageSetting changes a message before it is sent.
	MessageSetting = socket.MessageSetting
	// Meta is the metadata of a message.
	Meta = socket.Meta
	// Swap is a small map of the user's at a session or an exchange.
	Swap = socket.Swap
	// Socket is a net.Conn that speaks a protocol, without a session.
	Socket = socket.Socket
	// Proto turns messages into frames and back.
	Proto = socket.Proto
	// ProtoFunc makes the Proto of a connection.
	ProtoFunc = socket.ProtoFunc
	// IOWithReadBuffer is what a ProtoFunc is given.
	IOWithReadBuffer = socket.IOWithReadBuffer
	// Codec encodes and decodes bodies.
	Codec = codec.Codec
	// XferFilter changes the bytes of a frame on their way.
	XferFilter = xfer.XferFilter
	// XferPipe is a row of filters.
	XferPipe = xfer.XferPipe
	// Rerror is an error that crosses the wire: code, message, reason.
	Rerror = socket.Rerror
)

// Message types.
const (
	TypeUndefined = socket.TypeUndefined
	TypeCall      = socket.TypeCall
	TypeReply     = socket.TypeReply
	TypePush      = socket.TypePush
	TypeAuthCall  = socket.TypeAuthCall
	TypeAuthReply = socket.TypeAuthReply
)

// Codes of a Rerror. Those of your own should be above 1000.
const (
	CodeUnknownError        = socket.CodeUnknownError
	CodeNoError             = socket.CodeNoError
	CodeOK                  = socket.CodeOK
	CodeInvalidOp           = socket.CodeInvalidOp
	CodeWrongConn           = socket.CodeWrongConn
	CodeConnClosed          = socket.CodeConnClosed
	CodeWriteFailed         = socket.CodeWriteFailed
	CodeDialFailed          = socket.CodeDialFailed
	CodeBadMessage          = socket.CodeBadMessage
	CodeUnauthorized        = socket.CodeUnauthorized
	CodeNotFound            = socket.CodeNotFound
	CodeMtypeNotAllowed     = socket.CodeMtypeNotAllowed
	CodeHandleTimeout       = socket.CodeHandleTimeout
	CodeTooManyRequests     = socket.CodeTooManyRequests
	CodeCanceled            = socket.CodeCanceled
	CodeInternalServerError = socket.CodeInternalServerError
	CodeBadGateway          = socket.CodeBadGateway
	CodeBusy                = socket.CodeBusy
	CodeLoopDetected        = socket.CodeLoopDetected
)

// Sentinels for errors.Is; they match by code.
var (
	ErrInvalidOp           = socket.ErrInvalidOp
	ErrConnClosed          = socket.ErrConnClosed
	ErrWriteFailed         = socket.ErrWriteFailed
	ErrDialFailed          = socket.ErrDialFailed
	ErrBadMessage          = socket.ErrBadMessage
	ErrUnauthorized        = socket.ErrUnauthorized
	ErrNotFound            = socket.ErrNotFound
	ErrMtypeNotAllowed     = socket.ErrMtypeNotAllowed
	ErrHandleTimeout       = socket.ErrHandleTimeout
	ErrTooManyRequests     = socket.ErrTooManyRequests
	ErrCanceled            = socket.ErrCanceled
	ErrInternalServerError = socket.ErrInternalServerError
	ErrBadGateway          = socket.ErrBadGateway
	ErrBusy                = socket.ErrBusy
	ErrLoopDetected        = socket.ErrLoopDetected
)

// Metadata keys the framework reads and writes.
const (
	MetaRealIP          = socket.MetaRealIP
	MetaAcceptBodyCodec = socket.MetaAcceptBodyCodec
	MetaTimeout         = socket.MetaTimeout
	MetaHops            = socket.MetaHops
)

// TypeText returns the name of a message type.
func TypeText(mtype byte) string { return socket.TypeText(mtype) }

// CodeText returns the usual text of a code.
func CodeText(code int32) string { return socket.CodeText(code) }

// NewRerror makes an error for the wire.
func NewRerror(code int32, message, reason string) *Rerror {
	return socket.NewRerror(code, message, reason)
}

// ToRerror makes an error of Go one for the wire: it gets back a Rerror whose Err
// it is or wraps, makes 408 and 499 of context errors, and -1 of all else.
func ToRerror(err error) *Rerror { return socket.ToRerror(err) }

// Code returns the code of an error: 0 for nil, -1 for one without a code.
func Code(err error) int32 { return socket.Code(err) }

// IsConnRerror reports whether the error is about the connection: 102 or 105.
func IsConnRerror(r *Rerror) bool { return socket.IsConnRerror(r) }

// AnyProto speaks whichever of the named protocols the peer speaks; until the peer
// has spoken, the first.
func AnyProto(names ...string) ProtoFunc { return socket.AnyProto(names...) }

// GetMessage returns a message from the pool; PutMessage takes it back.
func GetMessage(settings ...MessageSetting) Message { return socket.GetMessage(settings...) }

// PutMessage gives a message back to the pool.
func PutMessage(m Message) { socket.PutMessage(m) }

// GetAcceptBodyCodec returns the codec that the sender asks the reply to be in.
func GetAcceptBodyCodec(meta *Meta) (byte, bool) { return socket.GetAcceptBodyCodec(meta) }

// Message settings; see package socket for each.
var (
	WithNothing         = socket.WithNothing
	WithContext         = socket.WithContext
	WithMtype           = socket.WithMtype
	WithServiceMethod   = socket.WithServiceMethod
	WithUriObject       = socket.WithUriObject
	WithQuery           = socket.WithQuery
	WithAddMeta         = socket.WithAddMeta
	WithSetMeta         = socket.WithSetMeta
	WithDelMeta         = socket.WithDelMeta
	WithBodyCodec       = socket.WithBodyCodec
	WithBody            = socket.WithBody
	WithNewBody         = socket.WithNewBody
	WithXferPipe        = socket.WithXferPipe
	WithRerror          = socket.WithRerror
	WithRealIP          = socket.WithRealIP
	WithAcceptBodyCodec = socket.WithAcceptBodyCodec
)
