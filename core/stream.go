package tp

import (
	"context"
	"fmt"
	"io"
	"iter"
	"reflect"
)

var _ StreamCtx = (*handlerCtx)(nil)

// Stream is one end of a stream: messages of the type In are received, messages of the type
// Out are sent, each in order. On the side of the opener it is made by OpenStream, on that
// of a handler it is an argument, and ends when the handler returns.
//
// The sender waits as long as the other side has [PeerConfig].StreamWindow bytes that its
// program has not received yet; so a side that does not receive holds up the other, and
// nobody else. All methods may be called concurrently; then the messages of several Sends
// go in any order, and each message is received by one Recv.
type Stream[In, Out any] struct{ st *stream }

// StreamCtx is the context of the handler of a stream, valid until it returns.
type StreamCtx interface {
	CallCtx
	// InputBodyBytes returns the encoded body of the CALL that has opened the stream,
	// which belongs to the handler for ever. OpenStream sends one if WithBody is among its
	// settings.
	InputBodyBytes() []byte
	// Bind decodes that body into v, and returns the id of its codec.
	Bind(v any) (codecID byte, err error)
}

// HandleStream registers a typed function as the handler of a stream. It returns the service
// method, as HandleCall does.
//
// The stream is open until f returns, which is its end on both sides: an error of f, or a
// panic, is that of the opener's Recv, as with HandleCall. f runs on a goroutine of its own,
// and counts as a handler for MaxHandlers and Drain. Its context, ctx.Context(), ends when
// the opener gives up, with the opener's deadline, and with the session; DefaultContextAge
// does not apply.
func HandleStream[In, Out any](r Router, method string, f func(ctx StreamCtx, s *Stream[In, Out]) error, plugin ...Plugin) string {
	if f == nil {
		panic(fmt.Sprintf("tp: HandleStream %q: the function is nil", method))
	}
	h := streamHandler(f)
	h.argElem, h.replyType = reflect.TypeFor[In](), reflect.TypeFor[Out]()
	return r.routeGroup().handle(method, h, plugin)
}

func streamHandler[In, Out any](f func(ctx StreamCtx, s *Stream[In, Out]) error) *Handler {
	h := &Handler{
		stream: true,
		invoke: func(c *handlerCtx, _ any) (any, *Rerror) {
			st := c.stream
			st.begin(c)
			if err := f(c, &Stream[In, Out]{st}); err != nil {
				return nil, ToRerror(err)
			}
			return nil, nil
		},
	}
	h.noteReply(0) // all of them are small
	return h
}

// SetUnknownStream sets the handler of all streams whose route the peer does not have, such
// as that of a proxy, which passes the messages on with [CopyStream]. A peer has one,
// whichever group sets it; a later one replaces it. What HandleStream says of f holds here,
// too; ctx.ServiceMethod() is the route that was asked for. Without such a handler these
// streams are answered 404, or 501 if the peer has a handler of unknown CALLs.
func SetUnknownStream(r Router, f func(ctx StreamCtx, s *Stream[[]byte, []byte]) error, plugin ...Plugin) {
	if f == nil {
		panic("tp: SetUnknownStream: the function is nil")
	}
	h := streamHandler(f)
	h.unknown = true
	r.routeGroup().setUnknown(h, plugin)
}

