package tp

import (
	"errors"
	"fmt"

	"github.com/teleport-go/teleport/core/internal/inbox"
	"github.com/teleport-go/teleport/core/internal/throttle"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

// unreadable handles an error of reading a message. A message of which enough is known
// goes on, with the error as its refusal: so a CALL is answered, and a REPLY is an error
// of its call. Any other is dropped, but that a call waits for it must not be: then, and
// when it is over the limit, fatal ends the connection.
func (c *handlerCtx) unreadable(err error) (dropped bool, fatal error) {
	s := c.sess
	var refusal *socket.Refusal
	switch {
	case errors.As(err, &refusal):
		if errors.Is(err, socket.ErrUnsupportedProto) {
			c.link.refusedFirst(err)
		} else {
			s.Debugf("refused a message from %s: %s", c.link.ip, brief(err.Error()))
		}
		c.refusal = refusal.Rerror
		return false, nil
	case !errors.Is(err, socket.ErrBadMessage) || errors.Is(err, socket.ErrSizeLimit) || errors.Is(err, inbox.ErrMemory):
		fatal = readError(err)
		if _, frame := fatal.(*frameError); frame && !c.link.sock.Heard() {
			c.link.refusedFirst(err)
		}
		return false, fatal
	case c.identified():
		c.refusal = badMessage(err)
		return false, nil
	case errors.Is(err, xfer.ErrTooLarge):
		return false, &frameError{err}
	case s.pending.Len() > 0:
		return false, &frameError{fmt.Errorf("a message that may be the reply to a pending call cannot be read: %w", err)}
	case c.link.hasStreams():
		return false, &frameError{fmt.Errorf("a message that may be one of an open stream cannot be read: %w", err)}
	}
	s.env.stats.droppedMessages.Add(1)
	s.env.throttled(&s.drops, throttle.Burst, WARNING, "dropped a message from %s: %v", c.link.ip, err)
	return true, nil
}

// identified reports whether it is known what the message is, and of which call.
func (c *handlerCtx) identified() bool {
	switch c.in.Mtype() {
	case TypeCall, TypeReply, TypeAuthCall, TypeAuthReply, TypeData:
		return c.in.Seq() != 0
	}
	return c.in.Mtype() == TypePush
}
