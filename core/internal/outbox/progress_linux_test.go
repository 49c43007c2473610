package outbox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/tlspoll"
)

// encrypted makes a TLS connection of the two, and polled one that is written without
// waiting.
func encrypted(t *testing.T, near, far net.Conn) (_, _ net.Conn) {
	return encryptedBy(t, near, far, tls.Client)
}

func polled(t *testing.T, near, far net.Conn) (_, _ net.Conn) {
	return encryptedBy(t, near, far, tlspoll.Client)
}

func encryptedBy(t *testing.T, near, far net.Conn, newClient func(net.Conn, *tls.Config) *tls.Conn) (_, _ net.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}})
	client := newClient(near, &tls.Config{InsecureSkipVerify: true})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := errors.Join(client.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// A write is ended when the queue of its socket has not changed for the timeout, or up to a
// check later, but not before, whenever between the checks it changes.
func TestProgressTimer(t *testing.T) {
	const timeout = 20 * time.Second
	near, far := pair(t, "unix")
	for _, changes := range [][]time.Duration{nil, {4}, {4, 16, 28, 40}, {6, 25, 44}, {1, 20, 39}, {19, 38}} {
		for range changes {
			if _, err := near.Write(make([]byte, 1<<10)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Test(t, func(t *testing.T) {
			c := newGate()
			p := newProgressTimer(&socketBelow{c, near}, timeout)
			begin := time.Now()
			p.begin(begin)
			defer p.end()
			last := begin
			for _, at := range changes {
				last = begin.Add(at * time.Second)
				time.Sleep(time.Until(last))
				synctest.Wait()
				if c.isExpired() {
					t.Fatalf("changes at %d: it has ended before that at %d", changes, at)
				}
				if _, err := io.ReadFull(far, make([]byte, 1<<10)); err != nil {
					t.Fatal(err)
				}
			}
			for !c.isExpired() {
				time.Sleep(timeout / 100)
				synctest.Wait()
			}
			if took := time.Since(last); took < timeout || took > timeout+timeout/checks+timeout/100 {
				t.Errorf("changes at %d: ended %v after the last, want %v to %v", changes, took, timeout, timeout+timeout/checks)
			}
		})
	}
}

// socketBelow is a gate with a socket below.
type socketBelow struct {
	*gate
	conn net.Conn
}

func (c *socketBelow) NetConn() net.Conn { return c.conn }

// smallWindow is pair for TCP with a small receive buffer at the far end. It is small before
// the connection is made: a window that is larger than the buffer lets the kernel drop
// segments, and send them again after ever longer pauses.
func smallWindow(t *testing.T) (near, far net.Conn) {
	t.Helper()
	small := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var err error
		failed := rc.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 8<<10)
		})
		return errors.Join(failed, err)
	}}
	return pairBy(t, &small, "tcp", "127.0.0.1:0")
}

// A peer that reads slowly and steadily is not cut off, even if the socket does not
// become writable again within the timeout; one that stops reading is.
func TestSteadyReader(t *testing.T) {
	const (
		timeout = 2 * time.Second
		pace    = 40 * time.Millisecond
		read    = 1 << 10 // bytes at that pace: what is sealed at once, 64 KiB, takes longer than the timeout
	)
	for _, test := range []struct {
		name, network string
		wrap          func(t *testing.T, near, far net.Conn) (_, _ net.Conn)
	}{
		{"tcp", "tcp", nil},
		{"unix", "unix", nil},
		{"tls", "tcp", encrypted},
		{"tls without waiting", "tcp", polled},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			near, far := pair(t, test.network)
			if test.network == "tcp" {
				near, far = smallWindow(t)
			}
			// Much more than is read within the timeout:
			if err := near.(interface{ SetWriteBuffer(int) error }).SetWriteBuffer(1 << 20); err != nil {
				t.Fatal(err)
			}
			if test.wrap != nil {
				near, far = test.wrap(t, near, far)
			}
			failed := make(chan error, 1)
			w := New(near, Config{WriteTimeout: timeout, Fail: func(err error) { failed <- err }})
			w.SendNow(make([]byte, 8<<20))
			w.Flush(NoBlock)

			reads := time.NewTicker(pace)
			defer reads.Stop()
			buf := make([]byte, read)
			for begin, n := time.Now(), 0; time.Since(begin) < 3*timeout; {
				select {
				case err := <-failed:
					t.Fatalf("after %v: Fail(%v), but the peer has read %d bytes", time.Since(begin), err, n)
				case <-reads.C:
				}
				for want := int(time.Since(begin)/pace) * read; n < want; n += read { // also those of ticks that came late
					if _, err := io.ReadFull(far, buf); err != nil {
						t.Fatal(err)
					}
				}
			}
			if _, n := w.Queued(); n == 0 {
				t.Fatal("the socket took it all: nothing tested")
			}
			if err := <-failed; !errors.Is(err, ErrStalled) {
				t.Errorf("the peer reads no more: Fail(%v), want ErrStalled", err)
			}
		})
	}
}

// A process that has not run for longer than the timeout looks for progress before it ends
// a write.
func TestProgressBehindAPause(t *testing.T) {
	const timeout = time.Hour
	near, _ := pair(t, "tcp") // nothing is written, so its queue stays empty
	p := newProgressTimer(near, timeout)
	p.begin(time.Now())
	for _, test := range []struct {
		name  string
		queue int // what it was before the pause
		ended bool
	}{
		{"it is not known what was before", -1, false},
		{"there was progress", 1, false},
		{"there was none", 0, true},
	} {
		p.queue.at = test.queue
		p.last = p.last.Add(-2 * timeout)
		p.check()
		if p.ended != test.ended {
			t.Errorf("%s: ended = %v, want %v", test.name, p.ended, test.ended)
		}
	}
	if _, err := near.Write([]byte{0}); !isTimeout(err) {
		t.Errorf("a write that was ended: %v, want a timeout", err)
	}
	p.end()
	if _, err := near.Write([]byte{0}); err != nil {
		t.Errorf("the next write: %v", err)
	}
}
