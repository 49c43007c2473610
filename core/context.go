package tp

import (
	"context"
	"crypto/tls"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/poison"
)

const (
	answerOpen uint32 = iota
	answerHandler
	answerSweep
	answerCaller // has given up
)

var (
	_ ReadCtx        = (*handlerCtx)(nil)
	_ WriteCtx       = (*handlerCtx)(nil)
	_ CallCtx        = (*handlerCtx)(nil)
	_ PushCtx        = (*handlerCtx)(nil)
	_ UnknownCallCtx = (*handlerCtx)(nil)
	_ UnknownPushCtx = (*handlerCtx)(nil)
)

var ctxPool sync.Pool

func getCtx(l *link) *handlerCtx {
	c, _ := ctxPool.Get().(*handlerCtx)
	if c == nil {
		c = new(handlerCtx)
		c.equip()
	}
	c.attach(l)
	return c
}

// equip gives the messages of c what belongs to c: again for each message, since user code may
// have called their Reset.
func (c *handlerCtx) equip() {
	c.in.SetInterner((*interner)(c))
	c.in.SetAccount((*argument)(c))
	c.out.SetHolder((*replier)(c))
}

// attach makes the link that of the messages to come.
func (c *handlerCtx) attach(l *link) {
	c.logger, c.sess, c.link = l.sess.logger, l.sess, l
}

// decodeInReader is the largest body that the reader decodes, in bytes: decoding a larger
// one would hold up the next messages.
const decodeInReader = 64 << 10

// putCtx returns c to the pool. No other goroutine may hold it any more.
func putCtx(c *handlerCtx) {
	if c.listed { // else no other goroutine can reach c; only the owner of c writes listed
		c.link.delist(c)
	}
	if c.release != nil {
		c.release.free()
	}
	if poison.On() {
		if !c.in.BodyOwned() { // else the handler may have kept it
			poison.Scribble(c.in.RawBody())
		}
		c.giveBack()
		c.in.Reset()
		c.out.Reset()
		c.sess, c.link = nil, nil
		return // a late use of c panics in live
	}
	c.recycle()
	c.sess, c.link, c.named = nil, nil, nil
	ctxPool.Put(c)
}

// retire ends the use of c for one message. The reader keeps c for the next.
func (c *handlerCtx) retire() {
	if c.release != nil {
		c.release.free()
		c.release = nil
	}
	c.sess = nil // as in the pool: a late use of c panics in live
}

// recycle makes c ready for the next message on the same link.
func (c *handlerCtx) recycle() {
	if c.listed { // a hook has called Context; only the owner of c writes listed
		c.link.delist(c)
	}
	c.in.Clear()
	if c.out.Mtype() != 0 {
		c.out.Clear()
	}
	if c.arrived > 0 || c.claim != nil {
		c.giveBack()
	}
	c.perMessage = perMessage{}
	c.equip()
	if c.answeredBy.Load() != answerOpen { // to store costs as much as all of this
		c.answeredBy.Store(answerOpen)
	}
}

// giveBack ends what the message has of env.memory beside the workload.
func (c *handlerCtx) giveBack() {
	if c.arrived > 0 {
		c.link.env.memory.Draw(-c.arrived)
		c.arrived = 0
	}
	if c.claim != nil {
		c.claim.Free()
		c.claim = nil
	}
}

// kind is the kind of a request.
func (c *handlerCtx) kind() kind {
	if c.in.Mtype() == TypePush {
		return kindPush
	}
	return kindCall
}

// live returns the session. It panics if the handler has returned.
func (c *handlerCtx) live() *session {
	if c.sess == nil {
		panic("tp: a context was used after its handler had returned")
	}
	return c.sess
}

func (c *handlerCtx) Peer() Peer {
	s := c.live()
	c.escape()
	return s.env.peer
}

func (c *handlerCtx) Session() CtxSession {
	s := c.live()
	c.escape()
	return s
}

func (c *handlerCtx) IP() string {
	c.live()
	return c.link.ip
}

