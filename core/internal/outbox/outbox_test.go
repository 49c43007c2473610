package outbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/teleport-go/teleport/core/internal/bufpool"
)

// pair returns two connected ends of a network: tcp, unix, unixpacket or pipe.
func pair(t testing.TB, network string) (near, far net.Conn) {
	t.Helper()
	if network == "pipe" {
		near, far = net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		return near, far
	}
	addr := "127.0.0.1:0"
	if network != "tcp" {
		dir, err := os.MkdirTemp("", "outbox") // t.TempDir's may be too long for a socket
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		addr = filepath.Join(dir, "s")
	}
	return pairBy(t, new(net.ListenConfig), network, addr)
}

// pairBy is pair with a configuration and an address of the listener.
func pairBy(t testing.TB, c *net.ListenConfig, network, addr string) (near, far net.Conn) {
	t.Helper()
	lis, err := c.Listen(t.Context(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	if near, err = net.Dial(network, lis.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = lis.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// wrapped is a connection with a Write of its own.
type wrapped struct {
	*net.TCPConn
	mu     sync.Mutex
	writes int
}

func (c *wrapped) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.writes++
	c.mu.Unlock()
	return c.TCPConn.Write(b)
}

// A frame for tests: length, sender, number, then bytes that follow from them.
const frameHead = 12

func appendFrame(b []byte, sender, number, size int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	b = binary.BigEndian.AppendUint32(b, uint32(sender))
	b = binary.BigEndian.AppendUint32(b, uint32(number))
	for i := range size - frameHead {
		b = append(b, byte(sender+number+i))
	}
	return b
}

// readFrame reads one frame and checks every byte of it.
func readFrame(r io.Reader) (sender, number int, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, err
	}
	size := int(binary.BigEndian.Uint32(head[:]))
	sender, number = int(binary.BigEndian.Uint32(head[4:])), int(binary.BigEndian.Uint32(head[8:]))
	if size < frameHead || size > 1<<20 {
		return 0, 0, fmt.Errorf("size %d", size)
	}
	body := make([]byte, size-frameHead)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, 0, err
	}
	for i, got := range body {
		if want := byte(sender + number + i); got != want {
			return 0, 0, fmt.Errorf("frame %d of %d: byte %d = %d, want %d", number, sender, i, got, want)
		}
	}
	return sender, number, nil
}

func put(w *Writer, ctx context.Context, sender, number, size int) error {
	if number%3 == 0 {
		_, err := w.Send(ctx, appendFrame(bufpool.Get(size), sender, number, size))
		return err
	}
	b, err := w.Begin(ctx)
	if err != nil {
		return err
	}
	w.Commit(appendFrame(b, sender, number, size))
	return nil
}

// idle checks that w holds no memory when all is written.
func idle(t *testing.T, w *Writer) {
	t.Helper()
	w.Join()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.flushing.Load() || w.in.tail != nil || w.out.tail != nil || w.used != 0 || w.in.msgs != 0 || w.outMsgs != 0 {
		t.Errorf("idle Writer: flushing %v, buffers of %d and %d bytes, %d bytes and %d+%d messages waiting",
			w.flushing.Load(), cap(w.in.tail), cap(w.out.tail), w.used, w.in.msgs, w.outMsgs)
	}
}

func TestManySenders(t *testing.T) {
	const senders, frames = 100, 60
	for _, test := range []struct {
		name, network string
		wrap          bool
		bound         int
		mode          Mode
	}{
		{"tcp", "tcp", false, 0, Yield},
		{"tcp, little room", "tcp", false, 3000, Yield},
		{"tcp, reader's mode", "tcp", false, 3000, Yield | NoBlock},
		{"wrapped", "tcp", true, 0, Yield},
		{"wrapped, reader's mode", "tcp", true, 3000, NoBlock},
		{"unix", "unix", false, 3000, 0},
		{"pipe", "pipe", false, 3000, 0},
		{"pipe, reader's mode", "pipe", false, 100_000, NoBlock | Yield},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			near, far := pair(t, test.network)
			conn := near
			if test.wrap {
				conn = &wrapped{TCPConn: near.(*net.TCPConn)}
			}
			w := New(conn, Config{Bound: test.bound, Fail: func(err error) { t.Errorf("Fail(%v)", err) }})
			var wg sync.WaitGroup
			for s := range senders {
				wg.Go(func() {
					for n := range frames {
						size := frameHead + (s*7+n*131)%900
						if n == 30 && s%10 == 0 {
							size = 40_000 // a segment
						}
						if err := put(w, t.Context(), s, n, size); err != nil {
							t.Error(err)
							return
						}
						w.Flush(test.mode)
					}
				})
			}
			next := make([]int, senders)
			for range senders * frames {
				s, n, err := readFrame(far)
				if err != nil {
					t.Fatal(err)
				}
				if n != next[s] {
					t.Fatalf("sender %d: frame %d, want %d", s, n, next[s])
				}
				next[s]++
			}
			wg.Wait()
			if err := w.Wait(t.Context()); err != nil {
				t.Errorf("Wait = %v", err)
			}
			idle(t, w)
		})
	}
}

