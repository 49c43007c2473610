package resume

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// ask sends a preamble, and returns the connection and the answer.
func ask(t *testing.T, addr string, cfg *tls.Config, question preamble) (net.Conn, preamble) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	if cfg != nil {
		conn = tls.Client(conn, cfg)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	_, err = conn.Write(question.append(nil))
	require.NoError(t, err)
	b := make([]byte, preambleSize)
	_, err = io.ReadFull(conn, b)
	require.NoError(t, err)
	answer, err := parsePreamble(b)
	require.NoError(t, err)
	return conn, answer
}

// listenWith makes a listener with these options.
func listenWith(t *testing.T, o Options, cfg *tls.Config) *Listener {
	t.Helper()
	n := over(t, o)
	lis, err := n.Listen(t.Context(), tp.ListenConfig{LocalIP: "127.0.0.1", TLS: cfg, HandshakeTimeout: patience})
	require.NoError(t, err)
	t.Cleanup(func() { lis.Close() })
	return lis.(*Listener)
}

// accept accepts a stream, which is closed at the end of the test.
func accept(t *testing.T, lis net.Listener) *Conn {
	t.Helper()
	c, err := lis.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	if s, ok := c.(*secureConn); ok {
		return s.Conn
	}
	return c.(*Conn)
}

// A question for what the listener does not have is refused with the reason, and the
// stream goes on.
func TestRefused(t *testing.T) {
	tptest.LeakCheck(t)
	stats := new(Stats)
	lis := listenWith(t, Options{Stats: stats}, nil)
	conn, first := ask(t, lis.Addr().String(), nil, preamble{})
	c := accept(t, lis)
	_, err := c.Write([]byte("hello")) // 7 bytes of records
	require.NoError(t, err)
	other := first.token
	other[15] ^= 1
	for _, test := range []struct {
		name     string
		question preamble
		want     verdict
	}{
		{"another token", preamble{token: other}, verdictUnknown},
		{"received more than was sent", preamble{token: first.token, received: 8}, verdictPosition},
		{"received less than nothing", preamble{token: first.token, received: positionMask}, verdictPosition},
		{"sent less than was received", preamble{token: first.token, sent: positionMask}, verdictPosition},
	} {
		t.Run(test.name, func(t *testing.T) {
			refused, answer := ask(t, lis.Addr().String(), nil, test.question)
			require.Equal(t, token{}, answer.token)
			require.Equal(t, test.want, verdict(answer.sent))
			_, err := refused.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
		})
	}
	require.EqualValues(t, 4, stats.Refused.Load())
	require.Zero(t, stats.Resumed.Load())
	b := make([]byte, 7)
	_, err = io.ReadFull(conn, b)
	require.NoError(t, err)
	require.Equal(t, "\x00\x05hello", string(b))
}

// A second connection with the token takes the stream over, and the first one is closed.
func TestTwoHolders(t *testing.T) {
	tptest.LeakCheck(t)
	lis := listenWith(t, Options{}, nil)
	first, answer := ask(t, lis.Addr().String(), nil, preamble{})
	c := accept(t, lis)
	_, err := first.Write([]byte("\x00\x05he")) // the rest comes by the second
	require.NoError(t, err)
	b := make([]byte, 5)
	_, err = io.ReadFull(c, b[:2])
	require.NoError(t, err)
	second, again := ask(t, lis.Addr().String(), nil, preamble{token: answer.token, sent: 7})
	require.Equal(t, answer.token, again.token)
	require.EqualValues(t, 4, again.received, "it has the head and two bytes")
	_, err = first.Read(make([]byte, 1))
	require.Error(t, err)
	var timeout net.Error
	require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "the first connection is still open")
	_, err = second.Write([]byte("llo"))
	require.NoError(t, err)
	_, err = io.ReadFull(c, b[2:])
	require.NoError(t, err)
	require.Equal(t, "hello", string(b))
}

