package browsers

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// echo sends each message back behind a prefix, and returns at the end of the opener's.
func echo[T any](s *tp.Stream[T, T], change func(T) T) error {
	for v, err := range s.All() {
		if err == nil {
			err = s.Send(change(*v))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// registerStreams registers the handlers of streams of cases.js.
func (h *handlers) registerStreams(peer tp.Peer) {
	tp.HandleStream(peer, "/chat", func(ctx tp.StreamCtx, s *tp.Stream[string, string]) error {
		var prefix string
		if _, err := ctx.Bind(&prefix); err != nil {
			return err
		}
		ctx.SetMeta("who", string(ctx.PeekMeta("who"))+" to "+ctx.Query().Get("to"))
		return echo(s, func(text string) string { return prefix + text })
	})
	tp.HandleStream(peer, "/bytes/echo", func(_ tp.StreamCtx, s *tp.Stream[[]byte, []byte]) error {
		return echo(s, func(b []byte) []byte { return b })
	})
	tp.HandleStream(peer, "/json/echo", func(_ tp.StreamCtx, s *tp.Stream[json.RawMessage, json.RawMessage]) error {
		return echo(s, func(b json.RawMessage) json.RawMessage { return b })
	})
	tp.HandleStream(peer, "/count", func(ctx tp.StreamCtx, s *tp.Stream[any, int]) error {
		var n int
		if err := json.Unmarshal([]byte(ctx.Query().Get("n")), &n); err != nil {
			return err
		}
		for i := range n {
			if err := s.Send(i); err != nil {
				return err
			}
		}
		return nil
	})
	tp.HandleStream(peer, "/total", func(_ tp.StreamCtx, s *tp.Stream[int, int]) error {
		sum := 0
		for v, err := range s.All() {
			if err != nil {
				return err
			}
			sum += *v
		}
		return s.Send(sum)
	})
	tp.HandleStream(peer, "/flood", func(ctx tp.StreamCtx, s *tp.Stream[any, string]) error {
		var key string
		if _, err := ctx.Bind(&key); err != nil {
			return err
		}
		for range 500 {
			if err := s.Send(strings.Repeat("x", 1000)); err != nil {
				return err
			}
			locked(h, func() int { h.flooded[key]++; return 0 })
		}
		return nil
	})
	tp.HandleCall(peer, "/flooded", func(_ tp.CallCtx, key *string) (int, error) {
		return locked(h, func() int { return h.flooded[*key] }), nil
	})
	tp.HandleStream(peer, "/failing", func(_ tp.StreamCtx, s *tp.Stream[string, string]) error {
		if err := s.Send("last words"); err != nil {
			return err
		}
		return tp.NewRerror(777, "no", "because").Err()
	})
	tp.HandleStream(peer, "/hold", func(ctx tp.StreamCtx, s *tp.Stream[string, string]) error {
		var key string
		if _, err := ctx.Bind(&key); err != nil {
			return err
		}
		var n int
		if err := json.Unmarshal([]byte(ctx.Query().Get("n")), &n); err != nil {
			return err
		}
		for i := 0; i < n && s.Send("held") == nil; i++ { // which fails when the caller has given up
		}
		<-ctx.Context().Done()
		return locked(h, func() error { h.ended[key] = context.Cause(ctx.Context()).Error(); return nil })
	})
	tp.HandleCall(peer, "/openstream", h.openStream)
}

// openStream opens a stream to the client, and returns what it receives for the texts; an
// error has that in its reason.
func (h *handlers) openStream(ctx tp.CallCtx, arg *struct {
	Route string
	Texts []string
	Ms    int
}) (got []string, err error) {
	call, cancel := context.WithTimeout(ctx.Context(), time.Minute)
	if arg.Ms > 0 {
		call, cancel = context.WithTimeout(ctx.Context(), time.Duration(arg.Ms)*time.Millisecond)
	}
	defer cancel()
	s, err := tp.OpenStream[string, string](call, ctx.Session(), arg.Route, tp.WithBody("hello"))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for _, text := range arg.Texts {
		if err := s.Send(text); err != nil {
			return nil, err
		}
	}
	if err := s.CloseSend(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for v, err := range s.All() {
		if err != nil {
			r := tp.ToRerror(err)
			return nil, tp.NewRerror(r.Code, r.Message, r.Reason+": "+strings.Join(got, " ")).Err()
		}
		got = append(got, *v)
	}
	return got, nil
}