// The order in which frames are committed is that of the bytes.
func TestCommitOrder(t *testing.T) {
	const frames = 2000
	near, far := pair(t, "tcp")
	w := New(near, Config{})
	var wg sync.WaitGroup
	number := 0 // under the lock of the batch
	for range 8 {
		wg.Go(func() {
			for range frames / 8 {
				b, err := w.Begin(nil)
				if err != nil {
					t.Error(err)
					return
				}
				b = appendFrame(b, 0, number, 300)
				number++
				w.Commit(b)
				w.Flush(Yield)
			}
		})
	}
	for want := range frames {
		if _, n, err := readFrame(far); err != nil || n != want {
			t.Fatalf("frame %d, %v; want %d", n, err, want)
		}
	}
	wg.Wait()
}

func TestSegments(t *testing.T) {
	c := newGate()
	c.open()
	w := New(c, Config{})
	var want []byte
	var frames [][]byte
	for i, size := range []int{100, 100_000, 200, copyBelow - 1, copyBelow, copyBelow + 1, 300, 70_000} {
		frame := appendFrame(bufpool.Get(size), 1, i, size)
		want = append(want, frame...)
		if _, err := w.Send(nil, frame); err != nil {
			t.Fatal(err)
		}
		if size >= copyBelow {
			frames = append(frames, frame)
		}
	}
	if msgs, n := w.Queued(); msgs != 8 || n != len(want) {
		t.Errorf("Queued() = %d, %d; want 8, %d", msgs, n, len(want))
	}
	w.Flush(0)
	got, at := c.got()
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes written, not the %d sent", len(got), len(want))
	}
	for _, f := range frames {
		if !at[&f[0]] {
			t.Errorf("frame of %d bytes was written from another place", len(f))
		}
	}
	idle(t, w)
}

