package tp

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/event"
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

// env is what all sessions of a peer share. Nothing in it is replaced once the
// first session exists, so a session needs no lock for it, and need not know how
// its peer listens or dials.
type env struct {
	peer      Peer
	cfg       PeerConfig
	network   Network
	log       logger
	plugins   *PluginContainer // the root's
	router    *router
	hub       *hub
	sweeper   *sweep.Sweeper
	workers   *workers.Pool[*handlerCtx]
	memory    *inbox.Memory
	watchdog  watchdog.Watchdog[link, *link]
	pollers   []poller.Poller[link, *link]
	guard     guard             // of the hooks of messages
	strangers throttle.Throttle // of lines about peers whose first frame cannot be read
	serial    atomic.Uint32     // of the last session

	// wakes are channels of capacity 1 for callers that wait; the user never sees
	// one. They are the peer's own because a channel must not leave the bubble of
	// testing/synctest that it was made in.
	wakes sync.Pool

	// commands are those that nobody keeps: of PUSHes, and of typed calls, each of
	// which has such a channel already.
	commands sync.Pool

	sessions sync.WaitGroup // every session's goroutine
}

// session is a connection with all it can do, on either side. state.go draws its life.
type session struct {
	logger
	env        *env
	cur        atomic.Pointer[link] // where calls go out; nil unless ready
	running    atomic.Int32         // handlers begun and not done
	leaving    atomic.Bool          // draining or later: who becomes idle says so on idle
	announcing atomic.Int32         // connections that became ready since the PostReady hooks began to run
	contextAge atomic.Int64         // nanoseconds; 0: unlimited
	serial     uint32               // of the peer's sessions: which poller, workers and slot of the watchdog are its

	pending pending.Table[*callCmd]
	plan    *dialPlan // how it was dialled; nil if it was accepted
	swap    Swap
	id      atomic.Pointer[string]
	sweep.Handle

	idle        chan struct{} // of capacity 1; made before leaving is set
	closeNotify event.Event
	quiet       event.Event // draining has come to no pending calls and an empty batch
	drained     event.Event // draining is over
	done        event.Event // at the very end

	mu        sync.Mutex // guards what follows
	state     state
	link      *link           // the present or last one
	prep      *link           // the one whose hooks run
	prepCtx   context.Context // of these hooks; nil outside of them
	reason    *CloseReason
	customID  bool // SetID was called
	wantID    string
	stopDrain context.CancelCauseFunc // ends draining's wait
	bound     *time.Timer             // calls stopDrain
	boundAt   time.Time
	cut       int     // calls that draining has cut off
	held      *holdUp // nil: nothing holds the session up

	sessionAge time.Duration // 0: unlimited
	expireAt   int64         // when that is over, in the sweeper's time; 0: never

	redialQueue []*redialEntry
	redialBytes int                // of these
	stopDial    context.CancelFunc // ends redialling

	drops, failures, unasked throttle.Throttle // of lines that the peer can cause

	ordered inorder.Queues[*Handler, *handlerCtx] // of ordered routes; nil: what is answered in turn
}

// holdUp is what does not return, in the words of an error.
type holdUp struct {
	hook     string // of a connection, that runs now
	handlers string // that draining has cut off
}

// link is one connection of a session. A session that redials has several, one
// after the other; epoch counts them.
type link struct {
	// Callers look at what comes first, and the reader changes what is behind it: they
	// share no cache line.
	sess    *session
	env     *env
	sock    *socket.Conn
	shut    atomic.Bool // this side has closed conn
	epoch   uint32
	trusted bool     // the peer may say X-Real-IP
	conn    net.Conn // until the link is ready hooks may replace it, under mu and the session's
	pf      ProtoFunc
	local   net.Addr
	remote  net.Addr
	ip      string // of the remote address, as text

	killed atomic.Pointer[CloseReason] // set before this side closes conn on an error
	over   event.Event                 // nothing is read any more
	gone   event.Event                 // the calls of a link that was ready have been resolved
	passed []Plugin                    // whose PostDial, PostRedial or PostAccept has passed
	kept   *keptRequests               // that came while a hook waited for a reply, for the reader; nil: none

	_ [64]byte
	reader

	mu    sync.Mutex  // guards what follows
	timed *handlerCtx // handlers that have left the reader, or have a context or an age: a list
	dead  error       // cause for contexts made from now on; nil while alive
}