func (c *handlerCtx) RealIP() string {
	c.live()
	if f := c.link.facts; f != nil && f.RealIP != "" {
		return f.RealIP
	}
	if c.link.trusted {
		if ip := c.in.Meta().Peek(MetaRealIP); len(ip) > 0 {
			return string(ip)
		}
	}
	return c.link.ip
}

func (c *handlerCtx) ConnectionState() *tls.ConnectionState {
	c.live()
	return c.link.connectionState()
}

func (c *handlerCtx) Swap() *Swap {
	s := c.live()
	if c.cmd != nil {
		return c.cmd.Swap()
	}
	if c.swap == nil {
		c.swap = new(Swap)
		s.Swap().CopyTo(c.swap)
	}
	return c.swap
}

// Context makes the context on demand: most handlers do not use it.
func (c *handlerCtx) Context() context.Context {
	c.live()
	if c.cmd != nil {
		return c.cmd.Context()
	}
	ctx := c.ownContext()
	if given := c.in.GivenContext(); given != nil {
		return valued{ctx, given}
	}
	return ctx
}

// valued is a handler's context with the values that hooks have given the input. The
// values of the handler's context come first: so the context package finds its cancel
// function.
type valued struct {
	context.Context
	values context.Context
}

func (v valued) Value(key any) any {
	if x := v.Context.Value(key); x != nil {
		return x
	}
	return v.values.Value(key)
}

