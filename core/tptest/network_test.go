package tptest

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// dialer dials by the registered network of that name.
func dialer(network string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		n, err := tp.LookupNetwork(network)
		if err != nil {
			return nil, err
		}
		return n.Dial(ctx, tp.DialConfig{Network: network, Addr: addr})
	}
}

func listenTo(network string, name func() string) func() (net.Listener, error) {
	return func() (net.Listener, error) {
		n, err := tp.LookupNetwork(network)
		if err != nil {
			return nil, err
		}
		return n.Listen(context.Background(), tp.ListenConfig{Network: network, LocalIP: name()})
	}
}

func loopback() string { return "127.0.0.1" }

// paths makes paths for unix sockets.
func paths(t *testing.T) func() string {
	dir := t.TempDir()
	var n atomic.Int32
	return func() string { return filepath.Join(dir, strconv.Itoa(int(n.Add(1)))) }
}

func TestRunNetwork(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		n := NewNetwork()
		RunNetwork(t, n.Dial, func() (net.Listener, error) { return n.Listen("") })
		if left := n.Conns(); left > 0 {
			t.Errorf("%d ends of connections were not closed", left)
		}
	})
	t.Run("tcp", func(t *testing.T) { RunNetwork(t, dialer("tcp"), listenTo("tcp", loopback)) })
	if runtime.GOOS == "windows" {
		return
	}
	t.Run("unix", func(t *testing.T) { RunNetwork(t, dialer("unix"), listenTo("unix", paths(t))) })
	if runtime.GOOS == "linux" {
		t.Run("unixpacket", func(t *testing.T) {
			RunNetwork(t, dialer("unixpacket"), listenTo("unixpacket", paths(t)), Without(Stream))
		})
	}
}

// shoddy is a connection with faults.
type shoddy struct {
	*Conn
	fault  string
	closes atomic.Int32
}

func (c *shoddy) Read(p []byte) (int, error) {
	if c.fault != "read loses the rest" {
		return c.Conn.Read(p)
	}
	room := make([]byte, readRoom)
	n, err := c.Conn.Read(room)
	return copy(p, room[:n]), err
}

func (c *shoddy) Write(p []byte) (int, error) {
	switch c.fault {
	case "write is short":
		return c.Conn.Write(p[:min(len(p), 1000)])
	case "write in two parts":
		n, err := c.Conn.Write(p[:len(p)/2])
		if err != nil {
			return n, err
		}
		<-time.After(time.Millisecond)
		m, err := c.Conn.Write(p[len(p)/2:])
		return n + m, err
	}
	return c.Conn.Write(p)
}

func (c *shoddy) LocalAddr() net.Addr {
	if c.fault == "no address" {
		return nil
	}
	return c.Conn.LocalAddr()
}

func (c *shoddy) SetReadDeadline(at time.Time) error {
	if c.fault == "no read deadline" {
		return nil
	}
	return c.Conn.SetReadDeadline(at)
}

func (c *shoddy) SetWriteDeadline(at time.Time) error {
	if c.fault == "no write deadline" {
		return nil
	}
	return c.Conn.SetWriteDeadline(at)
}

func (c *shoddy) Close() error {
	switch {
	case c.fault == "close does nothing" && c.closes.Add(1) <= 2: // the two closes of the check, not those of the clean-up
		return nil
	case c.fault == "close loses":
		c.Conn.Cut()
	}
	return c.Conn.Close()
}

func (c *shoddy) CloseWrite() error {
	if c.fault == "half close is whole" {
		return c.Conn.Close()
	}
	return c.Conn.CloseWrite()
}

type shoddyListener struct {
	net.Listener
	fault string
}

func (l shoddyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		if l.fault == "accept with other words" {
			err = errors.New("over")
		}
		return nil, err
	}
	if l.fault == "accept waits for bytes" {
		first := make([]byte, 1)
		if _, err := c.Read(first); err != nil {
			return nil, err
		}
		return &impatient{shoddy{Conn: c.(*Conn)}, first}, nil
	}
	return &shoddy{Conn: c.(*Conn), fault: l.fault}, nil
}

// impatient is a connection whose first byte has been read.
type impatient struct {
	shoddy
	first []byte
}

func (c *impatient) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.shoddy.Read(p)
}