// OpenStream opens a stream to a route of HandleStream of the other side of the session: this
// side sends messages of the type Out and receives messages of the type In. Either side of a
// session may open streams.
//
// A stream is a call that stays open: the hooks of a CALL run, the settings are those of
// Call, and the stream ends at the latest with ctx, whose deadline travels, or with the
// session; DefaultCallTimeout does not apply. WithBody is for what the handler binds. The
// codec and the filters of the CALL are those of the messages.
//
// OpenStream does not wait for the handler: that there is none (404), for example, is an
// error of the first Recv. On a connection on which the sides have not said yet what they
// understand it waits for the other side's hello, at most HandshakeTimeout. Errors: those of
// Call; 501 if the peer has no streams, or if it is not known yet what the peer understands,
// as it is not before its first message on an accepted connection, and on a dialled one with
// several Protocols; 102 and ErrNotRun if the session redials while the stream is opened.
//
// Use up the stream: call Recv until it returns an error, or Close, or end ctx.
func OpenStream[Out, In any](ctx context.Context, sess CtxSession, method string, setting ...MessageSetting) (*Stream[In, Out], error) {
	s, ok := sess.(*session)
	if !ok {
		return nil, NewRerror(CodeNotImplemented, CodeText(CodeNotImplemented), fmt.Sprintf("a %T opens no streams: it is no session of the engine", sess)).Err()
	}
	st, r := s.openStream(ctx, method, setting)
	if r != nil {
		return nil, r.Err()
	}
	return &Stream[In, Out]{st}, nil
}

// Send sends a message. It waits for the receiver, as Stream says, and for room in the
// outgoing batch of the session, as Push does. nil means that the message will be sent, in
// order; not that the other side has received it, see Acked. Send does not keep v. An error
// of encoding (104) or of a hook is that message's; any other is the end of the stream:
// the error that Recv returns too, or ErrStreamEnded.
func (s *Stream[In, Out]) Send(v Out) error { return s.st.send(v) }

// Recv waits for the next message, which belongs to the caller. After the last one it
// returns io.EOF, if the other side has called CloseSend or its handler has returned without
// an error; else why the stream has ended: the error of the handler, 102 for the session's
// end, 408 or 499 for the end of the context. The messages that came before the end of the
// handler or the session are received first. A message that cannot be decoded is an error 400
// of this Recv; the stream goes on.
func (s *Stream[In, Out]) Recv() (*In, error) {
	v := new(In)
	if err := s.st.recv(v, false, nil); err != nil {
		return nil, err
	}
	return v, nil
}

// RecvInto is Recv with a message of the caller's: result is a pointer to an In, or a
// *Reused[In], and serves many messages, as with InvokeInto.
func (s *Stream[In, Out]) RecvInto(result any) error {
	var memory *[]byte
	if r, ok := result.(interface{ reused() (any, *[]byte) }); ok {
		result, memory = r.reused()
	}
	return s.st.recv(result, true, memory)
}

// All returns an iterator over the messages that Recv returns. It ends with io.EOF, which it
// does not yield, or after any other error.
func (s *Stream[In, Out]) All() iter.Seq2[*In, error] {
	return func(yield func(*In, error) bool) {
		for {
			v, err := s.Recv()
			if err == io.EOF || !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// CloseSend says that this side sends no more: the other side's Recv returns io.EOF behind
// the messages sent. Later Sends fail. Again, or after the end of the stream, it does
// nothing.
func (s *Stream[In, Out]) CloseSend() error { return s.st.closeSend(nil) }

// Close ends the stream on this side at once: Send and Recv fail, and messages that have
// come are dropped. The context of the other side's handler ends with ErrCallerGone, if it
// still runs. On the handler's side the stream's end is when the handler returns. Close
// returns nil.
func (s *Stream[In, Out]) Close() error {
	s.st.close()
	return nil
}

// Acked returns how many of the messages sent the other side's program has certainly
// received. It grows in steps of half a window, and says after the end of the session what
// need not be sent again.
func (s *Stream[In, Out]) Acked() int { return s.st.ackedMessages() }

// Wait waits for the end of the stream's handler, and returns its error, nil if there is
// none. Messages that were not received hold up the handler as before. On the side of a
// handler Wait waits for the end of its context, and returns that as an error.
func (s *Stream[In, Out]) Wait() error { return s.st.wait() }

// Call returns the call that has opened the stream, for the metadata of its REPLY for
// example; nil on the handler's side.
func (s *Stream[In, Out]) Call() CallCmd {
	if s.st.cmd == nil {
		return nil
	}
	return s.st.cmd
}
