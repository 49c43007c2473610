package tlspoll

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// secrets is the log of a client's keys.
type secrets struct{ strings.Builder }

// recorder makes the records of a client. The cipher suite is TLS_AES_128_GCM_SHA256.
type recorder struct {
	t      *testing.T
	secret []byte
	sent   uint64 // records with these keys
}

func (s *secrets) recorder(t *testing.T) *recorder {
	r := &recorder{t: t}
	for line := range strings.Lines(s.String()) {
		if f := strings.Fields(line); f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			r.secret, _ = hex.DecodeString(f[2])
		}
	}
	return r
}

func (r *recorder) expand(label string, n int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(info, byte(len("tls13 "+label)))
	info = append(info, "tls13 "+label+"\x00"...)
	b, err := hkdf.Expand(sha256.New, r.secret, string(info), n)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// record returns a record with these bytes, of a type of content.
func (r *recorder) record(content byte, plain ...byte) []byte {
	block, err := aes.NewCipher(r.expand("key", 16))
	if err != nil {
		r.t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		r.t.Fatal(err)
	}
	nonce := r.expand("iv", 12)
	for i := range 8 {
		nonce[11-i] ^= byte(r.sent >> (8 * i))
	}
	r.sent++
	plain = append(plain, content)
	head := []byte{23, 3, 3, 0, byte(len(plain) + gcm.Overhead())}
	return append(head, gcm.Seal(nil, nonce, plain, head)...)
}

func (r *recorder) data(plain ...byte) []byte { return r.record(23, plain...) }

// keyUpdate returns the record that asks for new keys. The client has new ones itself then.
func (r *recorder) keyUpdate() []byte {
	b := r.record(22, 24, 0, 0, 1, 1) // KeyUpdate, requested, in a handshake record
	r.secret, r.sent = r.expand("traffic upd", sha256.Size), 0
	return b
}

// fullSocket returns a server's connection that has more to send than the network takes, after
// it has sent n bytes or several times as many, and the client's, with what makes its records.
func fullSocket(t *testing.T, n int) (c *Conn, far net.Conn, peer *tls.Conn, r *recorder) {
	t.Helper()
	var log secrets
	near, far := sockets(t, "tcp")
	near.(*net.TCPConn).SetWriteBuffer(4 << 10)
	far.(*net.TCPConn).SetReadBuffer(4 << 10)
	server := Server(near, &tls.Config{Certificates: []tls.Certificate{certificate(t)}, SessionTicketsDisabled: true})
	peer = tls.Client(far, &tls.Config{InsecureSkipVerify: true, KeyLogWriter: &log, MinVersion: tls.VersionTLS13})
	done := make(chan error, 1)
	go func() { done <- peer.Handshake() }()
	if err := errors.Join(server.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	if suite := peer.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		t.Fatalf("the cipher suite is %s", tls.CipherSuiteName(suite))
	}
	c = Of(server)
	for full := false; !full; {
		if err := c.Seal(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		sent, err := c.Send(false)
		if err != nil {
			t.Fatal(err)
		}
		full = !sent
	}
	return c, far, peer, log.recorder(t)
}

// A peer that asks for new keys and does not read keeps no reader waiting: the answer
// goes with what is sent later.
func TestKeyUpdate(t *testing.T) {
	c, far, peer, records := fullSocket(t, 64<<10)
	flushed := make(chan error, 1)
	go func() {
		_, err := c.Send(true) // waits, as a flusher does
		flushed <- err
	}()
	if _, err := far.Write(records.keyUpdate()); err != nil {
		t.Fatal(err)
	}
	c.wait(t)
	began := time.Now()
	wantAgain(t, c)
	if took := time.Since(began); took > deadline/4 {
		t.Errorf("TryRead has waited for %v", took)
	}
	select {
	case err := <-flushed:
		t.Fatalf("the socket was not full: %v", err)
	default:
	}
	go io.Copy(io.Discard, peer) // fails unless the server's records have the keys that it announces
	if err := <-flushed; err != nil {
		t.Error(err)
	}
	if err := c.write([]byte("with the new keys")); err != nil {
		t.Error(err)
	}
	if c.tls.CloseWrite() != nil || peer.ConnectionState().Version == 0 {
		t.Error("the connection has failed")
	}
}

// The answers to a peer that asks for new keys for ever, and does not read, take a bounded
// memory: then the connection fails.
func TestKeyUpdatesForEver(t *testing.T) {
	c, far, _, records := fullSocket(t, 1<<20)
	kept := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.kept)
	}
	had := kept()
	for range 200 {
		var b []byte
		for range 10 { // more in a row are an error of crypto/tls
			b = append(b, records.keyUpdate()...)
		}
		if _, err := far.Write(append(b, records.data('x')...)); err != nil {
			t.Fatal(err)
		}
		n, err := 0, ErrAgain
		for ; err == ErrAgain; n, err = c.TryRead(make([]byte, 10)) {
			c.wait(t)
		}
		if err == errUnread {
			break
		}
		if n != 1 || err != nil {
			t.Fatalf("TryRead = %d, %v; want a byte, or the error %v", n, err, errUnread)
		}
	}
	if more := kept() - had; more > maxAnswers {
		t.Errorf("%d bytes of answers are kept; want %d at most", more, maxAnswers)
	}
	if err := c.Seal([]byte("x")); !errors.Is(err, errUnread) {
		t.Errorf("Seal: %v; want %v", err, errUnread)
	}
}
