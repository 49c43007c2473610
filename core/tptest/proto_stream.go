package tptest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/prototest"
)

// The service methods of streams.
const (
	chatMethod  = "/tptest/chat"  // sends each message back, and returns at the end of the opener's
	breakMethod = "/tptest/break" // receives a message and fails with the error teapot
	holdMethod  = "/tptest/hold"  // waits for the end of its context
)

type textsOf[T any] struct {
	*tp.Stream[T, *T]
	b bodiesOf[T]
}

func (s textsOf[T]) send(text string) error { return s.Send(s.b.make(text)) }
func (s textsOf[T]) closeSend() error       { return s.CloseSend() }
func (s textsOf[T]) close() error           { return s.Close() }

func (s textsOf[T]) recv() (string, error) {
	v, err := s.Recv()
	if err != nil {
		return "", err
	}
	return s.b.take(v), nil
}

func (b bodiesOf[T]) handleStream(r tp.Router, method string, f func(ctx tp.StreamCtx, s texts) error) {
	tp.HandleStream(r, method, func(ctx tp.StreamCtx, s *tp.Stream[T, *T]) error { return f(ctx, textsOf[T]{s, b}) })
}

func (b bodiesOf[T]) openStream(ctx context.Context, s tp.Session, method string, set ...tp.MessageSetting) (texts, error) {
	st, err := tp.OpenStream[*T, T](ctx, s, method, set...)
	if err != nil {
		return nil, err
	}
	return textsOf[T]{st, b}, nil
}

func (e *end) routeStreams() {
	b := e.s.bodies
	b.handleStream(e.peer, chatMethod, func(_ tp.StreamCtx, s texts) error {
		for {
			text, err := s.recv()
			if err == io.EOF {
				return nil
			}
			if err == nil {
				err = s.send(text)
			}
			if err != nil {
				return err
			}
		}
	})
	b.handleStream(e.peer, breakMethod, func(_ tp.StreamCtx, s texts) error {
		s.recv()
		return teapot().Err()
	})
	b.handleStream(e.peer, holdMethod, func(ctx tp.StreamCtx, s texts) error {
		e.entered <- holdMethod
		<-ctx.Context().Done()
		e.left <- context.Cause(ctx.Context())
		return nil
	})
}

func checkStreams(r *recorder, s *suite) {
	if s.without[prototest.Streams] {
		return
	}
	LeakCheck(r)
	cfg := s.cfg
	cfg.Extensions, cfg.StreamWindow = true, 4000
	g, _ := s.newRig(r, cfg, cfg)
	for _, e := range []*end{g.srv, g.cli} {
		e.routeStreams()
		e.peer.PluginContainer().AppendLeft(tagging())
	}
	for _, e := range g.ends() {
		e[0].echo("before the streams") // an accepted end may not know its peer before it has spoken
		e[1].echo("before the streams")
		e[0].chat("stream")
		if !s.without[prototest.Pipe] {
			e[0].chat("filtered stream", tp.WithXferPipe(testwire.Hex, testwire.Sum))
		}
		e[0].breakStream()
		e[0].holdStream(e[1])
		e[0].echo("after the streams")
	}
}

// tagging adds metadata to some messages of streams: both sides count them.
func tagging() tp.Plugin {
	var n atomic.Int32
	return &tp.PluginImpl{PluginName: "tptest tagging", OnPreWriteData: func(ctx tp.WriteCtx) *tp.Rerror {
		if n.Add(1)%3 == 0 {
			ctx.Output().Meta().Add("tag", "ü &=%+")
			ctx.Output().Meta().Add("tag", "")
		}
		return nil
	}}
}

// open opens a stream.
func (e *end) open(method string, set ...tp.MessageSetting) texts {
	s, err := e.s.bodies.openStream(e.r.Context(), e.sess, method, set...)
	if err != nil {
		e.r.Fatalf("%s side: a stream cannot be opened: %v", e.name, err)
	}
	return s
}

// chat sends messages over a stream and receives them again: small ones, and one that is
// larger than the windows.
func (e *end) chat(what string, set ...tp.MessageSetting) {
	s := e.open(chatMethod, set...)
	for i, text := range []string{"hello", "", "ü, 世界", strings.Repeat("long ", 20_000), "last"} {
		err := s.send(text)
		var got string
		if err == nil {
			got, err = s.recv()
		}
		if err != nil || got != text {
			e.r.Fatalf("%s side: message %d of a %s: got %.60q, error %v; want %.60q", e.name, i, what, got, err, text)
		}
	}
	// They go round while others are sent. If both sides did not count the same bytes, the
	// difference would stop the stream.
	const many = 5000
	text := func(i int) string {
		if i%2 == 0 {
			return ""
		}
		return fmt.Sprint(i)
	}
	sent := make(chan error, 1)
	go func() {
		for i := range many {
			if err := s.send(text(i)); err != nil {
				sent <- err
				return
			}
		}
		sent <- s.closeSend()
	}()
	for i := range many {
		if got, err := s.recv(); err != nil || got != text(i) {
			e.r.Fatalf("%s side: of many messages of a %s number %d is %.60q, error %v", e.name, what, i, got, err)
		}
	}
	if err := receive(e.r, sent, "the end of the sending"); err != nil {
		e.r.Errorf("%s side: many messages of a %s: %v", e.name, what, err)
	}
	if got, err := s.recv(); err != io.EOF {
		e.r.Errorf("%s side: behind the last message of a %s: %.60q, %v; want io.EOF", e.name, what, got, err)
	}
}

// breakStream opens a stream whose handler fails.
func (e *end) breakStream() {
	s := e.open(breakMethod)
	s.send("x")
	_, err := s.recv()
	if got, want := tp.ToRerror(err), teapot(); got == nil || got.Code != want.Code || got.Message != want.Message || got.Reason != want.Reason {
		e.r.Errorf("%s side: a stream whose handler fails ended with %v; want %s", e.name, err, want)
	}
}

// holdStream opens a stream and closes it: that is the end of the handler's context.
func (e *end) holdStream(other *end) {
	s := e.open(holdMethod)
	receive(e.r, other.entered, "the handler of a stream")
	s.close()
	if cause := receive(e.r, other.left, "the end of the handler's context"); !errors.Is(cause, tp.ErrCallerGone) {
		e.r.Errorf("%s side: the handler of a stream that was closed: its context ended with %v; want ErrCallerGone", e.name, cause)
	}
}
