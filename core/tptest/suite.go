package tptest

import (
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/prototest"
)

// Feature is something that not every protocol can carry, and not every network.
// Of package prototest's RunProto knows Pipe, Push, Auth and AnyMeta; they mean
// the same here.
type Feature = prototest.Feature

// Stream, of RunNetwork: a Read may take a part of what a Write has written, and
// writes may be of any size. Without it (as with unixpacket) the suite writes at
// most 16 KiB at once, and reads with room for it.
const Stream Feature = "stream"

// Option says what is special about what a suite runs with.
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

// Codec sets the body codec by its name, which must be registered and encode
// strings. The default is one of the core's own, like json.
func Codec(name string) Option {
	return Bodies(name,
		func(text string) *string { return &text },
		func(v *string) string { return *v })
}

// Bodies sets the body codec by its name, and what bodies are: the suite wants
// to send texts, wrap makes a body of one and text takes it out again. It is for
// codecs that are not content with strings. Both are called concurrently.
func Bodies[T any](codec string, wrap func(text string) *T, text func(body *T) string) Option {
	return func(s *suite) { s.codec, s.bodies = codec, bodiesOf[T]{wrap, text} }
}

// Config sets what the suite's peers are made with. Network, addresses, logger,
// and for RunProto the protocol are the suite's; single checks also change ages,
// redialling and HidePanics.
func Config(cfg tp.PeerConfig) Option {
	return func(s *suite) { s.cfg = cfg }
}

// Gate is for RunPlugin: the plugin may refuse calls and pushes. What is refused
// must be so with an error, and at once.
func Gate() Option { return func(s *suite) { s.gate = true } }

// Paired is for RunPlugin: the plugin works only if both sides have it.
func Paired() Option { return func(s *suite) { s.paired = true } }

// DialSide is for RunPlugin: what the dialling side gets, where newPlugin is for
// the accepting side alone. It implies Paired.
func DialSide(newPlugin func() tp.Plugin) Option {
	return func(s *suite) { s.paired, s.dialSide = true, newPlugin }
}

// suite is one run: what is tested and what is special about it.
type suite struct {
	without map[Feature]bool
	cfg     tp.PeerConfig
	codec   string
	bodies  bodies
	patient time.Duration // how long a check may take

	pf tp.ProtoFunc // of RunProto

	newPlugin, dialSide func() tp.Plugin // of RunPlugin
	gate, paired        bool

	net *netUnderTest // of RunNetwork
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

// bodies are how texts travel.
type bodies interface {
	handleCall(r tp.Router, method string, f func(ctx tp.CallCtx, text string) (string, error), plugin ...tp.Plugin)
	handlePush(r tp.Router, method string, f func(ctx tp.PushCtx, text string), plugin ...tp.Plugin)
	wrap(text string) any
	empty() any // what a body is decoded into
	text(body any) string
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
