package resume

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// cutter forwards connections to a server, and cuts each one after a random number of bytes.
type cutter struct {
	lis    net.Listener
	server atomic.Pointer[string]
	refuse atomic.Bool
	frozen atomic.Bool  // what is read is dropped
	most   atomic.Int64 // bytes until a connection is cut; 0: never
	cuts   atomic.Int64
	conns  sync.Map // of *net.TCPConn: open ones
	tasks  sync.WaitGroup
}

func newCutter(t testing.TB, server string, most int64) *cutter {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cutter{lis: lis}
	c.server.Store(&server)
	c.most.Store(most)
	c.tasks.Go(c.run)
	t.Cleanup(func() {
		lis.Close()
		c.cutAll()
		c.tasks.Wait()
	})
	return c
}

func (c *cutter) addr() string { return c.lis.Addr().String() }

func (c *cutter) run() {
	for {
		front, err := c.lis.Accept()
		if err != nil {
			return
		}
		back, err := net.Dial("tcp", *c.server.Load())
		if err == nil && c.refuse.Load() {
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
func (c *cutter) forward(front, back *net.TCPConn) {
	var left atomic.Int64
	most := c.most.Load()
	if most > 0 {
		left.Store(rand.Int64N(most))
	}
	reset := rand.N(2) == 0
	cut := sync.OnceFunc(func() {
		c.cuts.Add(1)
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
	pass := func(from, to *net.TCPConn) {
		defer cut()
		b := make([]byte, 16<<10)
		for {
			n, err := from.Read(b)
			if c.frozen.Load() && err == nil {
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

// cutAll cuts all connections.
func (c *cutter) cutAll() {
	c.conns.Range(func(conn, _ any) bool {
		conn.(*net.TCPConn).Close()
		return true
	})
}
