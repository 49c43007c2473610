package quic

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	tp "github.com/teleport-go/teleport/core"
)

// listener accepts connections whose stream has come.
type listener struct {
	socket *socket
	quic   *quicgo.Listener
	limit  time.Duration // of a handshake
	log    tp.Logger     // may be nil

	accepted chan *Conn
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	tasks    sync.WaitGroup // run and its welcomes

	mu   sync.Mutex
	live map[*Conn]bool // accepted ones; false: closed, and not ended
}

func (n *network) listen(l tp.ListenConfig) (*listener, error) {
	if l.LocalIP == "" {
		l.LocalIP = "0.0.0.0"
	}
	name := net.JoinHostPort(l.LocalIP, strconv.Itoa(int(l.ListenPort)))
	if l.TLS == nil {
		return nil, fmt.Errorf("tp: listen quic %s: %w", name, errNoTLS)
	}
	addr, err := net.ResolveUDPAddr("udp", name)
	if err != nil {
		return nil, listenError(name, err)
	}
	limit := handshakeTimeout(l.HandshakeTimeout)
	s, err := (&pool{}).open(addr, func(t *quicgo.Transport) {
		t.VerifySourceAddress = new(handshakes).many
	})
	if err != nil {
		return nil, listenError(name, err)
	}
	s.transport.StatelessResetKey = resetKey(l.TLS, s.udp.LocalAddr())
	q, err := s.transport.Listen(serverTLS(l.TLS, l.Logger), n.config(false, limit))
	if err != nil {
		s.release()
		return nil, listenError(name, err)
	}
	lis := &listener{socket: s, quic: q, limit: limit, log: l.Logger, accepted: make(chan *Conn), live: map[*Conn]bool{}}
	lis.ctx, lis.cancel = context.WithCancel(context.Background())
	for range acceptors {
		lis.tasks.Go(lis.run)
	}
	return lis, nil
}

// serverTLS adds to the user's configuration what QUIC needs, and guards its functions.
func serverTLS(c *tls.Config, log tp.Logger) *tls.Config {
	c = c.Clone()
	c.MinVersion = tls.VersionTLS13
	c.NextProtos = []string{protocol, protocolV7}
	if choose := c.GetConfigForClient; choose != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := choose(hello)
			if c == nil || err != nil {
				return nil, err
			}
			return serverTLS(c, log), nil
		}
	}
	guardTLS(c, log)
	return c
}

// resetKey returns the key by which a server that was killed and is back tells its clients
// that their connections are gone (RFC 9000 §10.3): it is the same after a restart. It is
// derived from the private key, and not the same for another address or host: two servers
// with the same key could be used to end each other's connections (§21.11). Without it
// clients notice after the idle timeout.
func resetKey(c *tls.Config, addr net.Addr) *quicgo.StatelessResetKey {
	if len(c.Certificates) == 0 {
		return nil
	}
	secret, err := x509.MarshalPKCS8PrivateKey(c.Certificates[0].PrivateKey)
	if err != nil {
		return nil // the private key is in hardware
	}
	host, err := os.Hostname()
	if err != nil {
		return nil
	}
	h := hmac.New(sha256.New, secret)
	fmt.Fprintf(h, "teleport quic stateless reset\n%s\n%s", host, addr)
	return (*quicgo.StatelessResetKey)(h.Sum(nil))
}

// handshakes counts the handshakes that begin in a second.
type handshakes struct {
	mu     sync.Mutex
	second int64
	begun  int
}

// trustedHandshakes is how many handshakes a second begin without a proof that the
// client receives at its address: a flood from forged addresses costs no more of them.
const trustedHandshakes = 200

// many reports whether a client must prove its address, which costs it a round trip.
func (h *handshakes) many(net.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now().Unix(); now != h.second {
		h.second, h.begun = now, 0
	}
	h.begun++
	return h.begun > trustedHandshakes
}

// acceptors is how many goroutines take connections. quic-go refuses a connection whose
// handshake is complete if 32 others wait to be taken: on a busy machine a single goroutine
// is late for a burst of dials.
const acceptors = 64

// run takes the connections whose handshake is complete, until the listener is closed.
func (l *listener) run() {
	for {
		conn, err := l.quic.Accept(l.ctx)
		if err != nil {
			return
		}
		l.tasks.Go(func() { l.welcome(conn) })
	}
}

// welcome waits for the stream of a connection, and hands the connection to Accept.
func (l *listener) welcome(conn *quicgo.Conn) {
	stream, err := l.firstStream(conn)
	if err != nil {
		if l.ctx.Err() == nil && l.log != nil {
			l.log.Debugf("refused the QUIC connection of %s: %s", conn.RemoteAddr(), refusal(err))
		}
		conn.CloseWithError(codeBroken, refusal(err))
		return
	}
	l.socket.use()
	c := newConn(conn, stream, l.socket, l)
	l.mu.Lock()
	l.live[c] = true
	l.mu.Unlock()
	select {
	case l.accepted <- c:
	case <-l.ctx.Done():
		c.Close()
	}
}

// firstStream waits for the stream, and reads its first byte unless the client is v7.
// That sends nothing until it has something to say; so it may take as long as it keeps the
// connection.
func (l *listener) firstStream(conn *quicgo.Conn) (*quicgo.Stream, error) {
	if conn.ConnectionState().TLS.NegotiatedProtocol == protocolV7 {
		return conn.AcceptStream(l.ctx)
	}
	limit := time.Now().Add(l.limit)
	ctx, cancel := context.WithDeadline(l.ctx, limit)
	defer cancel()
	stream, err := conn.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	var first [1]byte
	stream.SetReadDeadline(limit)
	if _, err := io.ReadFull(stream, first[:]); err != nil {
		return nil, fmt.Errorf("the first byte of the stream: %w", err)
	}
	if first[0] != firstByte {
		return nil, fmt.Errorf("the first byte of the stream is %d, not %d", first[0], firstByte)
	}
	return stream, stream.SetReadDeadline(time.Time{})
}

// Accept waits for a connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.ctx.Done():
	case c := <-l.accepted:
		return c, nil
	}
	return nil, fmt.Errorf("accept quic %s: %w", l.Addr(), net.ErrClosed)
}

// Addr returns the address of the UDP socket.
func (l *listener) Addr() net.Addr { return l.socket.udp.LocalAddr() }

// Close ends Accept. Accepted connections stay open, and keep the socket; if there are
// none but such as were closed, Close waits until these have ended, and the address is
// free.
func (l *listener) Close() error {
	if l.ctx.Err() != nil {
		return net.ErrClosed
	}
	l.cancel()
	err := l.quic.Close()
	l.tasks.Wait()
	l.socket.release()
	l.mu.Lock()
	open := false
	for _, live := range l.live {
		open = open || live
	}
	l.mu.Unlock()
	if !open {
		<-l.socket.closed // within the grace
	}
	return err
}

// linger notes that c was closed, and has not ended.
func (l *listener) linger(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live[c] = false
}

// forget notes that c has ended.
func (l *listener) forget(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.live, c)
}
