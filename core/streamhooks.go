package tp

import (
	"context"
	"crypto/tls"
	"net/url"

	"github.com/teleport-go/teleport/core/socket"
)

var (
	_ ReadCtx  = (*dataCtx)(nil)
	_ WriteCtx = (*dataCtx)(nil)
	_ DataCtx  = (*dataCtx)(nil)
)

// dataCtx is the context of the hooks of a message of a stream, and of the end of one side's
// messages. Service method and Swap are those of the CALL; nothing of it is the message's but
// Input, Output, Seq, Number and the metadata.
type dataCtx struct {
	logger
	st     *stream
	m      *socket.Envelope
	number int64
}

func (st *stream) hookCtx(m *socket.Envelope, number int64) *dataCtx {
	return &dataCtx{st.sess.logger, st, m, number}
}

func (c *dataCtx) Number() int64 { return c.number }

func (c *dataCtx) Peer() Peer          { return c.st.sess.env.peer }
func (c *dataCtx) Session() CtxSession { return c.st.sess }
func (c *dataCtx) IP() string          { return c.st.link.ip }

func (c *dataCtx) RealIP() string {
	if c.st.cmd != nil {
		return c.st.link.ip
	}
	return c.st.realIP
}

func (c *dataCtx) ConnectionState() *tls.ConnectionState { return c.st.link.connectionState() }

func (c *dataCtx) Swap() *Swap {
	if c.st.cmd != nil {
		return c.st.cmd.Swap()
	}
	return c.st.swap
}

func (c *dataCtx) Context() context.Context      { return c.st.ctx }
func (c *dataCtx) Output() Message               { return c.m }
func (c *dataCtx) Input() Message                { return c.m }
func (c *dataCtx) Rerror() *Rerror               { return nil }
func (c *dataCtx) Seq() int32                    { return c.m.Seq() }
func (c *dataCtx) PeekMeta(key string) []byte    { return c.m.Meta().Peek(key) }
func (c *dataCtx) VisitMeta(f func(k, v []byte)) { c.m.Meta().VisitAll(f) }

func (c *dataCtx) CopyMeta() *Meta {
	m := new(Meta)
	c.m.Meta().CopyTo(m)
	return m
}

func (c *dataCtx) ServiceMethod() string {
	if c.st.cmd != nil {
		return c.st.cmd.method
	}
	return c.st.method
}

// ResetServiceMethod does nothing: the stream has its route.
func (c *dataCtx) ResetServiceMethod(string) {}

func (c *dataCtx) UriObject() *url.URL {
	var m socket.Envelope
	m.SetServiceMethod(c.ServiceMethod())
	return m.UriObject()
}

func (c *dataCtx) Path() string      { return c.UriObject().Path }
func (c *dataCtx) Query() url.Values { return c.UriObject().Query() }

// receivedMessage makes a message of d, and runs its hooks.
func (st *stream) receivedMessage(d *datum) (m *socket.Envelope, r *Rerror) {
	m = &st.in
	m.Clear()
	m.SetMtype(TypeData)
	m.SetSeq(-st.key)
	m.SetBodyCodec(d.codec)
	if d.meta != nil {
		d.meta.CopyTo(m.Meta())
	}
	m.UnmarshalBody(d.body)
	if d.own {
		m.OwnBody()
	}
	if len(st.hooks.postReadData) > 0 {
		r = st.hooks.postReadData.run(st.sess.env.guard, st.hookCtx(m, st.received+1))
	}
	return m, r
}
