package socket_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/socket"
)

// option returns what the system says of a TCP connection.
func option(t *testing.T, s socket.Socket, level, name int) int {
	t.Helper()
	var n int
	var err error
	if cerr := s.ControlFD(func(fd uintptr) { n, err = syscall.GetsockoptInt(int(fd), level, name) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return n
}

func TestTuningOfTCP(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		name        string
		t           socket.Tuning
		level, opt  int
		least, most int
	}{
		{"no delay", socket.Tuning{NoDelay: &yes}, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1, 1},
		{"delay", socket.Tuning{NoDelay: &no}, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 0, 0},
		{"no delay by default", socket.Tuning{}, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1, 1},
		{"keep alive", socket.Tuning{KeepAlive: &yes}, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1, 1},
		{"no keep alive", socket.Tuning{KeepAlive: &no}, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 0, 0},
		{"no keep alive, though with a period", socket.Tuning{KeepAlive: &no, KeepAlivePeriod: time.Minute},
			syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 0, 0},
		{"period", socket.Tuning{KeepAlivePeriod: 77 * time.Second}, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 77, 77},
		{"read buffer", socket.Tuning{ReadBuffer: 20_000}, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 20_000, 60_000},
		{"write buffer", socket.Tuning{WriteBuffer: 20_000}, syscall.SOL_SOCKET, syscall.SO_SNDBUF, 20_000, 60_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, _ := sockets(t, "tcp")
			test.t.Apply(s.Raw())
			if got := option(t, s, test.level, test.opt); got < test.least || got > test.most {
				t.Errorf("the system says %d, want %d to %d", got, test.least, test.most)
			}
		})
	}
}
