package heartbeat_test

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/heartbeat"
)

// The README's figures are those of
//
//	go test -run TestIdle -v -timeout 20m -args -idle-sessions 10000 -idle-rate 30 -idle-for 90s
var (
	idleSessions = flag.Int("idle-sessions", 20, "sessions of TestIdle")
	idleRate     = flag.Int("idle-rate", 1, "their rate, in seconds")
	idleFor      = flag.Duration("idle-for", 1200*time.Millisecond, "how long TestIdle measures each")
)

// idlePong names the variable that makes this program the process of the pongs.
const idlePong = "TELEPORT_HEARTBEAT_IDLE"

// load is what a process has used so far, and its goroutines.
type load struct {
	cpu        time.Duration
	goroutines int
}

func readLoad() load { return load{cpuTime(), runtime.NumGoroutine()} }

// servePongs is the other process: it prints its address, and its load whenever it
// reads a line, until there are no more.
func servePongs(with string) {
	cfg := tp.PeerConfig{Network: "tcp", LocalIP: "127.0.0.1"}
	var plugin []tp.Plugin
	if with != "nothing" {
		plugin = plugins(heartbeat.NewPong())
	}
	t := new(testing.T)
	srv := tptest.NewPeer(t, cfg, plugin...)
	defer srv.Close()
	fmt.Println(tptest.Listen(t, srv))
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		l := readLoad()
		fmt.Println(int64(l.cpu), l.goroutines, srv.CountSession())
	}
}

// pongs is the other process as this one sees it.
type pongs struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

func (p pongs) load() (l load, sessions int) {
	p.t.Helper()
	fmt.Fprintln(p.in)
	if _, err := fmt.Fscan(p.out, &l.cpu, &l.goroutines, &sessions); err != nil {
		p.t.Fatalf("the process of the pongs: %v", err)
	}
	return l, sessions
}

// Idle sessions between two processes live on; -v prints what they cost. Nothing is
// demanded of that: a machine that others use gives no figure to rely on, and the
// goroutines are TestGoroutines' matter.
func TestIdle(t *testing.T) {
	for _, with := range []string{"nothing", "call", "push"} {
		t.Run(with, func(t *testing.T) {
			child := exec.CommandContext(t.Context(), os.Args[0])
			child.Env = append(os.Environ(), idlePong+"="+with)
			child.Stderr = os.Stderr
			in, err := child.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			defer child.Wait()
			defer in.Close()
			other := pongs{t, in, bufio.NewReader(out)}
			var addr string
			if _, err := fmt.Fscan(other.out, &addr); err != nil {
				t.Fatal(err)
			}

			var plugin []tp.Plugin
			if with != "nothing" {
				plugin = plugins(heartbeat.NewPing(*idleRate, with == "call"))
			}
			cli := tptest.NewPeer(t, tp.PeerConfig{Network: "tcp"}, plugin...)
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() {
					for range (*idleSessions + i) / 4 {
						tptest.Dial(t, cli, addr)
					}
				})
			}
			wg.Wait()
			<-time.After(*idleFor / 3) // the workers that dialling has needed end
			begin, mine := time.Now(), readLoad()
			yours, _ := other.load()
			// The least of the goroutines is that of the idle moments between the beats.
			mine2, least := mine, [2]int{mine.goroutines, yours.goroutines}
			yours2, sessions := yours, 0
			for range 6 {
				<-time.After(*idleFor / 6)
				mine2 = readLoad()
				yours2, sessions = other.load()
				least = [2]int{min(least[0], mine2.goroutines), min(least[1], yours2.goroutines)}
			}
			took := time.Since(begin)
			if sessions != *idleSessions || cli.CountSession() != *idleSessions {
				t.Errorf("%d and %d sessions are left; want %d", cli.CountSession(), sessions, *idleSessions)
			}
			t.Logf("%d sessions, rate %d s, %v: ping side %.2f%% of a core and %d goroutines, pong side %.2f%% and %d", *idleSessions, *idleRate,
				took.Round(time.Second), share(mine2.cpu-mine.cpu, took), least[0], share(yours2.cpu-yours.cpu, took), least[1])
		})
	}
}

func share(cpu, of time.Duration) float64 { return 100 * cpu.Seconds() / of.Seconds() }