func (l shoddyListener) Addr() net.Addr {
	if l.fault == "no listener's address" {
		return nil
	}
	return l.Listener.Addr()
}

// shoddyNetwork makes connections in memory with a fault. At the end of the test they are
// cut, since what does not close them would outlive it.
func shoddyNetwork(t *testing.T, fault string) *suite {
	LeakCheck(t)
	n := NewNetwork()
	t.Cleanup(n.CutAll)
	var made atomic.Int32
	s := newNetworkSuite(func(ctx context.Context, addr string) (net.Conn, error) {
		if fault == "dial does not care" {
			ctx = context.Background()
		}
		conn, err := n.Dial(ctx, addr)
		if err != nil {
			return nil, err
		}
		c := conn.(*Conn)
		switch {
		case fault == "damage", fault == "damage late" && made.Add(1) == 10:
			c.Corrupt(3)
		case fault == "damage far":
			c.Corrupt(2 << 20)
		case fault == "damage back":
			c.Peer().Corrupt(100)
		}
		return &shoddy{Conn: c, fault: fault}, nil
	}, func() (net.Listener, error) {
		lis, err := n.Listen("")
		if err != nil {
			return nil, err
		}
		return shoddyListener{lis, fault}, nil
	}, nil)
	s.patient = 300 * time.Millisecond // by the real clock
	return s
}

func TestRunNetworkFinds(t *testing.T) {
	found := make(map[string]bool)
	for _, test := range []struct{ check, fault string }{
		{"both ways", "damage"},
		{"addresses", "no address"},
		{"addresses", "no listener's address"},
		{"transfer", "damage far"},
		{"transfer", "write is short"},
		{"small reads", "read loses the rest"},
		{"silent", "accept waits for bytes"},
		{"many", "damage late"},
		{"writes", "write in two parts"},
		{"read deadline", "no read deadline"},
		{"write deadline", "no write deadline"},
		{"close", "close does nothing"},
		{"end", "close loses"},
		{"half close", "half close is whole"},
		{"accept", "accept with other words"},
		{"dial", "dial does not care"},
		{"peers", "damage back"},
		{"peers", "close does nothing"},
	} {
		found[test.check] = true
		t.Run(test.check+"/"+test.fault, func(t *testing.T) {
			wantFault(t, shoddyNetwork(t, test.fault), networkChecks, test.check)
		})
	}
	wantAll(t, networkChecks, found)
}

// A network that lacks a feature passes only without it.
func TestRunNetworkWithout(t *testing.T) {
	for _, test := range []struct {
		fault   string
		feature Feature
		checks  []string
	}{
		{"read loses the rest", Stream, []string{"small reads"}},
		{"no read deadline", Deadlines, []string{"read deadline"}},
		{"no write deadline", Deadlines, []string{"write deadline"}},
		{"close loses", End, []string{"end"}},
		{"accept waits for bytes", Silent, []string{"silent", "peers"}},
	} {
		t.Run(test.fault, func(t *testing.T) {
			for _, name := range test.checks {
				if name != "peers" { // whose peers would outlive the check
					wantFault(t, shoddyNetwork(t, test.fault), networkChecks, name)
				}
				s := shoddyNetwork(t, test.fault)
				s.patient = time.Minute
				Without(test.feature)(s)
				for _, c := range networkChecks {
					if c.name != name {
						continue
					}
					for _, f := range s.try(t, c) {
						t.Errorf("without %s, check %s: %s", test.feature, name, f)
					}
				}
			}
		})
	}
}

// Peers over a network with a handshake shake hands.
func TestRunNetworkHandshake(t *testing.T) {
	n := NewNetwork()
	var dialed, accepted atomic.Int32
	RunNetwork(t, n.Dial, func() (net.Listener, error) { return n.Listen("") }, Handshake(func(_ context.Context, h *tp.Handshake) error {
		if h.Dialed {
			dialed.Add(1)
			_, err := h.Conn.Write([]byte("hello"))
			return err
		}
		accepted.Add(1)
		_, err := io.ReadFull(h.Conn, make([]byte, 5))
		return err
	}))
	if d, a := dialed.Load(), accepted.Load(); d == 0 || d != a {
		t.Errorf("%d handshakes of the dialling side, %d of the accepting one; want as many", d, a)
	}
}