// keptRequests are the requests that PreCall has read.
type keptRequests struct {
	list  []*handlerCtx
	bytes int64 // of all that came, about
}

// handlerCtx is one incoming message on its way: every context of the public
// words that has an input is a view of it. It belongs to the reader until the
// message is dispatched, then to the handler's goroutine, and goes back to the
// pool when the reply, the last hook and the access log are done.
type handlerCtx struct {
	logger
	sess        *session
	link        *link
	in          socket.Envelope
	out         socket.Envelope // the reply
	handler     *Handler        // nil until the route is known, and for 404
	hooks       *hookTable      // the handler's, or the peer's
	cmd         *callCmd        // of a REPLY: the call it answers
	arg         any
	refusal     *Rerror // why the handler of a request must not run
	result      *Rerror // the error of a request that was answered
	swap        *Swap
	start       time.Time // only with CountTime
	expires     int64     // X-Timeout: when the caller stops waiting, in the sweeper's time; 0: never
	decodeLater bool      // the argument is to be decoded on the handler's goroutine
	release     freer
	memory      *[]byte       // of an argument that is used again
	turn        uint64        // as what the reader's state knows the handler; 0: another goroutine runs it
	began       int64         // when the handler began, in the sweeper's time; 0: nobody wants to know
	count       uint8         // of messages that passed through here
	stage       stage         // of a request: how far its answer is
	answeredBy  atomic.Uint32 // answerOpen, answerHandler, answerSweep

	// Guarded by link.mu.
	listed     bool
	left       bool // the reader: handler does not change any more
	prev, next *handlerCtx
	ageAt      int64 // when the context age is over, in the sweeper's time; 0: never
	ageSeq     int32
	agePipe    []byte
	ctx        context.Context
	cancel     context.CancelCauseFunc
}

// callCmd is a call under way. Until it is resolved it belongs to whoever takes
// its number from the pending table: the reply, the caller's context, the sweep,
// or the end of the session.
type callCmd struct {
	// What the reader of a reply looks at is two cache lines: with thousands of
	// callers none of a command is in the cache.
	logger
	sess      *session // nil for a fake
	link      *link    // that it went out on
	result    any
	wake      chan struct{}
	memory    *[]byte    // of result; nil if it has none of its own
	mode      codec.Mode // what is known of result
	over      bool       // result has served another call
	async     bool       // nobody waits on wake
	pooled    bool       // nobody but its caller ever sees it
	exclusive bool       // raw is nobody else's
	inCodec   byte
	inSize    uint32
	rerr      *Rerror // inCodec, inSize, raw, reply and this are set by the winner before it wakes the caller
	method    string  // of out, for the reader: a hook of the caller's may look at out meanwhile
	seq       int32

	raw   []byte      // a large body, to be decoded by the caller
	reply *handlerCtx // for hooks after decoding

	start  time.Time
	cost   time.Duration
	detail string
	swap   *Swap
	out    socket.Envelope
	in     Meta // set by the winner, too

	// What a pooled command has no use for.
	cmds     chan<- CallCmd
	mu       sync.Mutex    // guards swap and what follows
	parts    int           // of an asynchronous call that are done: it is launched, it is resolved
	finished bool          // what the user sees does not change any more
	done     chan struct{} // made on demand
	unhook   func() bool   // takes back the watch on an asynchronous call's context
}

// dialPlan is how to reach a peer, once and again.
type dialPlan struct {
	addr   string
	pf     ProtoFunc
	values context.Context // what DialContext was given, without its end
}

// redialEntry is a message that waits for a redial, its body already encoded. It is a
// copy: the command goes back to its caller when a context ends.
type redialEntry struct {
	seq    int32
	msg    socket.Envelope
	body   []byte       // of msg
	result chan *Rerror // of a PUSH; nil: a call, which is in the pending table
	until  int64        // in the sweeper's time; 0: the caller has a deadline of his own
}
