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
// caller's error 500, and the session lives. Who ended a session and why is its
// [CloseReason].
//
// # The road of a call, by file
//
//	call.go    Call → launch → sendCall
//	           socket.Conn: packed into the session's batch, flushed together
//	serve.go   serve → dispatch → handleRequest → (reader ends, worker begins)
//	route.go   header hooks, route
//	serve.go   handle → work → the handler → reply
//	           the way back
//	reply.go   handleReply: who waits for this number?
//	call.go    settle → complete
//
// DESIGN.md records the decisions and their reasons.
package tp