// A token does not help without the TLS identity of the first connection.
func TestIdentity(t *testing.T) {
	tptest.LeakCheck(t)
	server := tp.GenerateTLSConfigForServer()
	server.ClientAuth = tls.RequestClientCert
	mine, others := clientCert(t), clientCert(t)
	lis := listenWith(t, Options{}, server)
	_, first := ask(t, lis.Addr().String(), mine, preamble{})
	accept(t, lis)
	bare := tp.GenerateTLSConfigForClient()
	for _, test := range []struct {
		name string
		cfg  *tls.Config
		want verdict
	}{
		{"another certificate", others, verdictIdentity},
		{"no certificate", bare, verdictIdentity},
		{"the same", mine, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, answer := ask(t, lis.Addr().String(), test.cfg, preamble{token: first.token})
			if test.want == 0 {
				require.Equal(t, first.token, answer.token)
				return
			}
			require.Equal(t, token{}, answer.token)
			require.Equal(t, test.want, verdict(answer.sent))
		})
	}
	t.Run("certificate renewed for the same key", func(t *testing.T) {
		_, answer := ask(t, lis.Addr().String(), renewed(t, mine), preamble{token: first.token})
		require.Equal(t, first.token, answer.token)
	})
}

// clientCert returns the configuration of a client with a certificate of its own.
func clientCert(t *testing.T) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return certFor(t, key)
}

func renewed(t *testing.T, cfg *tls.Config) *tls.Config {
	return certFor(t, cfg.Certificates[0].PrivateKey.(*ecdsa.PrivateKey))
}

func certFor(t *testing.T, key *ecdsa.PrivateKey) *tls.Config {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: serial, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cfg := tp.GenerateTLSConfigForClient()
	cfg.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	return cfg
}

// Connections that send no preamble, or another one, or too slowly, get no stream and cost
// nobody one.
func TestNoPreamble(t *testing.T) {
	tptest.LeakCheck(t)
	lis, err := over(t, Options{}).Listen(t.Context(), tp.ListenConfig{LocalIP: "127.0.0.1", HandshakeTimeout: 2 * time.Second})
	require.NoError(t, err)
	defer lis.Close()
	conns := make(map[string]net.Conn) // their handshakes end at the same time
	for name, bytes := range map[string]string{
		"nothing": "", "half": "tpr\x01", "HTTP": "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", "zeros": string(make([]byte, 100)),
	} {
		conn, err := net.Dial("tcp", lis.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		conn.Write([]byte(bytes))
		conns[name] = conn
	}
	for name, conn := range conns {
		t.Run(name, func(t *testing.T) {
			_, err := conn.Read(make([]byte, 1)) // within the handshake timeout
			require.Error(t, err)
			var timeout net.Error
			require.False(t, errors.As(err, &timeout) && timeout.Timeout())
		})
	}
	_, answer := ask(t, lis.Addr().String(), nil, preamble{})
	require.NotEqual(t, token{}, answer.token)
	accept(t, lis)
}

// A handshake that is out of time when it has just ended leaves the stream no connection with
// a deadline in the past, over which nothing could be read.
func TestHandshakeEndsLate(t *testing.T) {
	tptest.LeakCheck(t)
	lis := listenWith(t, Options{KeepAlive: time.Hour, IdleTimeout: time.Hour}, nil)
	first, answer := ask(t, lis.Addr().String(), nil, preamble{})
	c := accept(t, lis)
	c.mu.Lock()
	c.side = lateSide{lis}
	c.mu.Unlock()
	first.Close()
	awaitLost(t, c)
	ask(t, lis.Addr().String(), nil, preamble{token: answer.token})
	tptest.Receive(t, c.over, "the end of the stream, which nothing could resume")
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, ErrExpired)
}

// lateSide closes the listener, which ends its handshakes, while one attaches its connection.
type lateSide struct{ *Listener }

func (l lateSide) found(c *Conn) {
	l.Listener.found(c)
	go l.Close()
	<-l.ctx.Done()
}

