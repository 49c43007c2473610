// Package evio serves sessions on event loops, as the mixer evio of v5 and v7 does: a
// server has so many loops, each with a listener of the same port, and no session has a
// goroutine or a buffer while nothing comes.
//
//	srv := evio.NewServer(0, tp.PeerConfig{ListenPort: 9090}) // a loop per processor
//	tp.HandleCall(srv, "/math/add", add)
//	log.Fatal(srv.ListenAndServe())
//
// The loops are those that the engine has on Linux; the package only turns them on, by
// [tp.PeerConfig].Loops. So protocols, TLS, session and context ages, limits and hooks work as
// for every peer, and the wire is the same. On other systems a server is a peer like any
// other.
//
// Whatever may block leaves its loop: a handler that takes longer than some microseconds
// runs on another goroutine, and hooks of messages without the method NonBlocking make a
// goroutine a session of all sessions.
package evio
