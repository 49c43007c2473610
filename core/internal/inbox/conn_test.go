package inbox

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/suite"
)

// loopback returns the two ends of a TCP connection.
func loopback(tb testing.TB) (near, far net.Conn) {
	tb.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer lis.Close()
	if far, err = net.Dial("tcp", lis.Addr().String()); err != nil {
		tb.Fatal(err)
	}
	if near, err = lis.Accept(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// xored is a connection whose bytes differ from those of the socket.
type xored struct{ *net.TCPConn }

func (x xored) Read(p []byte) (int, error) {
	n, err := x.TCPConn.Read(p)
	for i := range p[:n] {
		p[i] ^= 0xff
	}
	return n, err
}

// secured returns the two ends of a TLS connection.
func secured(t *testing.T) (near, far net.Conn) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, public, private)
	if err != nil {
		t.Fatal(err)
	}
	near, far = loopback(t)
	return tls.Server(near, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}}),
		tls.Client(far, &tls.Config{InsecureSkipVerify: true})
}

// Every kind of connection with a Read of its own is read by that.
func TestConnections(t *testing.T) {
	sizes := []int{600, 600, 100_000, 5, 40_000, 0, 600}
	total := 0
	for _, n := range sizes {
		total += n
	}
	stream := pattern(total, 20)
	for _, test := range []struct {
		name string
		open func(t *testing.T) (near, far net.Conn)
		xor  byte
	}{
		{"tcp", func(t *testing.T) (net.Conn, net.Conn) { return loopback(t) }, 0},
		{"pipe", func(*testing.T) (net.Conn, net.Conn) { return net.Pipe() }, 0},
		{"tls", secured, 0},
		{"embeds a TCPConn", func(t *testing.T) (net.Conn, net.Conn) {
			near, far := loopback(t)
			return xored{near.(*net.TCPConn)}, far
		}, 0xff},
		{"points to what embeds a TCPConn", func(t *testing.T) (net.Conn, net.Conn) {
			near, far := loopback(t)
			return &xored{near.(*net.TCPConn)}, far
		}, 0xff},
	} {
		t.Run(test.name, func(t *testing.T) {
			near, far := test.open(t)
			var wg sync.WaitGroup
			defer wg.Wait()
			defer near.Close()
			wg.Go(func() {
				defer far.Close()
				sent := bytes.Clone(stream)
				for i := range sent {
					sent[i] ^= test.xor
				}
				if _, err := far.Write(sent); err != nil {
					t.Errorf("Write: %v", err)
				}
			})
			r := New(near, Config{})
			defer r.Close()
			readFrames(t, r, stream, sizes...)
		})
	}
}

// A deadline of the connection ends a wait, and no byte is lost.
func TestDeadline(t *testing.T) {
	for _, name := range []string{"tcp", "pipe"} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			if name == "tcp" {
				near, far = loopback(t)
			}
			defer near.Close()
			defer far.Close()
			stream := pattern(500, 21)
			r := New(near, Config{})
			defer r.Close()
			wait := func(what string, f func() error) {
				t.Helper()
				near.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
				if err := f(); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s = %v, want %v", what, err, os.ErrDeadlineExceeded)
				}
				near.SetReadDeadline(time.Time{})
			}
			wait("Wait", r.Wait)
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() { far.Write(stream[:100]) })
			if _, err := r.Peek(100); err != nil {
				t.Fatal(err)
			}
			wait("Peek of a half frame", func() error { _, err := r.Peek(500); return err })
			wg.Go(func() { far.Write(stream[100:]) })
			if b, err := r.Peek(500); err != nil || !bytes.Equal(b, stream) {
				t.Errorf("Peek after the deadline = %d bytes, %v", len(b), err)
			}
			r.Discard(500)
			wait("Wait", r.Wait)
		})
	}
}

func TestClosedConnection(t *testing.T) {
	near, far := loopback(t)
	r := New(near, Config{})
	defer r.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { near.Close() })
	if err := r.Wait(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Wait on a closed connection = %v, want %v", err, net.ErrClosed)
	}
	far.Close()
}

// If a Reader exceeds the Memory, its Peek, blocked in a read, ends with ErrMemory and
// not with the error of the closed connection.
func TestBlockedPeekEndsWithErrMemory(t *testing.T) {
	near, far := loopback(t)
	m := NewMemory(1 << 20)
	r := New(near, Config{Memory: m, OnMemoryExceeded: func(error) { near.Close() }})
	result := make(chan error)
	go func() {
		_, err := r.Peek(64 << 20)
		result <- err
	}()
	if _, err := far.Write(make([]byte, 500_000)); err != nil {
		t.Fatal(err)
	}
	for m.Used() < 512<<10 { // until it has arrived
		select {
		case err := <-result:
			t.Fatalf("Peek = %v", err)
		default:
			runtime.Gosched()
		}
	}
	for range 4 {
		half(t, m, 250_000, nil)
	}
	if err := <-result; !errors.Is(err, ErrMemory) {
		t.Errorf("Peek = %v, want %v", err, ErrMemory)
	}
	if n, err := far.Read(make([]byte, 1)); err == nil {
		t.Errorf("the connection is still open: read %d", n)
	}
	r.Close()
}

