package resume

import (
	"context"
	"net"
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
}

// NewStreams returns streams without any. It panics if the options are invalid.
func NewStreams(o Options) *Streams {
	s := &Streams{o: o.withDefaults()}
	if err := s.o.check(); err != nil {
		panic(err)
	}
	s.l = &Listener{
		n: &network{o: s.o}, ctx: context.Background(),
		streams: map[tokenHash]*Conn{}, missing: map[*Conn]*absent{},
	}
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
