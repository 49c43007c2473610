package tp

import (
	"bytes"
	"errors"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/bufpool"
	"github.com/teleport-go/teleport/core/internal/inbox"
)

// As many goroutines of a peer decode large arguments at once as can run, so that a flood
// of them does not take the processors, and memory for values that are half decoded, from
// everything else. Large replies are not counted: a caller waits for each.
//
// What an argument or a reply becomes is reserved before it is decoded: codecs measure it
// (codec.Measurer). That of an argument is the request's until its handler has ended.

// decodeLease is how long decoding one argument counts. A codec calls code of the user,
// which may block, even on a call whose handler has a large argument, too: the others go
// on after this time.
const decodeLease = time.Second

// decodeLarge runs bind, which decodes an argument that the reader has left alone, as
// soon as not too many others are decoded. The wait ends: each of those counts for
// decodeLease at most.
func (c *handlerCtx) decodeLarge(bind func() *Rerror) *Rerror {
	if _, bytes := c.in.Body().(*[]byte); bytes {
		return bind() // nothing is decoded
	}
	c.leave = c.sess.env.decoding.Enter()
	defer func() {
		c.leave()
		c.leave = nil
	}()
	if r := c.expired(); r != nil {
		return r
	}
	return bind()
}

// Reserve implements codec.Account. While it waits others are decoded.
func (a *argument) Reserve(n int) error {
	c := (*handlerCtx)(a)
	switch body := len(c.in.RawBody()); {
	case c.cmd != nil: // a small reply, or one for which a hook has put in a value: it is the caller's
		return nil
	case body <= decodeInReader, c.inReader():
		c.take(int64(n), 0)
		return nil
	default:
		n += body // texts are copied
	}
	m := c.sess.env.memory
	claim, err := claimValue(m, c.bytes, n)
	if err != nil {
		return err
	}
	if !claim.Granted() {
		if leave := c.leave; leave != nil {
			leave()
			defer func() { c.leave = c.sess.env.decoding.Enter() }()
		}
		if !claim.Wait(c.ownContext().Done(), c.link.over.Done()) {
			claim.Free()
			return errNoRoom
		}
	}
	c.keep(claim)
	return nil
}

// claimValue claims n bytes for a value that is decoded, for a claimant that holds some.
func claimValue(m *inbox.Memory, held int64, n int) (*inbox.Claim, error) {
	if limit := m.Limit(); limit > 0 && int64(n) > limit {
		return nil, &codec.LimitError{What: "bytes of memory to decode it, of PeerConfig.ReadMemory,", Limit: int(limit), Found: n}
	}
	return m.Claim(inbox.ToBegin, held, int64(n)), nil
}

// decodeReply puts the body of a large reply into the result.
func (cmd *callCmd) decodeReply() *Rerror {
	raw := cmd.large.raw
	if cmd.result == nil || len(raw) == 0 {
		return nil
	}
	if b, ok := cmd.result.(*[]byte); ok {
		switch {
		case b == nil:
		case cmd.over && cap(*b) >= len(raw):
			*b = append((*b)[:0], raw...)
		case cmd.large.exclusive:
			*b = raw
			return nil
		default:
			*b = bytes.Clone(raw)
		}
		cmd.large.free()
		return nil
	}
	c, err := codec.Get(cmd.inCodec)
	if err == nil {
		account := result{cmd: cmd}
		defer account.free()
		err = safely(func() error {
			if c, ok := c.(codec.Measurer); ok {
				return c.DecodeMeasured(raw, cmd.result, 0, &account)
			}
			return c.Unmarshal(raw, cmd.result)
		})
	}
	cmd.large.free()
	if errors.Is(err, errNoRoom) {
		return cmd.waitEnded()
	}
	return badMessage(err)
}

// waitEnded returns why a call does not wait for memory any more.
func (cmd *callCmd) waitEnded() *Rerror {
	if ctx := cmd.out.Context(); ctx.Err() != nil {
		return contextRerror(ctx)
	}
	return cmd.sess.CloseReason().rerror()
}

// free returns the memory of the decoded body to the pool, if this call owns it.
func (l *largeBody) free() {
	if l.exclusive {
		bufpool.Put(l.raw)
	}
}

// result is the account of the value that a large reply is decoded into: it counts while
// that is decoded, and is the caller's then.
type result struct {
	cmd   *callCmd
	claim *inbox.Claim // the last one; nil: nothing was reserved
	bytes int64        // of env.memory for all of them
}

// Reserve implements codec.Account.
func (r *result) Reserve(n int) error {
	cmd := r.cmd
	claim, err := claimValue(cmd.sess.env.memory, cmd.large.bytes+r.bytes, n+len(cmd.large.raw))
	if err != nil {
		return err
	}
	if !claim.Wait(cmd.out.Context().Done(), cmd.sess.done.Done()) {
		claim.Free()
		return errNoRoom
	}
	if r.claim != nil {
		r.claim.Free()
	}
	r.claim = claim
	r.bytes += claim.Take()
	return nil
}

func (r *result) free() {
	if r.claim != nil {
		r.cmd.sess.env.memory.Draw(-r.bytes)
		r.claim.Free()
	}
}

// expired returns an error if the caller does not wait any more.
func (c *handlerCtx) expired() *Rerror {
	if r := c.callerGone(); r != nil {
		return r
	}
	if c.expires == 0 || c.expires > c.sess.env.sweeper.Now() {
		return nil
	}
	return NewRerror(CodeHandleTimeout, CodeText(CodeHandleTimeout), "the caller's deadline had passed before the handler began")
}