func TestBegin(t *testing.T) {
	small, large := appendFrame(nil, 1, 1, 600), appendFrame(nil, 1, 2, 600_000)
	for _, test := range []struct {
		name string
		add  func(t *testing.T, w *Writer)
		want []byte
		msgs int
	}{
		{"commit", func(t *testing.T, w *Writer) {
			b, _ := w.Begin(nil)
			w.Commit(append(b, small...))
		}, small, 1},
		{"with room", func(t *testing.T, w *Writer) {
			w.Begin(nil)
			b := w.Room(len(large))
			if cap(b) < len(large) {
				t.Errorf("Room(%d) has room for %d", len(large), cap(b))
			}
			w.Commit(append(b, large...))
		}, large, 1},
		{"with room after other frames", func(t *testing.T, w *Writer) {
			w.Begin(nil)
			first := append(w.Room(100_000), large[:40_000]...)
			w.Commit(first)
			w.Begin(nil)
			w.Commit(append(w.Room(100_000), large[40_000:140_000]...))
			if len(w.in.segs) != 1 || &w.in.segs[0].b[0] != &first[0] {
				t.Errorf("the first frame was copied: %d segments", len(w.in.segs))
			}
		}, large[:140_000], 2},
		{"reallocated", func(t *testing.T, w *Writer) {
			b, _ := w.Begin(nil)
			w.Commit(append(b, large...))
			b, _ = w.BeginNow()
			w.Commit(append(b, small...))
		}, append(large[:len(large):len(large)], small...), 2},
		{"nothing", func(t *testing.T, w *Writer) {
			b, _ := w.Begin(nil)
			w.Commit(b)
		}, nil, 0},
		{"empty frame", func(t *testing.T, w *Writer) {
			if _, err := w.Send(nil, bufpool.Get(0)); err != nil {
				t.Error(err)
			}
		}, nil, 0},
		{"abort", func(t *testing.T, w *Writer) {
			b, _ := w.Begin(nil)
			_ = append(b, small...)
			w.Abort()
		}, nil, 0},
		{"panic", func(t *testing.T, w *Writer) {
			b, _ := w.Begin(nil)
			w.Commit(append(b, small...))
			func() {
				defer func() { recover() }()
				b, _ := w.Begin(nil)
				defer w.Abort()
				_ = append(b, "half a fra"...)
				panic("appender")
			}()
			b, _ = w.Begin(nil)
			w.Commit(append(b, small...))
		}, append(small[:len(small):len(small)], small...), 2},
		{"capacity", func(t *testing.T, w *Writer) {
			for range 2000 {
				b, _ := w.Begin(nil)
				if free := cap(b) - len(b); free < minFree {
					t.Fatalf("%d bytes free after %d", free, len(b))
				}
				w.Commit(append(b, small...))
			}
		}, bytes.Repeat(small, 2000), 2000},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newGate()
			c.open()
			w := New(c, Config{})
			test.add(t, w)
			if msgs, n := w.Queued(); msgs != test.msgs || n != len(test.want) {
				t.Errorf("Queued() = %d, %d; want %d, %d", msgs, n, test.msgs, len(test.want))
			}
			w.Flush(0)
			if got, _ := c.got(); !bytes.Equal(got, test.want) {
				t.Errorf("%d bytes written, not the %d wanted", len(got), len(test.want))
			}
			idle(t, w)
		})
	}
}

func TestSlowReader(t *testing.T) {
	for _, test := range []struct {
		name string
		add  func(w *Writer) error
		want int // frames of 600 bytes accepted with a bound of 1000
	}{
		{"BeginNow", func(w *Writer) error {
			b, err := w.BeginNow()
			if err == nil {
				w.Commit(appendFrame(b, 0, 0, 600))
			}
			return err
		}, 4}, // the last frame begins below the limit
		{"SendNow", func(w *Writer) error {
			_, err := w.SendNow(appendFrame(bufpool.Get(600), 0, 0, 600))
			return err
		}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := New(newGate(), Config{Bound: 1000})
			for i := range 10 {
				if err := test.add(w); err != nil {
					if !errors.Is(err, ErrSlowReader) || i != test.want {
						t.Errorf("frame %d: %v; want ErrSlowReader at %d", i, err, test.want)
					}
					return
				}
			}
			t.Error("no end")
		})
	}
	t.Run("larger than all", func(t *testing.T) {
		w := New(newGate(), Config{Bound: 1000})
		if _, err := w.SendNow(appendFrame(nil, 0, 0, 5000)); err != nil {
			t.Error(err)
		}
	})
}

// drawn counts as a Memory does.
type drawn struct{ n, most int64 }

func (d *drawn) Draw(n int64) { d.n += n; d.most = max(d.most, d.n) }

// A large frame counts until it has been written, or was discarded.
func TestLargeFramesCount(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(c *gate, w *Writer)
	}{
		{"written", func(c *gate, w *Writer) { c.open(); w.Flush(0); w.Wait(nil) }},
		{"discarded", func(c *gate, w *Writer) { w.Close(nil) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, d := newGate(), new(drawn)
			w := New(c, Config{Draw: d.Draw, Bound: 64 << 20})
			for _, n := range []int{sealAt, 1 << 20, 2 << 20} {
				if _, err := w.Send(nil, append(bufpool.Get(n), make([]byte, n)...)); err != nil {
					t.Fatal(err)
				}
			}
			if d.n != 3<<20 {
				t.Errorf("%d bytes are counted, want 3 MiB", d.n)
			}
			if test.end(c, w); d.n != 0 {
				t.Errorf("%d bytes are counted at the end, want 0", d.n)
			}
			c.open()
			w.Close(nil)
			w.Join()
		})
	}
}
