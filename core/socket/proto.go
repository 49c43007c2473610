package socket

import (
	"errors"
	"io"

	"github.com/teleport-go/teleport/core/internal/registry"
)

// Proto turns messages into frames and back, for one connection.
type Proto interface {
	// Version returns the protocol's id and name.
	Version() (byte, string)
	// Pack writes the frame of the message, with one Write. It calls
	// m.SetSize with the frame's length first, and leaves no byte behind when
	// it fails. A connection runs one Pack at a time; it may run beside Unpack.
	Pack(m Message) error
	// Unpack reads one frame into the message, and no byte behind it: a frame
	// that a bufio.Reader of the protocol's own holds back is not seen until
	// more arrives. (Small reads are cheap, and Peek looks ahead.) It calls
	// m.SetSize with the frame's length before it allocates memory for it, and
	// hands the body over with m.UnmarshalBody, not decoded. A connection runs
	// one at a time.
	//
	// An error means that the place where the next frame begins is not known
	// any more, so the connection is closed – unless it wraps [ErrBadMessage]:
	// then the whole frame has been read and no message can be made of it (an
	// unknown filter, a failed check, a field over the frame's end); an engine
	// drops it, or ends the call that waits for it: which one it knows if type
	// and sequence number were set before. Then the connection goes on. io.EOF means a clean end between two
	// frames.
	Unpack(m Message) error
}

// FrameAppender is a Proto that can write the frame into a buffer it is given,
// on any goroutine and on several at once. A connection then packs messages with
// pipes or large bodies side by side, and small ones straight into the outgoing
// batch. On an error it returns dst as it was.
type FrameAppender interface {
	Proto
	AppendFrame(dst []byte, m Message) ([]byte, error)
}

// ProtoFunc makes the Proto of a connection.
//
// The io.ReadWriter of a [Conn] has more than its two methods: a Proto asserts
// [PeekReader], [BufferWriter], [Keeper], [Sider] and [Emitter], and works without them as well.
// What is written to it goes to the outgoing batch, never to the network by itself.
type ProtoFunc func(io.ReadWriter) Proto

// IOWithReadBuffer is an older name of what a ProtoFunc is given.
type IOWithReadBuffer = io.ReadWriter

// PeekReader lets Unpack look at a whole frame in place. Peek returns n bytes
// without taking them, valid until the next call; fewer only with an error
// (io.EOF when there is none, io.ErrUnexpectedEOF when cut). n may be as large
// as a frame: memory grows with what arrives.
type PeekReader interface {
	io.Reader
	Peek(n int) ([]byte, error)
	Discard(n int) (int, error)
	Buffered() int
}

// Keeper accounts for memory in which an Unpack collects a message by itself, instead of
// by Peek: the body of a message in chunks for example. n is all that the present message
// takes there, in bytes; it replaces the number of the last call, and Unpack's end ends it.
// Keep is called before the memory is taken, also to grow. An error says that the messages
// which arrive at the peer take more than PeerConfig.ReadMemory: Unpack returns it, and
// the connection ends. What an Unpack gets by Read counts if it never calls Keep.
type Keeper interface{ Keep(n int) error }

// Unpacker reverses filters, as [xfer.XferPipe] does: it appends the result to dst, and
// its error wraps [xfer.ErrTooLarge] if that takes more than max bytes.
type Unpacker interface {
	AppendUnpack(dst, src []byte, max int) ([]byte, error)
}

// reserver is a connection that accounts for what filters make of a message.
type reserver interface {
	unpack(f Unpacker, dst, src []byte, max int) ([]byte, error)
}

// Unpack is f.AppendUnpack for the Unpack of a Proto that reads from r, as its ProtoFunc
// got it: what the filters make counts in the memory of the peer, and it waits for room.
// f may be called several times, with growing limits up to max. If there is no room in
// time, the error ends the connection. If the Proto is [Repeatable] the error may be that
// the filters run elsewhere, and Unpack is called again when they are done; a Proto returns
// it as any other, possibly wrapped.
//
// A Proto that wraps another one gives it an io.ReadWriter of its own, with a method
// Unwrap() io.ReadWriter that returns the one it got itself.
func Unpack(r io.Reader, f Unpacker, dst, src []byte, max int) ([]byte, error) {
	for {
		if c, ok := r.(reserver); ok {
			return c.unpack(f, dst, src, max)
		}
		w, ok := r.(interface{ Unwrap() io.ReadWriter })
		if !ok {
			return f.AppendUnpack(dst, src, max)
		}
		r = w.Unwrap()
	}
}

// Repeatable is a Proto whose Unpack may be called again for a frame that it has read, also
// after frames that came later, with the same outcome: the Proto remembers nothing of a frame
// but what all frames of the connection have in common. It peeks at a whole frame, discards
// exactly that, and reverses the filters by the function [Unpack]. Where they have a remote
// one (see [xfer.Remote]), the connection then reverses those of several frames at once.
type Repeatable interface {
	Proto
	Repeatable() bool
}

// Interruptible is a Proto whose Unpack, if Interruptible returns true, may be called again
// after an error of a read deadline, which matches os.ErrDeadlineExceeded: what has arrived of
// the message by then is not lost. A [Repeatable] one may in any case. So a Reboot can hand a
// session over within a message. Interruptible may be called concurrently.
type Interruptible interface {
	Proto
	Interruptible() bool
}

// BufferWriter lets Pack append to memory of the connection, which Write does not
// copy.
type BufferWriter interface {
	io.Writer
	AvailableBuffer() []byte
}