func (c *handlerCtx) ownContext() context.Context {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.ctx != nil {
		return c.ctx
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.limit(earlier(c.expires, c.ageAt))
	l.enlist(c)
	switch {
	case l.dead != nil:
		c.cancel(l.dead)
	case c.answeredBy.Load() == answerCaller:
		c.cancel(ErrCallerGone)
	}
	return c.ctx
}

// limit gives the context a deadline, in the sweeper's time, if there is a context
// and a deadline. A hook may have called Context before the deadline was known; only
// later calls of Context return one with the deadline. The caller holds link.mu.
func (c *handlerCtx) limit(at int64) {
	if c.ctx == nil || at == 0 {
		return
	}
	ctx, stop := context.WithTimeout(c.ctx, time.Duration(at-c.sess.env.sweeper.Now()))
	_ = stop // c.cancel, which ends the parent, releases it
	c.ctx = ctx
}

func (c *handlerCtx) Seq() int32                    { c.live(); return c.in.Seq() }
func (c *handlerCtx) PeekMeta(key string) []byte    { c.live(); return c.in.Meta().Peek(key) }
func (c *handlerCtx) VisitMeta(f func(k, v []byte)) { c.live(); c.in.Meta().VisitAll(f) }

func (c *handlerCtx) CopyMeta() *Meta {
	c.live()
	m := new(Meta)
	c.in.Meta().CopyTo(m)
	return m
}

func (c *handlerCtx) ServiceMethod() string          { c.live(); return c.in.ServiceMethod() }
func (c *handlerCtx) ResetServiceMethod(name string) { c.live(); c.in.SetServiceMethod(name) }
func (c *handlerCtx) UriObject() *url.URL            { c.live(); return c.in.UriObject() }
func (c *handlerCtx) Path() string                   { c.live(); return c.in.RouteKey() }
func (c *handlerCtx) Query() url.Values              { c.live(); return c.in.UriObject().Query() }

func (c *handlerCtx) Input() Message { c.live(); return &c.in }

func (c *handlerCtx) Rerror() *Rerror {
	c.live()
	if c.cmd != nil {
		return c.in.Rerror()
	}
	return c.result
}

// Output returns the reply, which has the request's service method until it is packed,
// or to the hooks of a REPLY the call's request.
func (c *handlerCtx) Output() Message {
	c.live()
	if c.cmd != nil {
		return &c.cmd.out
	}
	if method := c.in.ServiceMethod(); c.out.Mtype() == TypeReply && c.out.ServiceMethod() != method {
		c.out.SetServiceMethod(method)
	}
	return &c.out
}

func (c *handlerCtx) GetBodyCodec() byte { c.live(); return c.in.BodyCodec() }

// ReplyBodyCodec returns the codec that the handler has set, else the one that the
// caller accepts (X-Accept-Body-Codec), else the request's.
func (c *handlerCtx) ReplyBodyCodec() byte {
	c.live()
	if id := c.out.BodyCodec(); id != 0 {
		return id
	}
	if c.in.Meta().Len() > 0 {
		if id, ok := GetAcceptBodyCodec(c.in.Meta()); ok && codecKnown(id) {
			c.out.SetBodyCodec(id)
			return id
		}
	}
	id := c.in.BodyCodec()
	if id == 0 {
		id = c.sess.env.cfg.codecID
	}
	c.out.SetBodyCodec(id)
	return id
}

func (c *handlerCtx) SetBodyCodec(id byte)      { c.live(); c.out.SetBodyCodec(id) }
func (c *handlerCtx) AddMeta(key, value string) { c.live(); c.out.Meta().Add(key, value) }
func (c *handlerCtx) SetMeta(key, value string) { c.live(); c.out.Meta().Set(key, value) }

func (c *handlerCtx) AddXferPipe(filterID ...byte) {
	c.live()
	if err := c.out.XferPipe().Append(filterID...); err != nil {
		panic(err)
	}
}

func (c *handlerCtx) InputBodyBytes() []byte { c.live(); return c.in.KeepBody() }

func (c *handlerCtx) Bind(v any) (byte, error) {
	c.live()
	if c.in.RawBody() == nil && c.in.Body() != nil {
		return 0, nil // decoded already
	}
	if b, ok := v.(*[]byte); ok && b != nil {
		*b = c.in.KeepBody() // the handler owns it, and InputBodyBytes returns the same bytes
		return c.in.BodyCodec(), nil
	}
	return c.in.Bind(v)
}

// decode decodes the body of the message into v. over says that v has served another
// message, memory is what the codec may use for it.
func (c *handlerCtx) decode(v any, mode codec.Mode, over bool, memory *[]byte) *Rerror {
	var err error
	if _, bytes := v.(*[]byte); bytes {
		err = c.bindTo(v, mode, over, memory) // no code of a codec runs
	} else {
		err = c.bindSafely(v, mode, over, memory)
	}
	return badMessage(err)
}

// bindTo is decode, but does not recover from a panic.
func (c *handlerCtx) bindTo(v any, mode codec.Mode, over bool, memory *[]byte) (err error) {
	if over {
		_, err = c.in.BindOver(v, memory, mode)
	} else {
		_, err = c.in.BindMode(v, mode)
	}
	return err
}

// bindSafely is bindTo; a panic of the codec is an error.
func (c *handlerCtx) bindSafely(v any, mode codec.Mode, over bool, memory *[]byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked("codec", v)
		}
	}()
	return c.bindTo(v, mode, over, memory)
}

func codecKnown(id byte) bool {
	_, err := codec.Get(id)
	return err == nil
}

// maxTimeout is the longest time that X-Timeout can say.
const maxTimeout = (1<<31 - 1) * time.Millisecond

// setTimeout tells the peer how long the caller will wait: whole milliseconds,
// rounded up, at least 1.
func setTimeout(meta *Meta, left time.Duration) {
	left = min(left, maxTimeout) // before it is rounded up, which may overflow
	ms := (left + time.Millisecond - 1) / time.Millisecond
	meta.Set(MetaTimeout, strconv.FormatInt(max(1, int64(ms)), 10))
}

// getTimeout reads what setTimeout has written. It ignores anything but a number of
// milliseconds from 1 to 2^31-1.
func getTimeout(meta *Meta) (time.Duration, bool) {
	b := meta.Peek(MetaTimeout)
	if len(b) == 0 || len(b) > 10 {
		return 0, false
	}
	n := int64(0)
	for _, d := range b {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = n*10 + int64(d-'0')
	}
	if n < 1 || n > 1<<31-1 {
		return 0, false
	}
	return time.Duration(n) * time.Millisecond, true
}
