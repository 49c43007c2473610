package proxy

import (
	"context"
	"errors"
	"fmt"

	tp "github.com/teleport-go/teleport/core"
)

// StreamForwarder opens streams to a backend. A forwarder of calls that is not a tp.Session
// as a Dial returns it, but one of its own or around that, implements it to forward streams as
// well.
type StreamForwarder interface {
	// OpenStream opens a stream, as tp.OpenStream does. It must apply the settings, and
	// the stream must end with ctx.
	OpenStream(ctx context.Context, serviceMethod string, setting ...tp.MessageSetting) (*tp.Stream[[]byte, []byte], error)
}

// forwardStream opens a stream to the backend, and copies the messages both ways until that
// has ended. The goroutine of the handler copies what comes from the backend.
func (p *plugin) forwardStream(ctx tp.StreamCtx, client *tp.Stream[[]byte, []byte]) error {
	label := labelOf(ctx)
	hops, r := nextHop(ctx)
	if r != nil {
		return r.Err()
	}
	to := p.call(label)
	if to == nil {
		return unserved(label).Err()
	}
	lasting, cancel := context.WithCancelCause(ctx.Context())
	defer cancel(nil)
	setting := []tp.MessageSetting{tp.WithBodyCodec(ctx.GetBodyCodec()), withMeta(ctx, label.RealIP, hops)}
	if body := ctx.InputBodyBytes(); len(body) > 0 {
		setting = append(setting, tp.WithBody(body))
	}
	backend, err := openStream(lasting, to, ctx.ServiceMethod(), setting)
	if err == nil && backend == nil {
		err = badGateway("proxy: the forwarder of " + label.ServiceMethod + " has returned no stream").Err()
	}
	if err != nil {
		return outward(tp.ToRerror(err)).Err()
	}
	failed := errGoexit // of the copying to the backend, unless that returns
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		defer func() {
			if failed != nil {
				cancel(failed) // ends the stream at the backend, unless that is why
			}
		}()
		failed = tp.CopyStream(backend, client)
	}()
	end := func() {
		backend.Close()
		client.Close()
		<-copied
	}
	defer end() // also if a hook ends this goroutine
	err = tp.CopyStream(client, backend)
	if err == nil {
		err = backend.Wait()
	}
	end()
	passMeta(ctx, backend.Call().InputMeta())
	if failed != nil && errors.Is(err, failed) {
		err = failed // and not that the stream was ended for it
	}
	return outward(tp.ToRerror(err)).Err()
}

// errGoexit is the error of a stream whose goroutine to the backend a hook has ended.
var errGoexit = tp.NewRerror(tp.CodeInternalServerError, tp.CodeText(tp.CodeInternalServerError),
	"proxy: a hook of a message to the backend called runtime.Goexit").Err()

func openStream(ctx context.Context, to CallForwarder, serviceMethod string, setting []tp.MessageSetting) (*tp.Stream[[]byte, []byte], error) {
	switch to := to.(type) {
	case StreamForwarder:
		return to.OpenStream(ctx, serviceMethod, setting...)
	case tp.CtxSession:
		return tp.OpenStream[[]byte, []byte](ctx, to, serviceMethod, setting...)
	}
	return nil, tp.NewRerror(tp.CodeNotImplemented, tp.CodeText(tp.CodeNotImplemented),
		fmt.Sprintf("proxy: a %T opens no streams: it is neither a tp.Session nor a StreamForwarder", to)).Err()
}
