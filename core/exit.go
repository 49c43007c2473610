package tp

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/teleport-go/teleport/core/internal/throttle"
)

// User code (a handler, a hook, a codec, a filter) may end the goroutine that it runs on:
// runtime.Goexit, which t.FailNow calls. That cannot be stopped as a panic can, so what
// was begun is ended by deferred calls, which find out how far it was: abandon of a
// request or of what the reader has accepted, run of a connection. Hooks of connections
// run on goroutines of their own instead (apart).

// abandon is deferred. It ends a request if user code has ended the goroutine before.
// That code may do it again; then the next abandon finds the request a stage further.
func (c *handlerCtx) abandon(now bool) {
	switch c.stage {
	case stageEnded:
		return
	case stageOpen:
		defer c.abandon(now)
		c.link.logExit(fmt.Sprintf("%q", c.in.ServiceMethod()))
		c.answer(nil, goexitRerror())
	case stageReplying:
		defer c.abandon(now)
		c.link.logExit(fmt.Sprintf("the reply to %q", c.in.ServiceMethod()))
		c.replyPlain(goexitRerror(), now)
		if !now {
			c.link.sock.Flush(0)
		}
	case stageAnswered:
		c.logHandled(c.result)
	}
}

// abandon is deferred by the reader. It ends what that has accepted, if user code has
// ended the goroutine before.
func (l *link) abandon() {
	c := l.current
	if c == nil {
		return
	}
	defer l.abandon() // current is nil at the end
	switch {
	case c.cmd != nil:
		l.logExit(fmt.Sprintf("the reply to %q", c.cmd.method))
		l.current = nil
		cmd := c.cmd
		putCtx(c)
		cmd.resolve(goexitRerror())
		l.sess.becameIdle()
	case c.stage == stageOpen:
		l.logExit(fmt.Sprintf("%q", c.in.ServiceMethod()))
		if c.refuse(goexitRerror(), l.sess.work.running()) == reuse {
			putCtx(c)
		}
	default:
		l.current = nil
		defer func() {
			n := c.bytes
			putCtx(c)
			l.sess.handlerDone(n)
		}()
		c.abandon(true)
	}
}

// logExit says where a goroutine was ended; the stack says by whom.
func (l *link) logExit(where string) {
	e := l.env
	e.throttled(&l.sess.failures, throttle.Burst, ERROR, "%s from %s: %v (runtime.Goexit)\n%s", where, l.ip, errExit, debug.Stack())
}

// apart runs user code on a goroutine of its own and waits for it. If it panics, or ends
// that goroutine, ok is false and the error 500.
func (g guard) apart(where string, f func() *Rerror) (r *Rerror, ok bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if v := recover(); v != nil {
				r = g.rerror(where, v)
			} else if !ok {
				g.log.Errorf("%s: %v (runtime.Goexit)\n%s", where, errExit, debug.Stack())
				r = goexitRerror()
			}
		}()
		r = f()
		ok = true
	}()
	<-done
	return r, ok
}

// guardLines limits what Guard logs, since the other side of a connection may cause it: a
// *throttle.Throttle for each text that says what was guarded.
var guardLines sync.Map

// Guard runs f, which calls what others have written, such as a function of a TLS
// configuration, on a goroutine of its own, and waits for it. If f panics, or ends that
// goroutine by [runtime.Goexit], the error says so of what, and is logged with the stack at
// ERROR, ten times a second at most for each what, of which a program has a few; log may be
// nil. A [Network] needs it on goroutines of its own: what the engine calls of a network and of
// a TLS configuration it guards itself. Guard may be called concurrently.
func Guard(log Logger, what string, f func() error) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		returned := false
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("%s panicked: %v", what, v)
			} else if !returned {
				err = fmt.Errorf("%s has ended its goroutine (runtime.Goexit)", what)
			} else {
				return
			}
			if log == nil {
				return
			}
			lines, _ := guardLines.LoadOrStore(what, new(throttle.Throttle))
			if _, ok := lines.(*throttle.Throttle).Pass(time.Now().UnixNano(), throttle.Burst); ok {
				log.Errorf("%v\n%s", err, debug.Stack())
			}
		}()
		err = f()
		returned = true
	}()
	<-done
	return err
}
