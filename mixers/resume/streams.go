package resume

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// Streams makes streams over connections that another package makes, which has a handshake
// of its own. It is what Options.Resume of mixers/websocket wants:
//
//	n := websocket.Network(websocket.Options{Resume: resume.NewStreams(resume.Options{})})
//	peer := tp.NewPeer(tp.PeerConfig{Net: n, ListenPort: 9090})
//
// It is safe for concurrent use. Streams that were accepted end with their sessions; a value
// that is shared by several handlers and peers resumes a stream that began at another one.
type Streams struct {
	o Options   // with the defaults
	l *Listener // that accepts nothing itself: the side of the streams that Accept has begun

	mu        sync.Mutex        // guards listeners
	listeners []*streamListener // open ones, of peers
}

// NewStreams returns streams without any. It panics if the options are invalid.
func NewStreams(o Options) *Streams {
	s := &Streams{o: o.withDefaults()}
	if err := s.o.check(); err != nil {
		panic(err)
	}
	s.l = newSide(&network{o: s.o})
	s.l.ctx, s.l.handBack = context.Background(), s.ask
	return s
}

// Dial makes a stream. Its connections are those of connect, which is called with d at
// first, and whenever the stream has lost its connection, on one goroutine at a time. What
// connect returns is encrypted, if it is to be, and carries bytes.
func (s *Streams) Dial(ctx context.Context, d tp.DialConfig, connect func(context.Context, tp.DialConfig) (net.Conn, error)) (net.Conn, error) {
	n := &network{inner: tp.Network{Name: d.Network, OwnTLS: true, Dial: connect}, o: s.o}
	return n.dialStream(ctx, d)
}

// Accept takes a connection that was accepted, and reads what the other side asks for,
// within ctx. If that is a new stream, Accept returns it. If it is one that was there
// before, that goes on by the connection, and the result is nil. After an error the caller
// closes the connection.
//
// A connection resumes a stream only if its TLS identity is that of the first one, and if
// the values of facts.Swap are equal to those of the first one, compared by ==. So a client
// that the handshake has found to be somebody else cannot use a token that it has stolen.
func (s *Streams) Accept(ctx context.Context, conn net.Conn, facts tp.ConnFacts) (stream net.Conn, err error) {
	c, err := s.l.shake(ctx, conn, arrival{time.Now(), facts.Swap})
	if c == nil || err != nil {
		return nil, err
	}
	return c.asNet(), nil
}

// Listener returns inner as one that a Reboot asks to hand the streams to the new process: the
// package that makes the connections calls it in its Network.Listen, with the argument of that.
// What Accept returns for connections of inner can move then, by its state alone: the client
// connects again, and is resumed by the new process.
//
// A stream moves only if the values of facts.Swap of its first connection, and their keys,
// are of the types string, bool, or of integers, not of types that are defined by them: these
// can be compared with those of a connection to another process. Others stay, and end with
// their process.
func (s *Streams) Listener(inner net.Listener, lc tp.ListenConfig) net.Listener {
	l := &streamListener{inner, s, lc.TLS != nil, lc.HandBack}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, l)
	return l
}

// ask asks the process that a Reboot has replaced by this one whether it has the stream of
// this preamble.
func (s *Streams) ask(ctx context.Context, preamble []byte, conn net.Conn) error {
	s.mu.Lock()
	listeners := slices.Clone(s.listeners)
	s.mu.Unlock()
	for _, l := range listeners {
		if l.handBack != nil && l.handBack(ctx, preamble, conn) == nil {
			return nil
		}
	}
	return errUnknown
}

// streamListener is what Streams.Listener returns.
type streamListener struct {
	net.Listener
	s        *Streams
	tls      bool
	handBack func(ctx context.Context, state []byte, conn net.Conn) error // of tp.ListenConfig; nil: there is no old process
}

var _ tp.HandOverListener = (*streamListener)(nil)

var (
	errUnknown = errors.New(verdictUnknown.String())
	errBelow   = errors.New("resume: a connection has come with the stream, and those of this network cannot cross")
)

// Unwrap returns the inner listener, to be handed to another process.
func (l *streamListener) Unwrap() net.Listener { return l.Listener }

// Restore makes the stream of what Save has returned in another process.
func (l *streamListener) Restore(state []byte, below net.Conn) (tp.HandOverConn, error) {
	s, sent, inbound, err := parseSaved(state)
	switch {
	case err != nil:
		return nil, err
	case below != nil:
		return nil, errBelow
	case (s.TLS != nil) != l.tls:
		return nil, errOneTLS
	}
	return l.s.l.restore(s, sent, inbound, nil)
}

// TakeBack says whether the stream is here: no connection can be handed back.
func (l *streamListener) TakeBack(state []byte, conn net.Conn) (take func(), err error) {
	if conn != nil {
		return nil, errBelow
	}
	return l.s.l.TakeBack(state, nil)
}

// Replaced notes that the streams which have moved are with the new process for good.
func (l *streamListener) Replaced() { l.s.l.Replaced() }

// Close closes the inner listener.
func (l *streamListener) Close() error {
	l.s.mu.Lock()
	l.s.listeners = slices.DeleteFunc(l.s.listeners, func(o *streamListener) bool { return o == l })
	l.s.mu.Unlock()
	return l.Listener.Close()
}

// Held returns how many bytes the stream has memory for: to be sent again, and arrived but
// not read.
func (c *Conn) Held() (sent, arrived int) {
	c.mu.Lock()
	sent = len(c.sent.ring)
	c.mu.Unlock()
	c.rmu.Lock()
	arrived = len(c.inbound) - c.off
	c.rmu.Unlock()
	return sent, arrived
}
