package tp

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/event"
	"github.com/teleport-go/teleport/core/internal/gate"
	"github.com/teleport-go/teleport/core/internal/inbox"
	"github.com/teleport-go/teleport/core/internal/inorder"
	"github.com/teleport-go/teleport/core/internal/pending"
	"github.com/teleport-go/teleport/core/internal/poller"
	"github.com/teleport-go/teleport/core/internal/sweep"
	"github.com/teleport-go/teleport/core/internal/throttle"
	"github.com/teleport-go/teleport/core/internal/watchdog"
	"github.com/teleport-go/teleport/core/internal/workers"
	"github.com/teleport-go/teleport/core/socket"
)

// env holds what all sessions of a peer share. Nothing in it is replaced once the
// first session exists, so a session needs no lock for it. A session does not depend
// on how its peer listens or dials.
type env struct {
	peer        Peer
	cfg         PeerConfig
	live        atomic.Pointer[Live] // in place of the same fields of cfg
	network     Network
	log         logger
	plugins     *PluginContainer // the root's
	router      *router
	hub         *hub
	sweeper     *sweep.Sweeper
	workers     *workers.Pool[*handlerCtx]
	memory      *inbox.Memory
	streamed    atomic.Int64 // bytes of memory that streams have
	watchdog    watchdog.Watchdog[link, *link]
	decoding    *gate.Gate
	pollers     []poller.Poller[link, *link]
	guard       guard             // for the hooks of messages
	firstErrors throttle.Throttle // limits lines about peers whose first frame cannot be read
	serial      atomic.Uint32     // serial of the last session
	comeBack    atomic.Int64      // nanoseconds over which farewells spread the redials; 0: they do not
	stats       counters

	// wakes holds channels of capacity 1 for callers that wait; the user never sees
	// one. The pool belongs to the peer because a channel must not leave the bubble of
	// testing/synctest that it was made in.
	wakes sync.Pool

	// commands holds the commands of PUSHes and of typed calls, which no user sees.
	// That of a call keeps its wake channel.
	commands sync.Pool

	ends     endQueue
	sessions sync.WaitGroup // every session's goroutine
}

// counters are those of PeerStats.
type counters struct {
	refusedConnections, refusedCalls, droppedPushes, droppedMessages   atomic.Uint64
	droppedReplies, unsentReplies, canceledCalls, memoryCloses, pauses atomic.Uint64
	droppedData, unsentPushes                                          atomic.Uint64
}

// session implements Session, on either side. state.go shows its states.
type session struct {
	logger
	env        *env
	cur        atomic.Pointer[link] // the link that sends calls; nil unless ready
	work       workload             // requests that are being handled
	leaving    atomic.Bool          // draining or later: becameIdle sends on idle
	announcing atomic.Int32         // connections that became ready since the PostReady hooks began to run
	serial     uint32               // number in the peer; selects its poller, workers and watchdog slot
	contextAge atomic.Int64         // nanoseconds; 0: unlimited
	plan       *dialPlan            // how to dial and redial; nil if it was accepted
	id         atomic.Pointer[string]

	pushing atomic.Pointer[pushState] // made on demand

	_       [16]byte // what is above shares no cache line with the lock of pending, which each call takes
	pending pending.Table[*callCmd]
	swap    atomic.Pointer[Swap] // made on demand
	move    atomic.Pointer[move] // under way, or that has handed the session over; nil: none
	sweep.Handle

	idle        chan struct{} // of capacity 1; made before leaving is set
	closeNotify event.Event
	quiet       event.Event // draining: no call is pending, and the batch is written
	drained     event.Event // draining is over
	done        event.Event // the session has ended

	mu        sync.Mutex // guards the fields below
	state     state
	cut       int32           // calls that draining has cut off
	link      *link           // the present or last one
	prep      *link           // the one whose connection hooks run
	prepCtx   context.Context // of these hooks; nil outside of them
	reason    *CloseReason
	wantID    *string                 // nil unless SetID was called
	stopDrain context.CancelCauseFunc // ends draining's wait
	bound     *time.Timer             // calls stopDrain
	boundAt   int64                   // in the sweeper's time
	held      *holdUp                 // nil: nothing holds the session up

	sessionAge time.Duration // 0: unlimited
	expireAt   int64         // when sessionAge is over, in the sweeper's time; 0: never

	redialQueue []*redialEntry
	redialBytes int                // size of redialQueue
	stopDial    context.CancelFunc // ends redialling

	drops, failures, unasked throttle.Throttle // limit log lines that the remote peer can cause

	ordered inorder.Queues[*Handler, *handlerCtx] // one per ordered route; the key nil is for replies that must go out in order
}

