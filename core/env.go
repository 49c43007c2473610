package tp

import (
	"sync"
	"sync/atomic"

	"github.com/teleport-go/teleport/core/internal/inbox"
	"github.com/teleport-go/teleport/core/internal/poller"
	"github.com/teleport-go/teleport/core/internal/sweep"
	"github.com/teleport-go/teleport/core/internal/workers"
)

// env is what all sessions of a peer share. Nothing in it is replaced once the
// first session exists, so a session needs no lock for it, and need not know how
// its peer listens or dials.
type env struct {
	peer     Peer
	cfg      PeerConfig
	network  Network
	log      logger
	plugins  *PluginContainer // the root's
	router   *router
	hub      *hub
	sweeper  *sweep.Sweeper
	workers  *workers.Pool[*handlerCtx]
	memory   *inbox.Memory
	watchdog watchdog
	pollers  []poller.Poller[link, *link]
	guard    guard         // of the hooks of messages
	serial   atomic.Uint32 // of the last session

	// wakes are channels of capacity 1 for callers that wait; the user never sees
	// one. They are the peer's own because a channel must not leave the bubble of
	// testing/synctest that it was made in.
	wakes sync.Pool

	// commands are those that nobody keeps: of PUSHes, and of typed calls, each of
	// which has such a channel already.
	commands sync.Pool

	sessions sync.WaitGroup // every session's goroutine
}

func (e *env) hooks() *hookTable { return e.plugins.hooks() }
