package socket_test

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/teleport-go/teleport/core/internal/inbox"
	"github.com/teleport-go/teleport/core/socket"
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
