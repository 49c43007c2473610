// Package prototest is the conformance suite for protocols:
//
//	func TestConformance(t *testing.T) { prototest.Run(t, NewXProtoFunc()) }
//
// Every check runs over the engine's connection, whose buffers the protocol uses, by
// AppendFrame where the protocol has it and by Pack, and over a plain io.ReadWriter, as
// custom connections are.
//
// A protocol must refuse what it cannot carry: a Pack that fails and writes nothing
// passes wherever a field is at its limit; a Pack that succeeds with a message that
// arrives changed never does.
//
// [Dialects] is further tests, fuzz tests and benchmarks for protocols with dialects.
package prototest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// Feature is something that not every protocol can carry.
type Feature string

const (
	// Pipe: filters. Without it, Pack of a message that has some must fail.
	Pipe Feature = "pipe"
	// Push: messages of type PUSH. Without it, Pack of one must fail.
	Push Feature = "push"
	// Auth: messages of types AUTH_CALL and AUTH_REPLY. Without it, Pack of one
	// must fail.
	Auth Feature = "auth"
	// ReplyMethod: the service method of a reply. Without it, it may be lost.
	ReplyMethod Feature = "reply method"
	// AnyMethod: service methods that are no paths.
	AnyMethod Feature = "any method"
	// AnyMeta: metadata of any bytes, in its order and with keys that repeat.
	// Without it, a few plain pairs must arrive, among others.
	AnyMeta Feature = "any meta"
	// Streams: messages of the types CONTROL and DATA, in sessions of package tptest.
	Streams Feature = "streams"
	// AnyCodec: every body codec id. Without it, that of Base is used.
	AnyCodec Feature = "any codec"
)

// Option describes what is special about a protocol.
type Option func(*suite)

// Without declares that the protocol cannot carry the features.
func Without(features ...Feature) Option {
	return func(s *suite) {
		for _, f := range features {
			s.without[f] = true
		}
	}
}

// Base adds settings to all messages of the suite, before those of a check: for
// protocols that do not accept every codec or service method.
func Base(settings ...socket.MessageSetting) Option {
	return func(s *suite) { s.base = append(s.base, settings...) }
}

// Sided says that the two ends of a connection differ, as those of WebSocket do. Then all
// ends are a [socket.Sider], and the checks run in both directions. The frames of BadFrame
// and LostFrame are those of the end that has dialled.
func Sided() Option { return func(s *suite) { s.sided = true } }

// BadFrame adds a frame that makes no message but has a known end: Unpack must fail with
// socket.ErrBadMessage, and then read the next message.
func BadFrame(name string, frame []byte) Option {
	return func(s *suite) { s.bad = append(s.bad, rawFrame{name, frame}) }
}

// LostFrame adds bytes after which the beginning of the next frame is not known: Unpack
// must fail, and not with socket.ErrBadMessage.
func LostFrame(name string, frame []byte) Option {
	return func(s *suite) { s.lost = append(s.lost, rawFrame{name, frame}) }
}

type rawFrame struct {
	name  string
	bytes []byte
}

// suite is one run: a protocol and what is special about it.
type suite struct {
	pf      socket.ProtoFunc
	without map[Feature]bool
	base    []socket.MessageSetting
	bad     []rawFrame
	lost    []rawFrame
	sided   bool
	patient time.Duration // how long a check may take

	hugeFrames map[bool][][]byte // by way.back; see huge
}

func newSuite(pf socket.ProtoFunc, opts []Option) *suite {
	testwire.Register()
	s := &suite{pf: pf, without: map[Feature]bool{}, patient: time.Minute, hugeFrames: map[bool][][]byte{}}
	for _, set := range opts {
		set(s)
	}
	return s
}

// Run checks the protocol that pf makes.
func Run(t *testing.T, pf socket.ProtoFunc, opts ...Option) {
	s := newSuite(pf, opts)
	for _, w := range s.ways() {
		t.Run(w.name, func(t *testing.T) {
			for _, c := range checks {
				t.Run(c.name, func(t *testing.T) {
					if err := s.try(c, w); err != nil {
						t.Errorf("%v\nThe check: %s", err, c.want)
					}
				})
			}
		})
	}
}

// check is one requirement. Its function returns what is wrong.
type check struct {
	name string
	want string
	run  func(*suite, way) error
}

var checks = []check{
	{"version", "Version has a name, and is the same on all connections", checkVersion},
	{"header", "every field of the header arrives as it was, or Pack fails", checkHeader},
	{"body", "bodies are bytes: whatever is in them arrives", checkBody},
	{"rerror", "the error of a reply arrives, and no other message brings one", checkRerror},
	{"size", "Size is the length of the frame, on both sides", checkSize},
	{"pipe", "filters are named in their order, and applied", checkPipe},
	{"dribble", "a frame may arrive byte by byte", checkDribble},
	{"row", "frames lie one behind the other; at the end Unpack returns io.EOF", checkRow},
	{"cut", "a frame cut at any byte is an error, neither io.EOF nor ErrBadMessage", checkCut},
	{"memory", "memory grows with what has arrived, not with what is announced", checkMemory},
	{"limit", "a frame over the size limit is refused: written not at all, read before memory is taken", checkLimit},
	{"keep", "a whole frame that makes no message is ErrBadMessage, and the next one arrives", checkKeep},
	{"fail", "a Pack that fails leaves nothing behind, and the next one succeeds", checkFail},
	{"write", "a frame is written with one Write", checkWrite},
	{"borrowed", "a body is valid until the next Unpack, and forever once it is kept", checkBorrowed},
	{"ahead", "Unpack may be called again for a frame, if the protocol says so", checkAhead},
	{"carry", "an accepted end goes on in another process, if the protocol says so", checkCarry},
	{"beside", "Pack runs beside Unpack", checkBeside},
	{"together", "many goroutines send at once, and frames stay whole", checkTogether},
}

// try runs a check, and fails if it takes too long.
func (s *suite) try(c check, w way) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic: %v", p)
			}
		}()
		done <- c.run(s, w)
	}()
	timer := time.NewTimer(s.patient)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("hangs: no end after %v", s.patient)
	}
}

// message makes a message of the suite.
func (s *suite) message(settings ...socket.MessageSetting) *socket.Envelope {
	m := new(socket.Envelope)
	m.Reset(append([]socket.MessageSetting{
		socket.WithSeq(7),
		socket.WithMtype(socket.TypeCall),
		socket.WithServiceMethod("/prototest/echo"),
		socket.WithBodyCodec(testwire.Text),
		socket.WithBody([]byte("body")),
	}, append(s.base, settings...)...)...)
	return m
}

// text is what bodies are cut from; see asBytes.
var text = []byte(strings.Repeat("a line of text\n", 5000))

func asBytes(b []byte) socket.MessageSetting { return socket.WithBody(b) }

// piped adds filters, unless the protocol has no pipe.
func (s *suite) piped(ids ...byte) socket.MessageSetting {
	if s.without[Pipe] {
		return nil
	}
	return socket.WithXferPipe(ids...)
}
