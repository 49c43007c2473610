package tp

import "time"

// As many goroutines of a peer decode large arguments at once as can run, so that a flood
// of them does not take the processors, and memory for values that are half decoded, from
// everything else. Large replies are not counted: a caller waits for each.

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
	defer c.sess.env.decoding.Enter()()
	if r := c.expired(); r != nil {
		return r
	}
	return bind()
}

// expired returns an error if the caller does not wait any more.
func (c *handlerCtx) expired() *Rerror {
	if c.expires == 0 || c.expires > c.sess.env.sweeper.Now() {
		return nil
	}
	return NewRerror(CodeHandleTimeout, CodeText(CodeHandleTimeout), "the caller's deadline had passed before the handler began")
}
