package tptest

import (
	"context"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/prototest"
)

// Feature is an optional ability of a protocol or a network. RunProto knows Pipe, Push,
// Auth, AnyMeta and Streams of package prototest, with the same meaning.
type Feature = prototest.Feature

// Features for RunNetwork.
const (
	// Stream: a Read may return a part of the bytes of a Write, and writes may have any
	// size. Without it (as with unixpacket) the suite writes at most 16 KiB at once, and
	// reads with a larger buffer.
	Stream Feature = "stream"
	// Deadlines: what a deadline has ended fails with os.ErrDeadlineExceeded, and can be
	// tried again. Without it sessions over the network have no WriteTimeout, and hooks
	// that wait for a message cannot be ended.
	Deadlines Feature = "deadlines"
	// End: the other end reads what was written before Close, and then io.EOF. Without it
	// last messages may be lost, and a peer that has gone is noticed by IdleTimeout or a
	// heartbeat.
	End Feature = "end"
	// Silent: a connection is accepted although the end that has dialled sends nothing.
	// Without it sessions that only listen do not exist.
	Silent Feature = "silent"
)

// Option configures a suite.
type Option func(*suite)

// Without says that the protocol or network lacks the features:
//
//	tptest.RunProto(t, pf, tptest.Without(prototest.Pipe))
func Without(features ...Feature) Option {
	return func(s *suite) {
		for _, f := range features {
			s.without[f] = true
		}
	}
}

// Codec sets the body codec by its name. It must be registered and able to encode
// strings. The default is a JSON codec of the core's own.
func Codec(name string) Option {
	return Bodies(name,
		func(text string) *string { return &text },
		func(v *string) string { return *v })
}

// Bodies sets the body codec by its name, and the type of bodies. It is for codecs that
// cannot encode strings: wrap makes a body from a text, and text returns the text of a
// body. Both are called concurrently.
func Bodies[T any](codec string, wrap func(text string) *T, text func(body *T) string) Option {
	return func(s *suite) { s.codec, s.bodies = codec, bodiesOf[T]{wrap, text} }
}

// Config sets the configuration of the suite's peers. The suite itself sets network,
// addresses and logger, and RunProto the protocol; some checks also change ages,
// redialling and HidePanics.
func Config(cfg tp.PeerConfig) Option {
	return func(s *suite) { s.cfg = cfg }
}

// Handshake is for RunNetwork: the Network.Handshake of the suite's peers.
func Handshake(f func(ctx context.Context, h *tp.Handshake) error) Option {
	return func(s *suite) { s.handshake = f }
}

// Gate is for RunPlugin: the plugin may refuse calls and pushes, with an error and at
// once.
func Gate() Option { return func(s *suite) { s.gate = true } }

// Paired is for RunPlugin: the plugin works only if both sides have it.
func Paired() Option { return func(s *suite) { s.paired = true } }

// DialSide is for RunPlugin: it sets the plugin of the dialling side, if newPlugin is for
// the accepting side only. It implies Paired.
func DialSide(newPlugin func() tp.Plugin) Option {
	return func(s *suite) { s.paired, s.dialSide = true, newPlugin }
}

// suite is one run of a suite: what is tested, and the options.
type suite struct {
	without map[Feature]bool
	cfg     tp.PeerConfig
	codec   string
	bodies  bodies
	patient time.Duration // how long a check may take

	pf tp.ProtoFunc // of RunProto

	newPlugin, dialSide func() tp.Plugin // of RunPlugin
	gate, paired        bool

	net       *netUnderTest // of RunNetwork
	handshake func(context.Context, *tp.Handshake) error
}

func newSuite(opts []Option) *suite {
	testwire.Register()
	s := &suite{without: map[Feature]bool{}, patient: time.Minute}
	Codec(codecName)(s)
	for _, set := range opts {
		set(s)
	}
	return s
}

// bodies converts texts to bodies and back.
type bodies interface {
	handleCall(r tp.Router, method string, f func(ctx tp.CallCtx, text string) (string, error), plugin ...tp.Plugin)
	handlePush(r tp.Router, method string, f func(ctx tp.PushCtx, text string), plugin ...tp.Plugin)
	handleStream(r tp.Router, method string, f func(ctx tp.StreamCtx, s texts) error)
	openStream(ctx context.Context, s tp.Session, method string, set ...tp.MessageSetting) (texts, error)
	wrap(text string) any
	empty() any // returns the value to decode a body into
	text(body any) string
}

// texts is a stream of bodies that stand for texts.
type texts interface {
	send(text string) error
	recv() (string, error)
	closeSend() error
	close() error
}

type bodiesOf[T any] struct {
	make func(string) *T
	take func(*T) string
}

func (b bodiesOf[T]) handleCall(r tp.Router, method string, f func(tp.CallCtx, string) (string, error), plugin ...tp.Plugin) {
	tp.HandleCall(r, method, func(ctx tp.CallCtx, arg *T) (*T, error) {
		text, err := f(ctx, b.take(arg))
		if err != nil {
			return nil, err
		}
		return b.make(text), nil
	}, plugin...)
}

func (b bodiesOf[T]) handlePush(r tp.Router, method string, f func(tp.PushCtx, string), plugin ...tp.Plugin) {
	tp.HandlePush(r, method, func(ctx tp.PushCtx, arg *T) error {
		f(ctx, b.take(arg))
		return nil
	}, plugin...)
}

func (b bodiesOf[T]) wrap(text string) any { return b.make(text) }
func (b bodiesOf[T]) empty() any           { return new(T) }
func (b bodiesOf[T]) text(body any) string { return b.take(body.(*T)) }