// Sider reports which side of the connection this is. A protocol with dialects
// writes the dialect it was given on a dialled connection, and follows the peer on an
// accepted one.
type Sider interface {
	Dialed() bool
}

// Hinter is a Proto that knows a likely reason why the peer closed the connection
// before it has sent a frame. Hint is called once the connection has ended; it
// returns "" where something else explains the end as well, such as a peer that
// closes long after it was sent the first frame.
type Hinter interface {
	Hint() string
}

// ControlCarrier is a Proto that carries messages of the type CONTROL, which engines send
// each other. CarriesControl reports whether the peer of this connection reads them, as
// far as that is known: a peer of v5 or v7 would close the connection. It is called
// concurrently.
type ControlCarrier interface {
	CarriesControl() bool
}

// ByeCarrier is a Proto over which an engine may say goodbye in a REPLY of the number 0,
// with metadata [MetaBye]: peers that do not know it drop a reply to no call.
// CarriesBye reports whether the peer of this connection reads it or is one of those, as
// far as that is known. It is called concurrently.
type ByeCarrier interface {
	CarriesBye() bool
}

// Abandoner is a Proto whose peer can say in no other way that it does not wait for replies
// any more than by ending its half of the connection. Abandons reports whether that is so:
// then the contexts of the handlers end, and replies are still sent. It is called
// concurrently.
type Abandoner interface {
	Abandons() bool
}

// Protocol is a protocol under the name by which a configuration chooses it.
type Protocol struct {
	Name string
	New  ProtoFunc
	// Recognise examines the first bytes of a connection: match reports whether
	// they begin a frame of this protocol. If that is not known yet, need is
	// the number of bytes required; 0 means that match is the answer. It may be nil.
	Recognise func(prefix []byte) (match bool, need int)
}

// ErrUnsupportedProto is in every error of a look-up that found no protocol.
var ErrUnsupportedProto = errors.New("unsupported protocol")

const protoPath = "github.com/teleport-go/teleport/protos/"

var protocols = registry.NewNames[Protocol]("protocol", ErrUnsupportedProto,
	registry.Known{Name: "raw", Import: protoPath + "rawproto"},
	registry.Known{Name: "json", Import: protoPath + "jsonproto"},
	registry.Known{Name: "protobuf", Import: protoPath + "pbproto"},
	registry.Known{Name: "thrift-binary", Import: protoPath + "thriftproto"},
	registry.Known{Name: "thrift-struct", Import: protoPath + "thriftproto"},
	registry.Known{Name: "http", Import: protoPath + "httproto"},
)

// RegisterProto registers a protocol under its name; for init. It panics if the
// name is taken.
func RegisterProto(p Protocol) { protocols.Register(p.Name, p) }

// LookupProto returns the protocol of that name. The error names the missing import.
func LookupProto(name string) (Protocol, error) { return protocols.Get(name) }

// Emitter lets Unpack send bytes that belong to no message, such as an interim
// response or the answer to a ping. Emit appends b in one piece to what was accepted for
// sending; it does not wait for the network, and keeps nothing of b. It fails when the
// connection has failed, or when far too much waits to be written. Any goroutine may
// call it, also outside of Unpack, but not within AppendFrame.
type Emitter interface {
	Emit(b []byte) error
}

// Ender is a Proto whose protocol can end a connection. Once Ended reports true the
// last message has been packed: nothing is read any more, and the engine closes the
// connection when everything accepted is written. It is called concurrently.
type Ender interface {
	Ended() bool
}

// Parter is a Proto whose protocol says something before the connection is closed, such
// as the close frame of WebSocket. AppendFarewell appends that to dst, which is what was
// accepted for sending, and returns dst if there is nothing to say. It is called at most
// once for a connection, on any goroutine, with the lock of the connection: it must not
// block, nor use its connection. Afterwards the engine sends nothing, and closes the
// connection when the peer has said the same, or after a second.
//
// It is not called on a connection that has failed, or is closed because the peer does not
// read or does not answer.
type Parter interface {
	AppendFarewell(dst []byte, r Reason) []byte
}

// Parted is the error of an Unpack that has read what a [Parter] of the other side says: it
// is an io.EOF with a reason.
type Parted struct {
	// Rerror is the reason. A session that has dialled does not come back if its code is
	// 401, 403 or 409.
	Rerror *Rerror
}

func (e *Parted) Error() string        { return "closed by the other side: " + e.Rerror.String() }
func (e *Parted) Is(target error) bool { return target == io.EOF }

// Reason is why the engine closes a connection.
type Reason struct {
	Kind ReasonKind
	// Err is what the program tells the peer: the argument of CloseWith, or the error with
	// which a hook has refused the connection. It may be nil.
	Err *Rerror
	// Cause is the reason in this side's log; it may be nil. It is not meant for the peer.
	Cause error
}

// ReasonKind says in general why a connection is closed.
type ReasonKind uint8

// The kinds of a Reason.
const (
	ReasonClosed   ReasonKind = iota // the program has closed the session, or its age or IdleTimeout is over
	ReasonShutdown                   // the peer, with all its sessions, is closed
	ReasonRefused                    // the program does not want the session: a hook has refused it, or CloseWith, or its id is taken
	ReasonTooLarge                   // a message that came was over the size limit
	ReasonBroken                     // what came could not be read
	ReasonAnswered                   // the other side has closed the connection, between two messages
)

// String returns the kind in a word.
func (k ReasonKind) String() string {
	if names := [...]string{"closed", "shutdown", "refused", "too large", "broken", "answered"}; int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}
