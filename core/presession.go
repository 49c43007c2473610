package tp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

// This file implements PreSession: the hook of a new connection sends and receives
// messages on its own goroutine, before the reader starts. No other hook runs for
// these messages.

var errNotPreparing = NewRerror(CodeInvalidOp, CodeText(CodeInvalidOp),
	"Cannot be called during the Non-PostDial and Non-PostAccept phase")

// fresh returns the link whose connection hooks run; nil: no such hook runs.
func (s *session) fresh() *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.prep
}

// wired is fresh for what sends and receives: in a Restore hook the connection is still
// another process's.
func (s *session) wired() *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.prepCtx == nil {
		return nil
	}
	return s.prep
}

func (s *session) Context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.prepCtx == nil {
		return context.Background()
	}
	return s.prepCtx
}

func (s *session) GetProtoFunc() ProtoFunc { return s.currentLink().pf }

func (s *session) ModifySocket(fn func(conn net.Conn) (modifiedConn net.Conn, newProtoFunc ProtoFunc)) {
	l := s.fresh()
	if l == nil {
		s.Errorf("ModifySocket: %s", errNotPreparing)
		return
	}
	conn, pf := fn(l.conn)
	if conn == nil && pf == nil {
		return
	}
	if conn == nil {
		conn = l.conn
	}
	if pf == nil {
		pf = l.pf
	}
	limit := uint32(0)
	if s.plan == nil {
		limit = min(preparingLimit, s.env.cfg.MessageSizeLimit)
	}
	rest := l.sock.TakeBuffered()
	old := l.sock
	s.mu.Lock() // guards the address and the connection against concurrent methods
	l.open(conn, pf)
	s.mu.Unlock()
	l.sock.Unread(rest)
	if l.killed.Load() != nil { // the old connection was closed meanwhile
		conn.Close()
	}
	if limit > 0 {
		l.sock.SetLimit(limit)
	}
	old.Release()
}

func (s *session) Send(serviceMethod string, body any, rerr *Rerror, setting ...MessageSetting) *Rerror {
	return s.PreSend(TypeUndefined, serviceMethod, body, rerr, setting...)
}

func (s *session) PreSend(mtype byte, serviceMethod string, body any, rerr *Rerror, setting ...MessageSetting) *Rerror {
	return s.preWrite(s.pending.Next(), mtype, serviceMethod, body, rerr, setting)
}

func (s *session) RawPush(serviceMethod string, arg any, setting ...MessageSetting) *Rerror {
	return s.PreSend(TypePush, serviceMethod, arg, nil, setting...)
}

func (s *session) PreReply(req Message, body any, rerr *Rerror, setting ...MessageSetting) *Rerror {
	mtype := TypeReply
	if req.Mtype() == TypeAuthCall {
		mtype = TypeAuthReply
	}
	all := append([]MessageSetting{func(m Message) {
		if id := req.BodyCodec(); id != codec.NilCodecID && !rerr.HasError() {
			m.SetBodyCodec(id)
		}
		m.XferPipe().AppendFrom(req.XferPipe())
	}}, setting...)
	return s.preWrite(req.Seq(), mtype, "", body, rerr, all)
}

func (s *session) PreCall(serviceMethod string, arg, reply any, setting ...MessageSetting) *Rerror {
	seq := s.pending.Next()
	var ctx context.Context // that a setting may have given
	all := append(slices.Clip(setting), func(m Message) { ctx = m.(*socket.Envelope).GivenContext() })
	if r := s.preWrite(seq, TypeCall, serviceMethod, arg, nil, all); r != nil {
		return r
	}
	c, r := s.preReply(ctx, seq)
	if r != nil {
		return r
	}
	defer putCtx(c)
	if c.in.Rerror().HasError() {
		return c.in.Rerror()
	}
	return c.decode(reply, 0, false, nil)
}

// preReply reads until the reply with this number comes. Requests that come before it
// are kept for the reader.
func (s *session) preReply(ctx context.Context, seq int32) (*handlerCtx, *Rerror) {
	l := s.wired()
	if l == nil {
		return nil, errNotPreparing.Copy()
	}
	for {
		c := getCtx(l)
		r := s.preRead(ctx, &c.in)
		switch {
		case r != nil:
		case c.in.Mtype() == TypeReply && c.in.Seq() == seq:
			return c, nil
		case c.in.Mtype() == TypeCall || c.in.Mtype() == TypePush:
			if r = l.keep(c); r == nil {
				continue
			}
			return nil, r // the request is kept nevertheless
		default:
			r = NewRerror(CodeBadMessage, CodeText(CodeBadMessage),
				fmt.Sprintf("expected the REPLY of seq %d, received %s of seq %d", seq, TypeText(c.in.Mtype()), c.in.Seq()))
		}
		putCtx(c)
		return nil, r
	}
}