// Of too many handshakes at a time the oldest ones are ended, so that others can begin.
func TestFlood(t *testing.T) {
	tptest.LeakCheck(t)
	n := over(t, Options{})
	lis, err := n.Listen(t.Context(), tp.ListenConfig{LocalIP: "127.0.0.1", HandshakeTimeout: patience})
	require.NoError(t, err)
	defer lis.Close()
	l := lis.(*Listener)
	var slow []net.Conn
	defer func() {
		for _, c := range slow {
			c.Close()
		}
	}()
	for range maxShaking + 100 {
		conn, err := net.Dial("tcp", lis.Addr().String())
		require.NoError(t, err)
		conn.Write([]byte("t"))
		if slow = append(slow, conn); len(slow) == 1 { // handshakes begin in any order; this one is the oldest
			require.Eventually(t, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.shaking.Len() == 1 }, patience, time.Millisecond)
		}
	}
	slow[0].SetDeadline(time.Now().Add(patience))
	_, err = slow[0].Read(make([]byte, 1))
	require.Error(t, err)
	var timeout net.Error
	require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "the oldest handshake goes on")
	_, answer := ask(t, lis.Addr().String(), nil, preamble{})
	require.NotEqual(t, token{}, answer.token)
	accept(t, lis)
	l.mu.Lock()
	defer l.mu.Unlock()
	require.LessOrEqual(t, l.shaking.Len(), maxShaking)
	require.Len(t, l.streams, 1)
}

// A listener gives up the streams that have been without a connection for the longest, when
// there are too many of them, or they hold too much.
func TestTooManyLost(t *testing.T) {
	for _, test := range []struct {
		name string
		o    Options
		keep int
	}{
		{"streams", Options{MaxLost: 3}, 3},
		{"bytes", Options{MaxLostBytes: 25 << 10}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			tptest.LeakCheck(t)
			stats := new(Stats)
			test.o.Stats = stats
			lis := listenWith(t, test.o, nil)
			var all []*Conn
			for range 8 {
				conn, _ := ask(t, lis.Addr().String(), nil, preamble{})
				c := accept(t, lis)
				conn.Close()
				awaitLost(t, c)
				_, err := c.Write(make([]byte, 10<<10))
				require.NoError(t, err)
				all = append(all, c)
			}
			for i, c := range all {
				if gone := len(all) - test.keep; i < gone {
					tptest.Receive(t, c.over, fmt.Sprint("the end of stream ", i))
					_, err := c.Read(make([]byte, 1))
					require.ErrorIs(t, err, ErrExpired)
					require.ErrorIs(t, err, errTooMany)
					require.ErrorIs(t, err, net.ErrClosed)
				} else {
					require.False(t, isClosed(c.over), "stream %d", i)
				}
			}
			require.EqualValues(t, test.keep, stats.Lost.Load())
			require.EqualValues(t, 8-test.keep, stats.Expired.Load())
			for _, c := range all {
				c.Close()
			}
			lis.Close()
			for _, c := range all {
				tptest.Receive(t, c.over, "the end of a stream that was closed")
			}
			require.Zero(t, stats.Lost.Load())
			require.Zero(t, lis.bytes)
		})
	}
}

// A stream that has lost its connection counts with the memory that it has, not only with what
// is in that, and gives back what it does not need.
func TestMemoryOfLostStreams(t *testing.T) {
	tptest.LeakCheck(t)
	const most, size = 100 << 10, 60 << 10
	lis := listenWith(t, Options{MaxLostBytes: most}, nil)
	var all []*Conn
	for i := range 8 {
		conn, _ := ask(t, lis.Addr().String(), nil, preamble{})
		c := accept(t, lis)
		go io.Copy(io.Discard, c)
		_, err := c.Write(make([]byte, size)) // in two records
		require.NoError(t, err)
		received := uint64(size+2*headSize) - uint64(i*100)
		_, err = conn.Write(appendAck(nil, received))
		require.NoError(t, err)
		require.Eventually(t, func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.sent.acked == received }, patience, time.Millisecond)
		conn.Close()
		awaitLost(t, c)
		all = append(all, c)
	}
	total := 0
	for i, c := range all {
		require.False(t, isClosed(c.over), "stream %d", i)
		sent, _ := c.Held()
		total += sent
	}
	require.LessOrEqual(t, total, most)
	lis.mu.Lock()
	require.EqualValues(t, total, lis.bytes)
	lis.mu.Unlock()

	_, err := all[0].Write(make([]byte, size))
	require.NoError(t, err)
	_, err = all[1].Write(make([]byte, size))
	require.NoError(t, err)
	tptest.Receive(t, all[0].over, "the end of the stream that was lost first")
	_, err = all[0].Read(make([]byte, 1))
	require.ErrorIs(t, err, errTooMany)
}