// pushState is what a session needs that has a policy of its own or has dropped PUSHes.
type pushState struct {
	policy  atomic.Pointer[PushPolicy] // nil: that of the peer
	dropped atomic.Uint64
}

// endQueue holds the connections whose reading has ended or is about to, until a goroutine
// cleans up after each. A crowd that ends at once must not take the processors from the
// others: so these goroutines start one by one, with pauses.
type endQueue struct {
	mu      sync.Mutex // guards the fields below
	list    []endedLink
	running bool // a goroutine empties the list
}

type endedLink struct {
	cleanUp func(l *link, err error)
	l       *link
	err     error // why reading has ended; nil: it has not
}

// holdUp is what does not return, in the words of an error.
type holdUp struct {
	hook     string // of a connection, that runs now
	handlers string // that draining has cut off
}

// link is one connection of a session. A session that redials has several, one
// after the other; epoch counts them.
type link struct {
	// Callers read the first fields, and the reader writes those after the padding:
	// they share no cache line.
	sess            *session
	env             *env
	sock            *socket.Conn
	shut            atomic.Bool // this side has closed conn
	wanted          atomic.Bool // a goroutine that moves the connection waits for the reader to yield
	epoch           uint32
	trusted         bool          // X-Real-IP of the peer is believed
	silent          bool          // accepted, and no message has come: the reader says "accept ok" with the first
	readInterrupted bool          // interruptRead has set a read deadline
	hello           atomic.Uint32 // flags of CONTROL hello
	peerWindow      atomic.Int32  // bytes that a stream may send at first
	refused         atomic.Uint32 // draining: number of the last CALL that was taken, plus 1; 0: none was refused since
	conn            net.Conn      // until the link is ready hooks may replace it, under mu and session.mu
	pf              ProtoFunc
	ip              string     // of the remote address, as text
	facts           *ConnFacts // nil: none but those of conn

	killed atomic.Pointer[CloseReason] // set before this side closes conn on an error
	bye    atomic.Pointer[farewell]    // what the peer has said last; nil: nothing yet
	over   event.Event                 // reading has ended
	gone   event.Event                 // the calls of a link that was ready have been resolved
	passed []Plugin                    // plugins whose PostDial, PostRedial or PostAccept returned no error
	kept   *keptRequests               // received while a hook waited for a reply, for the reader; nil: none

	greeted event.Event                 // the peer has said hello
	streams atomic.Pointer[streamTable] // nil: there was none

	gaveUp *[]int32 // guarded by mu: numbers of calls that this side has given up before the peer's hello, which says whether it takes cancel

	_ [16]byte
	reader

	mu    sync.Mutex // guards what follows, and readInterrupted
	calls handlerList
	dead  *CloseReason // cause for contexts made from now on; nil while alive
}

// handlerList lists the handlers of a link that have left its reader, or have a context or
// an age. It is guarded by the link's mu.
type handlerList struct {
	first *handlerCtx
	bySeq map[int32]*handlerCtx // the calls among them; nil: nobody has looked for one among many
}

// farewell is what the peer has said last.
type farewell struct {
	known bool
	last  int32         // with known: CALLs with a number above it that were not answered have not run
	rerr  *Rerror       // why the peer has closed the session; nil: it did not say
	after time.Duration // when to redial, so that not all come at once; 0: it did not say
}

// keptRequests holds the requests that PreCall has read.
type keptRequests struct {
	list  []*handlerCtx
	bytes int64 // size of all that were received, about
}