// keptOverhead estimates the memory of a kept message besides its frame, in bytes.
const keptOverhead = 512

// keep keeps a request for the reader. All kept requests together may be as large as one message.
func (l *link) keep(c *handlerCtx) *Rerror {
	most := int64(l.env.cfg.MessageSizeLimit)
	if l.sess.plan == nil {
		most = min(most, int64(preparingLimit))
	}
	if l.kept == nil {
		l.kept = new(keptRequests)
	}
	l.kept.list = append(l.kept.list, c)
	l.kept.bytes += int64(c.in.Size()) + keptOverhead
	if l.kept.bytes > most+keptOverhead {
		return NewRerror(CodeBadMessage, CodeText(CodeBadMessage),
			fmt.Sprintf("more than %d bytes of requests have come before the reply", most))
	}
	return nil
}

func (s *session) Receive(newBody NewBodyFunc, setting ...MessageSetting) (Message, *Rerror) {
	m := socket.NewMessage(setting...).(*socket.Envelope)
	m.SetNewBody(newBody)
	return m, s.preRead(m.GivenContext(), m)
}

func (s *session) PreReceive(newBody NewBodyFunc, ctx ...context.Context) Message {
	m := socket.NewMessage(WithNewBody(newBody)).(*socket.Envelope)
	var c context.Context
	if len(ctx) > 0 {
		c = ctx[0]
	}
	if r := s.preRead(c, m); r != nil {
		m.SetRerror(r)
	}
	return m
}

// preWrite sends one message and waits until it is written.
func (s *session) preWrite(seq int32, mtype byte, serviceMethod string, body any, rerr *Rerror, setting []MessageSetting) (r *Rerror) {
	l := s.wired()
	if l == nil {
		return errNotPreparing.Copy()
	}
	defer func() {
		if v := recover(); v != nil {
			r = NewRerror(CodeBadMessage, CodeText(CodeBadMessage), fmt.Sprint(v))
		}
	}()
	m := socket.GetMessage().(*socket.Envelope)
	defer socket.PutMessage(m)
	m.SetMtype(mtype)
	if r := prepareMessage(s, m, serviceMethod, body, setting); r != nil {
		return r
	}
	m.SetSeq(seq)
	if rerr.HasError() {
		m.SetRerror(rerr)
		m.SetBody(nil)
		m.SetBodyCodec(codec.NilCodecID)
	}
	ctx := m.Context()
	err := l.sock.Enqueue(ctx, m)
	if err == nil {
		err = l.sock.WaitFlushed(ctx)
	}
	if err != nil {
		return l.preRerror(ctx, err)
	}
	return nil
}

// preRerror returns the caller's error for a failed write. If this side closed the
// connection, it is the reason for that.
func (l *link) preRerror(ctx context.Context, err error) *Rerror {
	if k := l.killed.Load(); k != nil {
		return k.rerror()
	}
	return writeRerror(ctx, err)
}

// preRead reads one message into m, until ctx ends. The end of the handshake's time
// kills the link, which ends it too.
func (s *session) preRead(ctx context.Context, m *socket.Envelope) (r *Rerror) {
	l := s.wired()
	if l == nil {
		return errNotPreparing.Copy()
	}
	defer func() {
		if v := recover(); v != nil {
			r = NewRerror(CodeBadMessage, CodeText(CodeBadMessage), fmt.Sprint(v))
		}
	}()
	if ctx == nil {
		ctx = context.Background()
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		l.conn.SetReadDeadline(pastTime)
	})
	err := l.sock.Wait()
	for err == nil {
		if err = l.sock.ReadInto(m); err != nil || m.Mtype() != TypeControl {
			break
		}
		l.acceptControl(m) // not for hooks
	}
	if !stop() {
		<-interrupted
		l.conn.SetReadDeadline(time.Time{})
	}
	switch {
	case err == nil:
		m.KeepBody() // the next read would overwrite it
		return nil
	case ctx.Err() != nil:
		return contextRerror(ctx)
	case errors.Is(err, socket.ErrBadMessage), isFrameError(readError(err)):
		return NewRerror(CodeBadMessage, CodeText(CodeBadMessage), err.Error()).WithCause(err)
	}
	if k := l.killed.Load(); k != nil {
		return k.rerror()
	}
	return NewRerror(CodeConnClosed, CodeText(CodeConnClosed), err.Error()).WithCause(err)
}

func isFrameError(err error) bool {
	var bad *frameError
	return errors.As(err, &bad)
}