func TestEOF(t *testing.T) {
	near, far := loopback(t)
	far.Write([]byte("abc"))
	far.Close()
	r := New(near, Config{})
	defer r.Close()
	if b, err := r.Peek(4); string(b) != "abc" || err != io.ErrUnexpectedEOF {
		t.Errorf("Peek(4) = %q, %v; want abc, %v", b, err, io.ErrUnexpectedEOF)
	}
	r.Discard(3)
	if err := r.Wait(); err != io.EOF {
		t.Errorf("Wait() = %v, want EOF", err)
	}
}

// A round of 600 bytes over TCP allocates nothing.
func TestAllocs(t *testing.T) {
	near, far := loopback(t)
	r := New(near, Config{})
	defer r.Close()
	frame := pattern(600, 22)
	got := suite.Allocs(0, func() {
		far.Write(frame)
		r.Wait()
		if b, err := r.Peek(600); err != nil || len(b) != 600 {
			t.Errorf("Peek = %d bytes, %v", len(b), err)
		}
		r.Discard(600)
	})
	if got != 0 {
		t.Errorf("%v allocations a frame, want 0", got)
	}
}

func BenchmarkFrames(b *testing.B) {
	for _, test := range []struct {
		name        string
		size, batch int
	}{
		{"600 bytes one by one", 600, 1},
		{"600 bytes by 100", 600, 100},
		{"1 MiB", 1 << 20, 1},
	} {
		b.Run(test.name, func(b *testing.B) {
			near, far := loopback(b)
			r := New(near, Config{Memory: NewMemory(1 << 30)})
			defer r.Close()
			frames := make([]byte, test.size*test.batch)
			var wg sync.WaitGroup
			defer wg.Wait()
			n := b.N / test.batch
			b.SetBytes(int64(test.size))
			b.ReportAllocs()
			b.ResetTimer()
			wg.Go(func() {
				for range n {
					if _, err := far.Write(frames); err != nil {
						b.Error(err)
						return
					}
				}
			})
			for range n * test.batch {
				if err := r.Wait(); err != nil {
					b.Fatal(err)
				}
				if _, err := r.Peek(4); err != nil {
					b.Fatal(err)
				}
				if _, err := r.Peek(test.size); err != nil {
					b.Fatal(err)
				}
				r.Discard(test.size)
			}
		})
	}
}

// The time of a frame runs from its first wait to EndFrame, however it is waited for; a
// deadline of the caller's stays in force.
func TestFrameTimeout(t *testing.T) {
	const limit = 10 * time.Second
	for _, test := range []struct {
		name  string
		bytes int           // that come at once; the frame has 100
		own   time.Duration // SetReadDeadline, from now; 0: none
		want  error
		after time.Duration
	}{
		{"nothing more", 50, 0, ErrFrameTimeout, limit},
		{"much is there, so it may take longer", 4096, 0, ErrFrameTimeout, limit + 4*time.Second},
		{"a deadline of the caller's that is earlier", 50, time.Second, os.ErrDeadlineExceeded, time.Second},
		{"a deadline of the caller's that is later", 50, time.Hour, ErrFrameTimeout, limit},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				defer a.Close()
				defer b.Close()
				r := New(a, Config{})
				r.SetFrameTimeout(limit)
				if test.own > 0 {
					r.SetReadDeadline(time.Now().Add(test.own))
				}
				go b.Write(make([]byte, test.bytes))
				if err := r.Wait(); err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				if _, err := r.Peek(test.bytes + 50); !errors.Is(err, test.want) {
					t.Errorf("Peek: %v, want %v", err, test.want)
				}
				if took := time.Since(begin); took < test.after || took > test.after+time.Second {
					t.Errorf("it took %v, want %v", took, test.after)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		r := New(a, Config{})
		r.SetFrameTimeout(limit)
		for range 3 {
			go func() {
				b.Write([]byte("half"))
				time.Sleep(limit / 2)
				b.Write([]byte("half"))
			}()
			if _, err := r.Peek(8); err != nil {
				t.Fatal(err)
			}
			r.Discard(8)
			r.EndFrame()
			go func() { time.Sleep(3 * limit); b.Write([]byte("x")) }()
			if err := r.Wait(); err != nil { // no frame has begun
				t.Fatal(err)
			}
			r.Discard(1)
		}
	})
}
