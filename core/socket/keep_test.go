package socket_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/inbox"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

// inParts reads a message of 1 MiB by itself, and says what it keeps if keep is above 0.
type inParts struct {
	simple
	keep   int
	memory *inbox.Memory
	used   int64 // after the last part
}

func (p *inParts) Unpack(m socket.Message) error {
	part := make([]byte, 32<<10)
	for range 1 << 20 / len(part) {
		if _, err := io.ReadFull(p.rw, part); err != nil {
			return err
		}
		if p.keep > 0 {
			if err := p.rw.(socket.Keeper).Keep(p.keep); err != nil {
				return err
			}
		}
	}
	p.used = p.memory.Used()
	return nil
}

// What a protocol reads by itself counts, until the end of the message: as much as it
// says, or all that it has read.
func TestReadsCount(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		name  string
		limit int64
		keep  int
		used  int64
		err   error
	}{
		{"all that was read", 2 * mib, 0, mib, nil},
		{"too much was read", mib / 2, 0, 0, inbox.ErrMemory},
		{"what it keeps", mib / 2, 100 << 10, 100 << 10, nil},
		{"it keeps too much", mib / 2, mib, 0, inbox.ErrMemory},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := net.Pipe()
			defer a.Close()
			defer b.Close()
			go func() {
				for range 2 {
					b.Write(make([]byte, mib))
				}
			}()
			memory := inbox.NewMemory(test.limit)
			p := &inParts{keep: test.keep, memory: memory}
			c := socket.NewConn(a, func(rw io.ReadWriter) socket.Proto {
				p.rw = rw
				return p
			}, socket.Options{Memory: memory})
			for range 2 {
				if err := c.ReadInto(new(socket.Envelope)); !errors.Is(err, test.err) {
					t.Fatalf("got %v, want %v", err, test.err)
				}
				if p.used != test.used {
					t.Errorf("%d bytes counted, want %d", p.used, test.used)
				}
				if n := memory.Used(); n != test.used && test.err == nil {
					t.Errorf("%d bytes counted after the message, want the %d that it has", n, test.used)
				}
				memory.Draw(-c.TakeMemory())
				if n := memory.Used(); n != 0 {
					t.Errorf("%d bytes counted after the message was given back", n)
				}
			}
		})
	}
}

// wrapped is the io.ReadWriter of a protocol inside another.
type wrapped struct{ rw io.ReadWriter }

func (w wrapped) Read(b []byte) (int, error)  { return w.rw.Read(b) }
func (w wrapped) Write(b []byte) (int, error) { return w.rw.Write(b) }
func (w wrapped) Unwrap() io.ReadWriter       { return w.rw }

// grow makes 1 MiB of anything.
type grow struct{}

func (grow) AppendUnpack(dst, _ []byte, max int) ([]byte, error) {
	if max < 1<<20 {
		return dst, xfer.ErrTooLarge
	}
	return append(dst, make([]byte, 1<<20)...), nil
}

// unfilters runs a filter for each byte that arrives.
type unfilters struct {
	simple
	memory *inbox.Memory
	used   int64 // by the last
}

func (p *unfilters) Unpack(socket.Message) error {
	if _, err := io.ReadFull(p.rw, make([]byte, 1)); err != nil {
		return err
	}
	_, err := socket.Unpack(p.rw, grow{}, nil, nil, 4<<20)
	p.used = p.memory.Used()
	return err
}

// What filters make counts in the memory of the connection, also for a protocol inside
// another.
func TestUnpackInside(t *testing.T) {
	for name, wrap := range map[string]func(io.ReadWriter) io.ReadWriter{
		"plain":          func(rw io.ReadWriter) io.ReadWriter { return rw },
		"inside":         func(rw io.ReadWriter) io.ReadWriter { return wrapped{rw} },
		"inside of that": func(rw io.ReadWriter) io.ReadWriter { return wrapped{wrapped{rw}} },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := net.Pipe()
			defer a.Close()
			defer b.Close()
			go b.Write([]byte("x"))
			p := &unfilters{memory: inbox.NewMemory(16 << 20)}
			c := socket.NewConn(a, func(rw io.ReadWriter) socket.Proto {
				p.rw = wrap(rw)
				return p
			}, socket.Options{Memory: p.memory})
			if err := c.ReadInto(new(socket.Envelope)); err != nil {
				t.Fatal(err)
			}
			if p.used < 1<<20 {
				t.Errorf("%d bytes counted, want 1 MiB", p.used)
			}
		})
	}
}

// A message that waits for memory to be packed ends with its context or with the
// connection, whichever is first.
func TestEnqueueWaitsForMemory(t *testing.T) {
	const limit = 1 << 20
	for _, test := range []struct {
		name string
		ctx  bool
		end  func(c *socket.Conn, cancel context.CancelFunc)
		want error
	}{
		{"the context ends", true, func(_ *socket.Conn, cancel context.CancelFunc) { cancel() }, context.Canceled},
		{"the connection ends", true, func(c *socket.Conn, _ context.CancelFunc) { c.Stop(errStopped) }, errStopped},
		{"the connection ends, without a context", false, func(c *socket.Conn, _ context.CancelFunc) { c.Stop(errStopped) }, errStopped},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				defer a.Close()
				defer b.Close()
				memory := inbox.NewMemory(limit)
				all := memory.Claim(inbox.ToBegin, 0, 2*limit) // beyond the limit: no other claim is
				c := socket.NewConn(a, testwire.New, socket.Options{Memory: memory})
				defer c.Release()
				var ctx context.Context
				cancel := func() {}
				if test.ctx {
					ctx, cancel = context.WithCancel(t.Context())
				}
				defer cancel()
				done := make(chan error, 1)
				go func() {
					done <- c.Enqueue(ctx, push(1, socket.WithBody(make([]byte, 200<<10))))
				}()
				time.Sleep(time.Minute)
				select {
				case err := <-done:
					t.Fatalf("Enqueue = %v; want it to wait", err)
				default:
				}
				test.end(c, cancel)
				synctest.Wait()
				select {
				case err := <-done:
					if !errors.Is(err, test.want) {
						t.Errorf("Enqueue = %v; want %v", err, test.want)
					}
				default:
					all.Free() // so that the bubble ends
					t.Error("it waits on")
				}
				all.Free()
				if n := memory.Used(); n != 0 {
					t.Errorf("%d bytes counted at the end", n)
				}
			})
		})
	}
}
