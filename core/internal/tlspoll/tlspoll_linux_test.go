package tlspoll

import (
	"bytes"
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
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// deadline is the longest that anything takes.
const deadline = 20 * time.Second

func certificate(t testing.TB) tls.Certificate {
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
	return tls.Certificate{Certificate: [][]byte{cert}, PrivateKey: key}
}

// sockets returns the two ends of a connection.
func sockets(t testing.TB, network string) (near, far net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	lis, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	if far, err = net.Dial(network, lis.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if near, err = lis.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{near, far} {
		c.SetDeadline(time.Now().Add(deadline))
		t.Cleanup(func() { c.Close() })
	}
	return near, far
}

// secured returns a server by this package, and the client that it has shaken hands with.
func secured(t testing.TB, network string, client *tls.Config) (*Conn, *tls.Conn) {
	t.Helper()
	near, far := sockets(t, network)
	server := Server(near, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	if client == nil {
		client = new(tls.Config)
	}
	client.InsecureSkipVerify = true
	peer := tls.Client(far, client)
	done := make(chan error, 1)
	go func() { done <- peer.Handshake() }()
	if err := errors.Join(server.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	c := Of(server)
	if c == nil {
		t.Fatal("Of returns nil")
	}
	return c, peer
}

// wait waits until something has arrived at the socket.
func (c *Conn) wait(t testing.TB) {
	t.Helper()
	if err := c.raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return err != syscall.EAGAIN
	}); err != nil {
		t.Fatal(err)
	}
}

// read reads n bytes as a poller does: it waits for the descriptor after ErrAgain only.
func (c *Conn) read(t testing.TB, n int) []byte {
	t.Helper()
	got := make([]byte, 0, n)
	room := make([]byte, 5000)
	for len(got) < n {
		var m int
		var err error
		failed := c.raw.Read(func(uintptr) bool {
			m, err = c.TryRead(room)
			return err != ErrAgain
		})
		if got = append(got, room[:m]...); err != nil || failed != nil {
			t.Fatalf("after %d of %d bytes: %v, %v", len(got), n, err, failed)
		}
	}
	return got
}

// write writes b as the engine does.
func (c *Conn) write(b []byte) error {
	if err := c.Seal(b); err != nil {
		return err
	}
	sent, err := c.Send(false)
	if err == nil && !sent {
		_, err = c.Send(true)
	}
	return err
}

func wantAgain(t *testing.T, c *Conn) {
	t.Helper()
	if n, err := c.TryRead(make([]byte, 100)); n != 0 || err != ErrAgain {
		t.Errorf("TryRead = %d, %v; want %v", n, err, ErrAgain)
	}
	if c.buf != nil {
		t.Error("a buffer is held while nothing is there")
	}
}

func TestBothWays(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(network+" "+tls.VersionName(version), func(t *testing.T) {
				c, peer := secured(t, network, &tls.Config{MaxVersion: version})
				wantAgain(t, c)
				data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // far more than buffers hold
				go func() { peer.Write([]byte("x")); peer.Write(data) }()
				if got := c.read(t, 1+len(data)); got[0] != 'x' || !bytes.Equal(got[1:], data) {
					t.Error("what arrives is not what was sent")
				}
				wantAgain(t, c)
				go func() {
					for b := data; len(b) > 0; b = b[min(len(b), 50_000):] {
						c.write(b[:min(len(b), 50_000)])
					}
				}()
				got := make([]byte, len(data))
				if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, data) {
					t.Errorf("the other way: %v, or other bytes", err)
				}
			})
		}
	}
}

// slow sends what is written to it in pieces of n bytes, each when it is asked for.
type slow struct {
	net.Conn
	next chan struct{}
	done chan struct{}
}

func (s slow) Write(p []byte) (int, error) {
	for i := range p {
		<-s.next
		if _, err := s.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
		s.done <- struct{}{}
	}
	return len(p), nil
}

