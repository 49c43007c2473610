package socket_test

import (
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

func TestMessageSizeLimit(t *testing.T) {
	defer socket.SetMessageSizeLimit(socket.DefaultMessageSizeLimit)
	if n := socket.MessageSizeLimit(); n != 64<<20 {
		t.Errorf("MessageSizeLimit = %d, want 64 MiB", n)
	}
	socket.SetMessageSizeLimit(100)
	if n := socket.MessageSizeLimit(); n != 100 {
		t.Errorf("MessageSizeLimit = %d, want 100", n)
	}
	a, _ := sockets(t, "tcp")
	if err := a.WriteMessage(push(1, socket.WithBody(make([]byte, 100)))); !errors.Is(err, socket.ErrSizeLimit) {
		t.Errorf("WriteMessage = %v, want ErrSizeLimit", err)
	}
	socket.SetMessageSizeLimit(0)
	if n := socket.MessageSizeLimit(); n != math.MaxUint32 {
		t.Errorf("MessageSizeLimit after 0 = %d, want the largest uint32", n)
	}
	// What was made before keeps its own.
	if err := a.WriteMessage(push(1, socket.WithBody(make([]byte, 100)))); !errors.Is(err, socket.ErrSizeLimit) {
		t.Errorf("WriteMessage later = %v, want ErrSizeLimit", err)
	}
}

// restore puts the process-wide tuning back as far as its setters can.
func restore(t *testing.T) {
	t.Cleanup(func() {
		socket.SetSocketNoDelay(true)
		socket.SetSocketKeepAlive(true)
		socket.SetSocketReadBuffer(0)
		socket.SetSocketWriteBuffer(0)
	})
}

func TestDefaultTuning(t *testing.T) {
	restore(t)
	if n, isDefault := socket.SocketReadBuffer(); n != 0 || !isDefault {
		t.Errorf("SocketReadBuffer = %d, %v", n, isDefault)
	}
	if n, isDefault := socket.SocketWriteBuffer(); n != 0 || !isDefault {
		t.Errorf("SocketWriteBuffer = %d, %v", n, isDefault)
	}
	socket.SetSocketReadBuffer(4096)
	socket.SetSocketWriteBuffer(8192)
	socket.SetSocketReadBuffer(-1) // is ignored
	socket.SetSocketWriteBuffer(-1)
	if n, isDefault := socket.SocketReadBuffer(); n != 4096 || isDefault {
		t.Errorf("SocketReadBuffer = %d, %v", n, isDefault)
	}
	if n, isDefault := socket.SocketWriteBuffer(); n != 8192 || isDefault {
		t.Errorf("SocketWriteBuffer = %d, %v", n, isDefault)
	}
	socket.SetSocketKeepAlive(false)
	socket.SetSocketKeepAlivePeriod(time.Minute)
	socket.SetSocketKeepAlivePeriod(0)
	socket.SetSocketNoDelay(false)
	got := socket.DefaultTuning()
	if got.KeepAlive == nil || *got.KeepAlive || got.KeepAlivePeriod != time.Minute || got.NoDelay == nil || *got.NoDelay ||
		got.ReadBuffer != 4096 || got.WriteBuffer != 8192 {
		t.Errorf("DefaultTuning = %+v", got)
	}
	c, _ := dial(t, "pipe")
	b := &buffered{Conn: c}
	socket.NewSocket(b, testwire.New)
	if want := []int{4096, -8192}; !slices.Equal(b.asked, want) {
		t.Errorf("a new socket asks for %v, want %v", b.asked, want)
	}
	socket.SetSocketReadBuffer(0)
	if n, isDefault := socket.SocketReadBuffer(); n != 0 || !isDefault {
		t.Errorf("SocketReadBuffer = %d, %v after 0", n, isDefault)
	}
}

// buffered notes what it is asked for: the size to read, minus the size to write.
type buffered struct {
	net.Conn
	asked []int
}

func (b *buffered) SetReadBuffer(n int) error { b.asked = append(b.asked, n); return nil }
func (b *buffered) SetWriteBuffer(n int) error {
	b.asked = append(b.asked, -n)
	return io.ErrNoProgress
}

func TestTuningApply(t *testing.T) {
	yes, no := true, false
	c, _ := dial(t, "pipe")
	for _, test := range []struct {
		name string
		t    socket.Tuning
		want []int
	}{
		{"nothing", socket.Tuning{}, nil},
		{"both", socket.Tuning{ReadBuffer: 1, WriteBuffer: 2}, []int{1, -2}},
		{"none of TCP's", socket.Tuning{NoDelay: &yes, KeepAlive: &no, KeepAlivePeriod: time.Second}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := &buffered{Conn: c}
			test.t.Apply(b)
			if !slices.Equal(b.asked, test.want) {
				t.Errorf("asks for %v, want %v", b.asked, test.want)
			}
			b.asked = nil
			test.t.Apply(tls.Client(b, &tls.Config{}))
			if !slices.Equal(b.asked, test.want) {
				t.Errorf("below TLS asks for %v, want %v", b.asked, test.want)
			}
		})
	}
}
