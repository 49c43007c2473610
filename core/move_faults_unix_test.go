//go:build unix

package tp

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/inherit"
)

// dies is the plugin of a process that is killed when sessions are handed to it.
type dies struct{ when string }

func (d dies) Name() string                     { return "movable" }
func (d dies) PostAccept(PreSession) *Rerror    { return nil }
func (d dies) Save(BaseSession) ([]byte, error) { return nil, nil }
func (d dies) PostReady(Session)                { d.at("ready") }

// restored is how many sessions a process that dies has taken.
var restored atomic.Int32

func (d dies) Restore(PreSession, []byte) *Rerror {
	d.at("restore")
	if d.when == "ready" && restored.Add(1) > 1 {
		select {} // the first ends the process, before all have moved
	}
	return nil
}

func (d dies) PostListen(addr net.Addr) error {
	fmt.Println("serves", os.Getpid(), addr)
	return nil
}

// at kills the process if this is the moment.
func (d dies) at(when string) {
	if d.when == when {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// The new process is killed, at whatever step: the old one serves on, its sessions have not
// noticed, and it accepts new ones. What had moved already is lost, and redials.
func TestNewProcessIsKilled(t *testing.T) {
	for _, when := range []string{"restore", "ready"} {
		t.Run(when, func(t *testing.T) {
			fault := filepath.Join(t.TempDir(), "fault")
			m := startMoved(t, "tcp", moveFault+"="+fault)
			c := moveClient(t, "tcp")
			var all []*session
			for range 5 {
				all = append(all, m.dial(c))
			}
			for _, s := range all {
				wantCall(t, s, "/echo", "x", "x")
			}
			if err := os.WriteFile(fault, []byte(when), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(m.pid, syscall.SIGUSR2); err != nil {
				t.Fatal(err)
			}
			_, pid, why := m.next("stays")
			if pid != m.pid || !strings.Contains(why, "has ended while sessions moved to it") {
				t.Errorf("process %d says %s; want that of %d, that the new one has ended", pid, why, m.pid)
			}
			lost := 0
			for _, s := range all {
				var got string
				if r := s.Call("/pid", "", &got).Rerror(); r != nil {
					lost++
				} else if got != strconv.Itoa(m.pid) {
					t.Errorf("process %s answers; want %d", got, m.pid)
				}
			}
			if when == "restore" && lost > 0 || lost > 1 {
				t.Errorf("%d sessions are lost", lost)
			}
			wantCall(t, m.dial(c), "/pid", "", strconv.Itoa(m.pid))
			if err := os.Remove(fault); err != nil {
				t.Fatal(err)
			}
			m.reboot() // now it works
			for _, s := range all {
				if s.Health() {
					wantCall(t, s, "/pid", "", strconv.Itoa(m.pid))
				}
			}
		})
	}
}

// A session whose Swap nobody saves stays, and ends as it did before sessions moved; the others
// move.
func TestSwapStays(t *testing.T) {
	m := startMoved(t, "tcp")
	c := moveClient(t, "tcp")
	moves, stays := m.dial(c), m.dial(c)
	wantCall(t, moves, "/echo", "x", "x")
	wantCall(t, stays, "/swap", "x", "")
	m.reboot()
	wantCall(t, moves, "/pid", "", strconv.Itoa(m.pid))
	<-stays.CloseNotify()
	if f := stays.currentLink().bye.Load(); f == nil || f.after == 0 {
		t.Errorf("the session that stays got the farewell %+v; want one that says when to come back", f)
	}
}

// A message that has arrived in part crosses as the bytes that are there.
func TestHalfAMessageMoves(t *testing.T) {
	for _, part := range []int{1, 3, 4, 5, 20} {
		t.Run(strconv.Itoa(part), func(t *testing.T) {
			m := startMoved(t, "tcp")
			conn, err := net.Dial("tcp", m.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			ask := func(first int, between func()) string {
				frame := testFrame(t, 7, "/pid", "")
				if first == 0 {
					first = len(frame)
				}
				if _, err := conn.Write(frame[:first]); err != nil {
					t.Fatal(err)
				}
				between()
				if _, err := conn.Write(frame[first:]); err != nil {
					t.Fatal(err)
				}
				return readTestFrame(t, conn)
			}
			if got := ask(0, func() {}); !strings.Contains(got, strconv.Itoa(m.pid)) {
				t.Fatalf("the reply is %q", got)
			}
			if got := ask(part, m.reboot); !strings.Contains(got, strconv.Itoa(m.pid)) {
				t.Errorf("the reply is %q; want that of process %d", got, m.pid)
			}
		})
	}
}

// testFrame is a CALL of the protocol of the tests, as bytes.
func testFrame(t *testing.T, seq uint32, method, body string) []byte {
	t.Helper()
	b := binary.BigEndian.AppendUint32(nil, seq)
	b = append(b, TypeCall, 251)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(method))), method...)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = append(b, body...)
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(5+len(b))), 0), b...)
}

func readTestFrame(t *testing.T, conn net.Conn) string {
	t.Helper()
	var head [4]byte
	if _, err := readFull(conn, head[:]); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint32(head[:])-4)
	if _, err := readFull(conn, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func readFull(conn net.Conn, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = conn.Read(b[n:])
		n += k
	}
	return n, err
}

// Moves there and back leave no descriptor, goroutine or session behind.
func TestMovesLeaveNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // no /proc
	}
	p := newPeerPair(t, "tcp")
	other := newPeerPair(t, "tcp")
	var clients []*session
	for range 50 {
		c, _ := p.dial(t)
		clients = append(clients, c)
	}
	count := func() (fds, goroutines int) {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list), runtime.NumGoroutine()
	}
	from, to := p.srv, other.srv
	there := func() {
		t.Helper()
		ctx := t.Context()
		if moved, stayed := inherit.Rehearse(ctx, from, to); moved != len(clients) {
			t.Fatalf("%d sessions have moved; others stay: %v", moved, stayed)
		}
		from, to = to, from
		for _, c := range clients {
			wantCall(t, c, "/echo", "x", "x")
		}
	}
	there()
	there()
	fds, goroutines := count()
	for range 10 {
		there()
	}
	soon(t, "descriptors and goroutines are back to what they were", func() bool {
		f, g := count()
		return f <= fds+1 && g <= goroutines+5
	})
	if n := from.CountSession() + to.CountSession(); n != len(clients) {
		t.Errorf("the servers have %d sessions; want %d", n, len(clients))
	}
}
