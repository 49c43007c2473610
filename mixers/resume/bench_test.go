//go:build unix

package resume

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// BenchmarkCall compares what a call of 581 bytes costs over tcp and over resume+tcp, by so
// many callers on so many connections; both ends are in this process. Each iteration is a
// call over either, in turns of four thousand.
func BenchmarkCall(b *testing.B) {
	for _, test := range []struct{ conns, callers int }{{1, 1}, {1, 100}, {100, 1}} {
		b.Run(fmt.Sprintf("%dx%d", test.conns, test.callers), func(b *testing.B) {
			names := []string{"tcp", "resume+tcp"}
			loads := []*benchLoad{newBenchLoad(b, names[0], test.conns, test.callers), newBenchLoad(b, names[1], test.conns, test.callers)}
			const turn = 4000
			var took, cpu [2]time.Duration
			calls := 0
			for _, l := range loads {
				l.run(turn)
			}
			b.ResetTimer()
			for i := 0; calls < b.N; i++ {
				for j := range loads {
					k := (i + j) % 2
					begun, used := time.Now(), cpuTime()
					loads[k].run(turn)
					took[k] += time.Since(begun)
					cpu[k] += cpuTime() - used
				}
				calls += turn
			}
			for k, name := range names {
				b.ReportMetric(float64(calls)/took[k].Seconds(), name+"-calls/s")
				b.ReportMetric(float64(cpu[k].Nanoseconds())/float64(calls), name+"-cpu-ns/call")
			}
			b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "speed÷")
		})
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchLoad is sessions and their callers.
type benchLoad struct {
	b        *testing.B
	sessions []tp.Session
	callers  int
	arg      string
}

func newBenchLoad(b *testing.B, network string, conns, callers int) *benchLoad {
	cfg := tp.PeerConfig{Network: network, LocalIP: "127.0.0.1"}
	srv, cli := tptest.NewPeer(b, cfg), tptest.NewPeer(b, cfg)
	tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
	addr := tptest.Listen(b, srv)
	l := &benchLoad{b: b, callers: callers, arg: strings.Repeat("x", 581)}
	for range conns {
		l.sessions = append(l.sessions, tptest.Dial(b, cli, addr))
	}
	return l
}

// run makes n calls.
func (l *benchLoad) run(n int) {
	var wg sync.WaitGroup
	each := n / (len(l.sessions) * l.callers)
	for _, s := range l.sessions {
		for range l.callers {
			wg.Go(func() {
				for range each {
					var reply string
					if r := s.Call("/echo", l.arg, &reply).Rerror(); r != nil {
						l.b.Error(r)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}
