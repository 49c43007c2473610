package resumetest

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Cutter forwards TCP connections to a server, and cuts each one after a random number of
// bytes, half of them by a reset. Its fields may be changed at any time.
type Cutter struct {
	Server atomic.Pointer[string] // address
	Refuse atomic.Bool            // close new connections at once
	Frozen atomic.Bool            // drop what is read
	Most   atomic.Int64           // bytes after which a connection is cut at the latest; 0: it is not cut
	Cuts   atomic.Int64           // connections that have ended, by a cut or by themselves

	lis   net.Listener
	conns sync.Map // of *net.TCPConn: open ones
	ended atomic.Bool
	tasks sync.WaitGroup
}

// NewCutter returns a cutter before the server with this address; it ends with the test.
func NewCutter(t testing.TB, server string, most int64) *Cutter {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &Cutter{lis: lis}
	c.Server.Store(&server)
	c.Most.Store(most)
	c.tasks.Go(c.run)
	t.Cleanup(func() {
		lis.Close()
		c.ended.Store(true)
		c.CutAll()
		c.tasks.Wait()
	})
	return c
}

// Addr is where to dial.
func (c *Cutter) Addr() string { return c.lis.Addr().String() }

func (c *Cutter) run() {
	for {
		front, err := c.lis.Accept()
		if err != nil {
			return
		}
		back, err := net.Dial("tcp", *c.Server.Load())
		if err == nil && c.Refuse.Load() {
			back.Close()
			err = io.EOF
		}
		if err != nil {
			front.Close()
			continue
		}
		c.forward(front.(*net.TCPConn), back.(*net.TCPConn))
	}
}

// forward forwards both directions of a connection until it is cut.
func (c *Cutter) forward(front, back *net.TCPConn) {
	var left atomic.Int64
	most := c.Most.Load()
	if most > 0 {
		left.Store(rand.Int64N(most))
	}
	reset := rand.N(2) == 0
	cut := sync.OnceFunc(func() {
		c.Cuts.Add(1)
		for _, conn := range []*net.TCPConn{front, back} {
			if reset {
				conn.SetLinger(0)
			}
			conn.Close()
			c.conns.Delete(conn)
		}
	})
	c.conns.Store(front, nil)
	c.conns.Store(back, nil)
	if c.ended.Load() { // CutAll may not have seen it
		cut()
	}
	pass := func(from, to *net.TCPConn) {
		defer cut()
		b := make([]byte, 16<<10)
		for {
			n, err := from.Read(b)
			if c.Frozen.Load() && err == nil {
				continue
			}
			if most > 0 {
				if rest := left.Add(-int64(n)); rest < 0 {
					n = max(0, n+int(rest))
					err = io.ErrClosedPipe
				}
			}
			if _, bad := to.Write(b[:n]); err != nil || bad != nil {
				return
			}
		}
	}
	c.tasks.Go(func() { pass(front, back) })
	c.tasks.Go(func() { pass(back, front) })
}

// CutAll cuts the connections that there are: not those that take their place meanwhile.
func (c *Cutter) CutAll() {
	var all []*net.TCPConn
	c.conns.Range(func(conn, _ any) bool {
		all = append(all, conn.(*net.TCPConn))
		return true
	})
	for _, conn := range all {
		conn.Close()
	}
}