// handlerCtx is one incoming message while it is served. It implements every public
// context that has an input. It belongs to the reader until the message is
// dispatched, then to the handler's goroutine, and returns to the pool when the reply,
// the last hook and the access log are done.
type handlerCtx struct {
	logger
	sess *session
	link *link
	in   socket.Envelope
	out  socket.Envelope // the reply
	perMessage
	count      uint8         // of messages that passed through here
	named      *route        // the last that a message has named: the next one will most likely name it too
	answeredBy atomic.Uint32 // answerOpen, answerHandler, answerSweep, answerCaller

	// Guarded by link.mu.
	listed     bool
	left       bool // the reader: handler does not change any more
	prev, next *handlerCtx
	agePipe    []byte // with ageAt: the filters of the reply to a handler that takes too long
}

// perMessage holds the fields of a handlerCtx that are zero before each message.
type perMessage struct {
	handler     *Handler   // nil until the route is known, and for 404
	hooks       *hookTable // the handler's, or the peer's
	cmd         *callCmd   // the call that a REPLY answers; nil for requests
	arg         any
	refusal     *Rerror // why the handler of a request must not run
	result      *Rerror // the error of a request that was answered
	swap        *Swap
	stream      *stream // that the CALL has opened; nil: it is an ordinary one
	release     freer
	memory      *[]byte      // of an argument that is used again
	claim       *inbox.Claim // of bytes for the argument, once decoded, and for the reply; nil: none was needed
	leave       func()       // gives its place back while the argument is decoded; nil: it has none
	start       int64        // in the sweeper's time; 0: the time is not counted
	expires     int64        // X-Timeout: when the caller stops waiting, in the sweeper's time; 0: never
	turn        uint64       // as what the reader's state knows the handler; 0: another goroutine runs it
	began       int64        // when the handler began, in the sweeper's time; 0: nobody wants to know
	arrived     int64        // bytes of env.memory that the message has had since it arrived, until they are in bytes
	bytes       int64        // in the session's workload, reply included
	expected    int64        // of these for the reply
	seq         int32        // of a CALL
	stage       stage        // of a request: how far its answer is
	decodeLater bool         // the argument is to be decoded on the handler's goroutine
	flushes     bool         // nothing has arrived behind it: its reply need not wait to be written with others
	blind       bool         // counted in handler.blind

	// Guarded by link.mu.
	ageAt  int64 // when the context age is over, in the sweeper's time; 0: never
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// interner is the socket.Interner of the messages that are read.
type interner handlerCtx

// argument is the account of the value that the body of a request is decoded into.
type argument handlerCtx

// replier is the socket.Holder of the reply to a request.
type replier handlerCtx

// callCmd is a pending call, or a PUSH while it is sent. The goroutine that takes the
// call's number from the pending table resolves it: the reader with the reply, the
// sweeper, or the goroutine that sees the end of the caller's context or of the session.
type callCmd struct {
	// The fields that the reader of a reply and the caller behind it use fill two cache
	// lines: with thousands of callers a command is not in the cache.
	logger
	sess     *session // nil for NewFakeCallCmd
	link     *link    // that has sent it
	result   any
	wake     chan struct{}
	memory   *[]byte    // of a Reused result; else nil
	mode     codec.Mode // what the codec may assume of result
	repeats  uint8      // how often it was made again
	over     bool       // result has served another call
	pooled   bool       // returns to env.commands; no user sees it
	auth     bool       // an AUTH_CALL
	lost     bool       // a PUSH that its policy has dropped
	inCodec  byte
	finished bool // the result is final; guarded by mu
	inSize   uint32
	seq      int32
	rerr     *Rerror     // inCodec, inSize, large, reply, in and this are set by the winner before it wakes the caller
	method   string      // of out, for the reader: a hook of the caller may use out meanwhile
	large    *largeBody  // nil: the reader has decoded the body, or there is none
	reply    *handlerCtx // for hooks after decoding
	start    int64       // in the sweeper's time; 0: the time is not counted
	cost     time.Duration
	in       *Meta // of the reply; nil: it has none

	deadline int64 // from DefaultCallTimeout, in the sweeper's time; 0: none
	giveUpAt int64 // when not to make the call again any more, in the sweeper's time; 0: it was made once

	stream *stream // that the call opens; nil: it is an ordinary one

	detail string
	swap   *Swap
	out    socket.Envelope

	mu    sync.Mutex    // guards swap, done and what async points to
	done  chan struct{} // made on demand
	async *asyncCall    // nil: the call is none of AsyncCall, and its caller waits on wake
}

// asyncCall is what only an asynchronous call has.
type asyncCall struct {
	cmds   chan<- CallCmd
	parts  int         // how many parts of the call are done, of two: launched, resolved
	unhook func() bool // stops watching the call's context
}

// largeBody is the body of a reply that the caller decodes.
type largeBody struct {
	raw       []byte
	bytes     int64 // of env.memory for raw
	exclusive bool  // raw belongs to this call alone
}

// streamTable holds the streams of a link that are open, on either side.
type streamTable struct {
	mu      sync.Mutex
	open    map[int32]*stream // by their key
	windows int64             // sum of the windows in which this side receives
	bytes   atomic.Int64      // of messages that were not received yet
	drawn   atomic.Int64      // of these in env.memory
}

// stream is one end of a stream. The reader of its link puts messages into the queue; Recv
// takes them from it.
type stream struct {
	sess *session
	link *link
	key  int32    // of the table, and the number of the messages that are sent: the call's, negative if the peer has opened it
	cmd  *callCmd // that has opened it; nil on the handler's side

	ctx    context.Context         // ends with the stream
	cancel context.CancelCauseFunc // of the opener's; nil on the handler's side
	hooks  *hookTable
	method string // this and the next two are for the hooks of DATA, on the handler's side
	realIP string
	swap   *Swap
	codec  byte
	pipe   []byte
	window int64 // in which this side receives

	sending sync.Mutex // held by Send and CloseSend
	out     socket.Envelope

	receiving sync.Mutex // held by Recv, guards the fields below
	in        socket.Envelope
	taken     []datum // from the queue
	next      int     // the first of taken that was not received
	owed      int64   // bytes that the sender may be given
	used      int64   // of the messages received since the last credit
	received  int64   // messages
	endRead   error   // what Recv returns behind them, since the hooks of the end have run; nil: they have not

	dropped atomic.Bool // what is queued is not received any more

	mu       sync.Mutex // guards the fields below
	queue    []datum
	chunk    []byte        // where small bodies are put
	wake     chan struct{} // of capacity 1: the end of a wait of Recv
	waits    bool          // Recv waits
	came     int64         // messages
	granted  int64         // bytes that the peer may send altogether
	spent    int64         // of these it has sent
	counted  int64         // bytes in the table's account
	peerDone bool          // the peer sends no more
	endMeta  *Meta         // that it has said so with, without that of the engine; nil: none

	more     chan struct{} // of capacity 1: credit has come
	credit   int64         // bytes that may be sent; below 0 after a large message
	sent     int64         // messages
	acked    int64         // of these the peer has received
	sendDone bool          // this side sends no more

	over bool    // the stream has ended
	rerr *Rerror // why, or why it is about to; nil: as it should
}

// datum is a message of a stream that has come.
type datum struct {
	body  []byte
	meta  *Meta
	free  []byte // chunk of the messages before
	codec byte
	own   bool // body is the datum's
}

// dialPlan is how to dial a peer, and to redial it.
type dialPlan struct {
	addr   string
	pf     ProtoFunc
	values context.Context // the context of DialContext, without its end
	since  int64           // when the session became ready on its present connection, in the sweeper's time
	pauses int32           // made before attempts to redial, since a connection has lasted
}

// redialEntry is a message that waits for a redial, its body already encoded. It is a
// copy: the command returns to its caller when the context ends.
type redialEntry struct {
	seq    int32
	msg    socket.Envelope
	body   []byte       // of msg
	result chan *Rerror // for a PUSH; nil for a call, which is in the pending table
	waits  bool         // nothing is to be sent: a stream waits for a link
	link   *link        // with waits: the new one
	until  int64        // longest wait, in the sweeper's time; 0: the caller's context has a deadline
}

// move is an attempt to hand a session over.
type move struct {
	over  chan struct{} // closed at its end
	until time.Time
	look  time.Duration // the next pause

	late []func() // what closes the session if it stays; guarded by session.mu
}

// stage is how far the answer to a request is.
type stage uint8

const (
	stageOpen     stage = iota // no answer
	stageReplying              // the reply is made: PreWriteReply, encoding
	stageAnswered              // it is in the batch, or was given up
	stageEnded                 // logged, and PostExchange has run
)