// A record that arrives byte by byte is read when it is whole, and nothing before.
func TestByteByByte(t *testing.T) {
	near, far := sockets(t, "tcp")
	server := Server(near, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	s := slow{far, make(chan struct{}), make(chan struct{})}
	peer := tls.Client(s, &tls.Config{InsecureSkipVerify: true})
	shaken, write := make(chan error, 1), make(chan struct{})
	go func() {
		shaken <- peer.Handshake()
		<-write
		peer.Write([]byte("hello"))
	}()
	go func() { shaken <- server.Handshake() }()
	for left := 2; left > 0; {
		select {
		case err := <-shaken:
			if left--; err != nil {
				t.Fatal(err)
			}
		case s.next <- struct{}{}:
			<-s.done
		}
	}
	c := Of(server)
	close(write)
	for i := range 1000 {
		s.next <- struct{}{}
		<-s.done
		c.wait(t)
		n, err := c.TryRead(make([]byte, 100))
		if err == ErrAgain {
			continue
		}
		if n != 5 || err != nil || i < 20 {
			t.Errorf("after %d bytes TryRead = %d, %v; want 5 after a whole record", i+1, n, err)
		}
		return
	}
	t.Error("nothing was read")
}

// What the client sends with the end of the handshake, or several records at once, is
// read although no more arrives.
func TestReadAhead(t *testing.T) {
	near, far := sockets(t, "tcp")
	server := Server(near, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	held := &holds{Conn: far}
	peer := tls.Client(held, &tls.Config{InsecureSkipVerify: true})
	go func() {
		peer.Handshake()
		for i := range 10 {
			fmt.Fprintf(peer, "record %d|", i)
		}
		held.release()
	}()
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for c := Of(server); strings.Count(got.String(), "|") < 10; {
		got.Write(c.read(t, 1))
	}
	if !strings.HasPrefix(got.String(), "record 0|record 1|") {
		t.Errorf("read %q", got.String())
	}
}

// holds writes the client's hello at once, and the rest in one piece.
type holds struct {
	net.Conn
	n int
	b []byte
}

func (h *holds) Write(p []byte) (int, error) {
	if h.n++; h.n == 1 {
		return h.Conn.Write(p)
	}
	h.b = append(h.b, p...)
	return len(p), nil
}

func (h *holds) release() { h.Conn.Write(h.b) }

func TestEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(peer *tls.Conn)
		want error
	}{
		{"with an alert", func(p *tls.Conn) { p.Close() }, io.EOF},
		{"half", func(p *tls.Conn) { p.CloseWrite() }, io.EOF},
		{"without an alert", func(p *tls.Conn) { p.NetConn().Close() }, io.EOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, peer := secured(t, "tcp", nil)
			peer.Write([]byte("last"))
			test.end(peer)
			if got := c.read(t, 4); string(got) != "last" {
				t.Errorf("read %q", got)
			}
			for {
				n, err := c.TryRead(make([]byte, 10))
				if err == ErrAgain {
					c.wait(t)
					continue
				}
				if n != 0 || err != test.want {
					t.Errorf("at the end TryRead = %d, %v; want %v", n, err, test.want)
				}
				return
			}
		})
	}
}

// Close does not wait for a peer that does not read while another goroutine does.
func TestCloseBesideAWait(t *testing.T) {
	c, _, _, _ := fullSocket(t, 1<<20)
	waiting := make(chan struct{})
	c.raw = noticed{c.raw, sync.OnceFunc(func() { close(waiting) })}
	done := make(chan error, 1)
	go func() {
		_, err := c.Send(true)
		done <- err
	}()
	<-waiting
	began := time.Now()
	c.tls.Close()
	if took := time.Since(began); took > 4*time.Second { // the time that a tls.Conn gives its alert is 5 s
		t.Errorf("Close took %v", took)
	}
	// A tls.Conn sets a write deadline that is over, and then closes the connection.
	if err := <-done; !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the end of the wait: %v; want %v or %v", err, net.ErrClosed, os.ErrDeadlineExceeded)
	}
}

// noticed calls waits before its Write waits.
type noticed struct {
	syscall.RawConn
	waits func()
}

func (n noticed) Write(f func(fd uintptr) bool) error {
	return n.RawConn.Write(func(fd uintptr) bool {
		done := f(fd)
		if !done {
			n.waits()
		}
		return done
	})
}

// Other connections are left as they are.
func TestOf(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	near, _ := sockets(t, "tcp")
	for name, conn := range map[string]net.Conn{
		"over a pipe":      Server(a, nil),
		"of crypto/tls":    tls.Server(near, nil),
		"without TLS":      near,
		"TLS over this":    tls.Server(Client(near, nil).NetConn(), nil),
		"nil":              nil,
		"of a wrapped TCP": Client(struct{ net.Conn }{near}, nil),
	} {
		if c := Of(conn); c != nil {
			t.Errorf("%s: Of = %v; want nil", name, c)
		}
	}
}
