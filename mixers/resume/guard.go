package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// The engine guards what it calls of others, and this package what it calls on goroutines of
// its own: the inner network, and functions of the TLS configuration.

// A guard turns a panic into an error, and logs its stack.
type guard struct{ log tp.Logger } // may be nil

// panicPause is how long after a panic the stacks of others are not logged: the other side
// may cause one by each connection.
const panicPause = time.Second

// lastPanic is when a stack was logged, in nanoseconds since 1970.
var lastPanic atomic.Int64

// call runs f on a goroutine of its own, which f may end, and waits for it.
func (g guard) call(what string, f func() error) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = fmt.Errorf("resume: %s has ended its goroutine (runtime.Goexit)", what)
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("resume: %s panicked: %v", what, v)
				g.logPanic(err)
			}
		}()
		err = f()
	}()
	<-done
	return err
}

func (g guard) logPanic(err error) {
	now, last := time.Now().UnixNano(), lastPanic.Load()
	if g.log != nil && now-last >= int64(panicPause) && lastPanic.CompareAndSwap(last, now) {
		g.log.Errorf("%v\n%s", err, debug.Stack())
	}
}

// dial calls the Dial of a network.
func (g guard) dial(ctx context.Context, n tp.Network, d tp.DialConfig) (conn net.Conn, err error) {
	err = g.call("Dial of the network "+n.Name, func() (err error) { conn, err = n.Dial(ctx, d); return err })
	if err == nil && conn == nil {
		err = errNoConn
	}
	return conn, err
}

// accept calls the Accept of the listener of a network.
func (g guard) accept(n tp.Network, l net.Listener) (conn net.Conn, err error) {
	err = g.call("Accept of the network "+n.Name, func() (err error) { conn, err = l.Accept(); return err })
	if err == nil && conn == nil {
		err = errNoConn
	}
	return conn, err
}

var errNoConn = errors.New("resume: the inner network has returned no connection")

// handshake runs the handshake of TLS.
func (g guard) handshake(ctx context.Context, c *tls.Conn) error {
	return g.call("a function of the TLS configuration", func() error { return c.HandshakeContext(ctx) })
}
