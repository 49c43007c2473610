package resume

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/resume/resumetest"
)

// Bytes arrive whole and in order in both directions, wherever the connection is cut.
func TestCutBytes(t *testing.T) {
	for _, test := range []struct {
		name           string
		server, client *tls.Config
	}{
		{"tcp", nil, nil},
		{"tls", tp.GenerateTLSConfigForServer(), tp.GenerateTLSConfigForClient()},
	} {
		t.Run(test.name, func(t *testing.T) {
			tptest.LeakCheck(t)
			stats := new(Stats)
			n := over(t, Options{Buffer: leastBuffer, Stats: stats})
			lis, err := n.Listen(t.Context(), tp.ListenConfig{LocalIP: "127.0.0.1", TLS: test.server})
			require.NoError(t, err)
			defer lis.Close()
			cut := resumetest.NewCutter(t, lis.Addr().String(), 0) // not yet: a stream whose answer is cut off would be accepted, too
			dialled, err := n.Dial(t.Context(), tp.DialConfig{Addr: cut.Addr(), TLS: test.client})
			require.NoError(t, err)
			accepted, err := lis.Accept()
			require.NoError(t, err)
			cut.Most.Store(300_000)
			cut.CutAll()
			var wg sync.WaitGroup
			const size = 8 << 20
			for i, c := range [][2]net.Conn{{dialled, accepted}, {accepted, dialled}} {
				wg.Go(func() { require.NoError(t, writePattern(c[0], uint64(i), size)) })
				wg.Go(func() { require.NoError(t, readPattern(c[1], uint64(i), size)) })
			}
			wg.Wait()
			require.Greater(t, cut.Cuts.Load(), int64(20))
			cut.Most.Store(0)
			closeBoth(t, dialled, accepted)
			t.Logf("%d cuts, resumed %d times", cut.Cuts.Load(), stats.Resumed.Load())
		})
	}
}

// pattern writes the bytes of a stream from a position on.
func pattern(b []byte, seed, at uint64) {
	for i := range b {
		p := at + uint64(i)
		x := (p/8 + seed) * 0x9e3779b97f4a7c15
		b[i] = byte(x >> (8 * (p % 8)))
	}
}

// writePattern writes size bytes of a pattern, in pieces of many sizes, and ends the
// direction.
func writePattern(c net.Conn, seed, size uint64) error {
	b := make([]byte, 100_000)
	for at := uint64(0); at < size; {
		n := min(uint64(rand.N(len(b)))+1, size-at)
		pattern(b[:n], seed, at)
		if m, err := c.Write(b[:n]); uint64(m) != n || err != nil {
			return fmt.Errorf("write at %d: %d of %d: %w", at, m, n, err)
		}
		at += n
	}
	return c.(interface{ CloseWrite() error }).CloseWrite()
}

// readPattern reads what writePattern writes, to its end.
func readPattern(c net.Conn, seed, size uint64) error {
	b, want := make([]byte, 50_000), make([]byte, 50_000)
	for at := uint64(0); ; {
		n, err := c.Read(b[:rand.N(len(b))+1])
		pattern(want[:n], seed, at)
		if string(b[:n]) != string(want[:n]) {
			return fmt.Errorf("wrong bytes behind %d", at)
		}
		at += uint64(n)
		if err == io.EOF && at == size {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read at %d of %d: %w", at, size, err)
		}
	}
}
