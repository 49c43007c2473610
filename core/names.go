package tp

import (
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

// The types of messages, so that most programs import only this package.
type (
	// Message is one message: header, body, filters. See package socket.
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
	// Swap is a small map for values of the user's, of a session or of one message.
	Swap = socket.Swap
	// Socket is a net.Conn that speaks a protocol, without a session.
	Socket = socket.Socket
	// Proto turns messages into frames and back.
	Proto = socket.Proto
	// ProtoFunc makes the Proto of a connection.
	ProtoFunc = socket.ProtoFunc
	// IOWithReadBuffer is the connection that a ProtoFunc gets.
	IOWithReadBuffer = socket.IOWithReadBuffer
	// Codec encodes and decodes bodies.
	Codec = codec.Codec
	// XferFilter transforms the bytes of a frame before writing and after reading.
	XferFilter = xfer.XferFilter
	// XferPipe is the list of a message's filters.
	XferPipe = xfer.XferPipe
	// PushPolicy says what happens to a PUSH for which there is no room.
	PushPolicy = socket.PushPolicy
	// Prepared is a body that is encoded already, to be sent many times.
	Prepared = socket.Prepared
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
	TypeControl   = socket.TypeControl
	TypeData      = socket.TypeData
)

// What happens to a PUSH for which there is no room.
const (
	PushWait       = socket.PushWait
	PushFail       = socket.PushFail
	PushDropNewest = socket.PushDropNewest
	PushDropOldest = socket.PushDropOldest
	PushLatest     = socket.PushLatest
	PushDisconnect = socket.PushDisconnect
)

// Codes of a Rerror. An application's own codes should be above 1000.
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
	CodeForbidden           = socket.CodeForbidden
	CodeNotFound            = socket.CodeNotFound
	CodeMtypeNotAllowed     = socket.CodeMtypeNotAllowed
	CodeHandleTimeout       = socket.CodeHandleTimeout
	CodeConflict            = socket.CodeConflict
	CodeTooManyRequests     = socket.CodeTooManyRequests
	CodeCanceled            = socket.CodeCanceled
	CodeInternalServerError = socket.CodeInternalServerError
	CodeNotImplemented      = socket.CodeNotImplemented
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
	ErrForbidden           = socket.ErrForbidden
	ErrNotFound            = socket.ErrNotFound
	ErrMtypeNotAllowed     = socket.ErrMtypeNotAllowed
	ErrHandleTimeout       = socket.ErrHandleTimeout
	ErrConflict            = socket.ErrConflict
	ErrTooManyRequests     = socket.ErrTooManyRequests
	ErrCanceled            = socket.ErrCanceled
	ErrInternalServerError = socket.ErrInternalServerError
	ErrNotImplemented      = socket.ErrNotImplemented
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
	MetaNotRun          = socket.MetaNotRun
	MetaBye             = socket.MetaBye
	MetaStream          = socket.MetaStream
)

// TypeText returns the name of a message type.
func TypeText(mtype byte) string { return socket.TypeText(mtype) }

// CodeText returns the usual text of a code.
func CodeText(code int32) string { return socket.CodeText(code) }

// NewRerror makes an error for the wire.
func NewRerror(code int32, message, reason string) *Rerror {
	return socket.NewRerror(code, message, reason)
}

// ToRerror turns a Go error into one for the wire. If err is, or wraps, the Err of a
// Rerror, it returns that Rerror; a context error becomes 408 or 499, any other error
// -1.
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
	WithPushPolicy      = socket.WithPushPolicy
	WithPushKey         = socket.WithPushKey
	WithAcceptBodyCodec = socket.WithAcceptBodyCodec
)
