package socket_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/teleport-go/teleport/core/internal/inbox"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

// swell is a filter, and no xfer.Prefixer, that packs equal bytes: five bytes are the
// number of them and the byte.
type swell struct{}

var swollen struct{ calls, limit atomic.Int64 }

func (swell) ID() byte                        { return '^' }
func (swell) Name() string                    { return "test-swell" }
func (swell) OnPack(b []byte) ([]byte, error) { return swell{}.AppendPack(nil, b) }
func (swell) AppendPack(dst, b []byte) ([]byte, error) {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(b))), b[0]), nil
}
func (swell) OnUnpack(b []byte) ([]byte, error) { return swell{}.AppendUnpack(nil, b, xfer.DefaultMax) }

func (swell) AppendUnpack(dst, b []byte, max int) ([]byte, error) {
	swollen.calls.Add(1)
	swollen.limit.Store(int64(max))
	n := int(binary.BigEndian.Uint32(b))
	if n > max {
		return dst, fmt.Errorf("%w: %d bytes, the limit is %d", xfer.ErrTooLarge, n, max)
	}
	return append(dst, bytes.Repeat(b[4:5], n)...), nil
}

// swellFrame is a frame of the protocols below.
func swellFrame(n int, c byte) []byte {
	b, _ := swell{}.AppendPack([]byte("\x00\x00\x00\x0a\x01^"), bytes.Repeat([]byte{c}, n))
	return append(b[:4:4], b[4:]...)
}

func init() {
	xfer.Register(swell{})
	for _, c := range "abc" {
		socket.RegisterProto(socket.Protocol{
			Name: "swell-" + string(c),
			New:  func(rw io.ReadWriter) socket.Proto { return whole{rw.(socket.PeekReader), byte(c)} },
			Recognise: func(prefix []byte) (bool, int) {
				if len(prefix) < 6 {
					return false, 6
				}
				payload, need, err := socket.FirstPayload(prefix, 5, 6, 1+int(binary.BigEndian.Uint32(prefix)))
				return need == 0 && err == nil && len(payload) > 0 && payload[0] == byte(c), need
			},
		})
	}
}

// whole is a protocol that takes the frame of the tests as it is.
type whole struct {
	in   socket.PeekReader
	name byte
}

func (p whole) Version() (byte, string)   { return p.name, "swell-" + string(p.name) }
func (p whole) Pack(socket.Message) error { return nil }
func (p whole) Unpack(m socket.Message) error {
	_, err := p.in.Discard(11)
	return err
}

// However many protocols look at it, and however slowly it comes, the first frame is
// unpacked once.
func TestRecogniseUnpacksOnce(t *testing.T) {
	for _, test := range []struct {
		name   string
		byByte bool
	}{{"at once", false}, {"byte by byte", true}} {
		t.Run(test.name, func(t *testing.T) {
			a, b := net.Pipe()
			defer a.Close()
			go func() {
				defer b.Close()
				frame := swellFrame(1000, 'c')
				step := len(frame)
				if test.byByte {
					step = 1
				}
				for ; len(frame) > 0; frame = frame[step:] {
					b.Write(frame[:step])
				}
			}()
			before := swollen.calls.Load()
			c := socket.NewConn(a, socket.AnyProto("swell-a", "swell-b", "swell-c"), socket.Options{})
			if err := c.ReadInto(new(socket.Envelope)); err != nil {
				t.Fatal(err)
			}
			if _, name := c.Proto().Version(); name != "swell-c" {
				t.Errorf("recognised %s, want swell-c", name)
			}
			if n := swollen.calls.Load() - before; n != 1 {
				t.Errorf("the first frame was unpacked %d times, want 1", n)
			}
		})
	}
}

// A first payload is unpacked up to the limit of the connection. One over it ends the
// connection, with the sizes.
func TestRecogniseLimit(t *testing.T) {
	for _, test := range []struct {
		limit uint32
		size  int
		want  int // the limit of the unpacking
		err   string
	}{
		{64 << 10, 64 << 10, 64 << 10, ""},
		{64 << 10, 64<<10 + 1, 64 << 10, "the payload of the first frame, 5 bytes behind filters, is too large to recognise a protocol by it: xfer: unpack with filter test-swell (id 94): too large: 65537 bytes, the limit is 65536"},
		{64 << 20, 1 << 20, 1 << 20, ""},
		{64 << 20, 1<<20 + 1, 1 << 20, "the limit is 1048576"},
		{8, 100, 1 << 20, "11 bytes are required to recognise protocol swell-a, over the limit of 8"},
	} {
		t.Run(fmt.Sprintf("%d of %d", test.size, test.limit), func(t *testing.T) {
			a, b := net.Pipe()
			defer a.Close()
			defer b.Close()
			go b.Write(swellFrame(test.size, 'b'))
			swollen.limit.Store(1 << 20)
			memory := inbox.NewMemory(1 << 30)
			c := socket.NewConn(a, socket.AnyProto("swell-a", "swell-b"), socket.Options{Limit: test.limit, Memory: memory})
			err := c.ReadInto(new(socket.Envelope))
			switch {
			case test.err == "" && err != nil:
				t.Error(err)
			case test.err != "" && (!errors.Is(err, socket.ErrSizeLimit) || !strings.Contains(err.Error(), test.err)):
				t.Errorf("got %v, want %s", err, test.err)
			}
			if got := swollen.limit.Load(); got != int64(test.want) {
				t.Errorf("unpacked with the limit %d, want %d", got, test.want)
			}
			if n := memory.Used(); n != 0 {
				t.Errorf("%d bytes in use behind it", n)
			}
		})
	}
}

// The payload that is unpacked counts in the memory of the peer.
func TestRecogniseMemory(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go b.Write(swellFrame(100, 'b'))
	before := swollen.calls.Load()
	c := socket.NewConn(a, socket.AnyProto("swell-a", "swell-b"), socket.Options{Memory: inbox.NewMemory(100 << 10)})
	if err := c.ReadInto(new(socket.Envelope)); !errors.Is(err, inbox.ErrMemory) {
		t.Errorf("got %v, want %v", err, inbox.ErrMemory)
	}
	if n := swollen.calls.Load() - before; n != 0 {
		t.Errorf("unpacked %d times beyond the memory", n)
	}
}

func TestFirstPayloadIsABeginning(t *testing.T) {
	frame := append([]byte("h~"), make([]byte, 100<<10)...)
	payload, need, err := socket.FirstPayload(frame, 1, 2, len(frame))
	if len(payload) != 4<<10 || need != 0 || err != nil {
		t.Errorf("got %d bytes, %d, %v; want 4096 bytes", len(payload), need, err)
	}
}
