// Package tp is the core of Teleport: two-way calls and pushes over sockets.
//
// It is always imported under its name, since the path ends in core:
//
//	import (
//		tp "github.com/teleport-go/teleport/core"
//		_ "github.com/teleport-go/teleport/mixers/standard"
//	)
//
// # The words
//
// A [Peer] is one end. It listens, dials, or both; each connection becomes a
// [Session]; and every session can do the same, whoever dialled: Call and wait
// for a reply, Push without one, serve the peer's routes. What travels is a
// [Message]: header, metadata, body, and the pipe of filters its frame goes
// through. An error that travels is a [Rerror]: code, message, reason.
//
// Everything on the wire is chosen by a registered word or id and lives in a
// module of its own: the protocol that frames messages ([Proto]), the codec of a
// body ([Codec]), the filters of a pipe ([XferFilter]), the [Network] below. This
// package holds none but the networks of the standard library, and imports the
// standard library only.
//
// # Handlers
//
// A handler is a method of a struct that embeds [CallCtx] or [PushCtx], a function
// that takes one, or, without reflection, a typed function:
//
//	type Math struct{ tp.CallCtx }
//
//	func (m *Math) Add(arg *[]int) (int, *tp.Rerror) { … }
//
//	srv.RouteCall(new(Math)) // serves /math/add
//
//	tp.HandleCall(srv, "/math/add", func(ctx tp.CallCtx, arg *[]int) (int, error) { … })
//
//	sum, err := tp.Invoke[int](ctx, sess, "/math/add", []int{1, 2, 3})
//
// A stream is a call that stays open, over which both sides send messages:
//
//	tp.HandleStream(srv, "/chat", func(ctx tp.StreamCtx, s *tp.Stream[Question, Answer]) error { … })
//
//	s, err := tp.OpenStream[Question, Answer](ctx, sess, "/chat")
//
// Messages of one session are handled concurrently; a route registered with
// [Ordered] handles those of one session in order.
//
// # Hooks
//
// A [Plugin] takes part in the moments it has a method for; hooks.go lists them in
// the order of a message's life. Plugins belong to the whole peer, to a group of
// routes, or to one handler.
//
// # Promises
//
// A call ends with its reply, its context, or its session, whichever is first.
// Nothing waits without a bound: connecting, closing, writing to a peer that does
// not read, waiting for a redial all have a limit in [PeerConfig]. No length from
// outside takes memory before the bytes have come. A panic of a handler is the
// caller's error 500, and the session lives; so is runtime.Goexit, in hooks and codecs
// too. The side that has ended a session, and the reason, are its [CloseReason].
//
// # The road of a call, by file
//
//	call.go      Call (async.go: AsyncCall) → begin
//	prepare.go   prepare: the message, and the hooks before it is written
//	call.go      launch → addCall → sendCall
//	             socket.Conn: packed into the batch of the connection, flushed together
//	readerstate.go, reader.go
//	             which goroutine reads the connection: a state machine, with its picture
//	budget.go    the memory that the requests of a session take, and the reader's pause
//	readloop.go  run → serve → await → dispatch
//	request.go   acceptRequest → prepare: route (route.go), bind → run
//	respond.go   answer → reply
//	             the way back
//	reply.go     acceptReply: the pending call with this number is resolved
//	call.go      resolve → the caller goes on: end → complete
//
// streamtable.go has what the reader does for streams, and how they begin and end,
// streamio.go what their users' goroutines do: open, Send, Recv; streamcopy.go passes the
// messages of one on to another.
//
// control.go has what the engines say to each other meanwhile: that a caller has given up.
//
// move.go and adopt.go hand a session to the new process of a Reboot, with a picture of its
// road in move.go; moverecord.go is what crosses of it, handover.go what networks that wrap
// connections do for that.
//
// parts.go is the data of a session, state.go its life, end.go how it ends, farewell.go what
// it says then, and which calls have not run, exit.go what is left to do when user code
// ends its goroutine, expire.go its deadlines, redialqueue.go what waits for a redial. hooks.go and
// hooktable.go are the plugins, router.go and reflect.go the routes, peer.go, dial.go and
// listen.go the peer, handshake.go what precedes the protocol on its connections, and
// presession.go what the hooks of a new connection can do with it.
// rooms.txt lists all files in their order: each uses the files above it.
//
// # Glossary
//
//	message      what travels: a CALL, its REPLY, a PUSH; frame: its bytes on the wire
//	body         the encoded argument or result; meta: key=value pairs beside it
//	session      the state of a connection, across redials; link: one connection of it
//	pending      calls without a reply, by sequence number
//	resolve      end a pending call: the reply, its context, or its session wins; its caller
//	             completes it
//	batch        messages accepted for sending; flush: write them; cork: leave the flush to
//	             the reader
//	reader       the goroutine that reads a connection; there is at most one
//	poller       waits for the connections that have no reader; poll loop: its goroutine
//	move         hand a session, with its connection, to the new process; hold: take the
//	             reading of it for that
//	park         give a connection to the poller; detach: stop being its poll loop
//	read ahead   read frames behind one whose filters wait for another process
//	busy poll    look for bytes for a moment before waiting
//	inline       a handler is run by the reader; the watchdog steals the reading from it
//	slot         where the watchdog sees a reader
//	generation   counts waits, handlers and changes of the reader of a connection
//	worker       a goroutine that runs other handlers, and is used again
//	hook         a method of a plugin; moment: the hooks that run at one point
//	kind         CALL or PUSH, of a request, a handler, a hook
//	refusal      why the handler of a request must not run
//	drain        let what is under way finish; redial: connect again
//	stream       a CALL that stays open; opener: who has called; DATA: a message of it
//	credit       how much of a stream may be sent, in bytes; window: how much a side is
//	             ready to hold of it
//	bulk         messages of streams from 16 KiB on, which wait for each other
//	hello        what a side understands, in CONTROL hello; cancel: that a caller has given
//	             up, in CONTROL cancel
//	farewell     the last message of a side, in CONTROL bye: which calls it has not run
//	epoch        the number of a connection of its session
//	sweep        what looks at deadlines, once for all sessions of a peer
//	borrowed     memory that is valid until the handler or hook returns; exclusive: nobody
//	             else has it
//	pooled       a value that serves another call later
//
// DESIGN.md records the decisions and their reasons.
package tp
