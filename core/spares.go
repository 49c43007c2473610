package tp

import "github.com/teleport-go/teleport/core/internal/poller"

// spares are what a connection that a poll loop serves leaves for the next one: they do not
// go through the pools, and are in the cache.
type spares struct {
	c   *handlerCtx // recycled; nil: there is none
	buf []byte      // an empty read buffer; nil: there is none
}

// sparesOf returns the spares of the poll loop that the goroutine runs, nil if it runs none,
// or none any more. Only that goroutine calls it.
func sparesOf(loop *poller.Loop) *spares {
	if loop == nil {
		return nil
	}
	if loop.Detached() {
		loop.Local = nil // the goroutine is a session's own, and may wait for long
		return nil
	}
	sp, _ := loop.Local.(*spares)
	if sp == nil {
		sp = new(spares)
		loop.Local = sp
	}
	return sp
}

// lend gives the buffer to a connection that the loop serves.
func (sp *spares) lend(l *link) {
	l.sock.Lend(sp.buf)
	sp.buf = nil
}
