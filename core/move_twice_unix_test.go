//go:build unix

package tp

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// A process that is replaced while it still gets sessions of the one before it hands these over,
// too: no process is left over, and no session ends.
func TestRebootDuringAReboot(t *testing.T) {
	m := startMoved(t, "tcp")
	c := moveClient(t, "tcp")
	asked, answer := make(chan struct{}), make(chan struct{})
	HandleCall(c, "/ask", func(CallCtx, *string) (string, error) { close(asked); <-answer; return "x", nil })
	all := []*session{m.dial(c), m.dial(c), m.dial(c)}
	for _, s := range all[1:] {
		wantCall(t, s, "/echo", "x", "x")
	}
	var load sync.WaitGroup
	defer load.Wait()
	reply := sync.OnceFunc(func() { close(answer) })
	defer reply()
	load.Go(func() { wantCall(t, all[0], "/ask", "", "x") }) // the first process has it as long as it runs
	<-asked
	kill := func() {
		if err := syscall.Kill(m.pid, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
	}
	first := m.pid
	kill()
	_, m.pid, _ = m.next("serves")
	second := m.pid
	kill()
	kind, pid, rest := m.next("waits", "stays", "serves")
	if kind != "waits" {
		t.Errorf("%s %d %s; want that the second process waits", kind, pid, rest)
	}
	reply()
	load.Wait()
	ended := make(map[int]bool)
	for m.pid == second || len(ended) < 2 {
		switch kind, pid, rest := m.next("serves", "ends", "stays"); kind {
		case "serves":
			m.pid = pid
		case "ends":
			ended[pid] = true
		default:
			t.Fatalf("%s %d %s", kind, pid, rest)
		}
	}
	if !ended[first] || !ended[second] {
		t.Errorf("the processes %v have ended; want %d and %d", ended, first, second)
	}
	for _, s := range all {
		wantCall(t, s, "/pid", "", strconv.Itoa(m.pid))
		if s.currentLink().epoch != 1 || s.CloseReason() != nil {
			t.Errorf("session %s has ended: %v", s.ID(), s.CloseReason())
		}
	}
}

// heldPort is a network, and a plugin that listens on it: of a port that is a file, and that a
// process has until it ends. Sessions of its peer do not move.
type heldPort struct {
	file string
	mine atomic.Bool
}

func (*heldPort) Name() string                  { return "held" }
func (*heldPort) PostAccept(PreSession) *Rerror { return nil }

func (h *heldPort) PostListen(net.Addr) error {
	cfg := moveConfig("", "")
	cfg.Net = &Network{Name: "held", Dial: dialTCP, Listen: h.listen}
	p, err := Open(cfg)
	if err != nil {
		return err
	}
	go func() { fmt.Println("listens", os.Getpid(), p.Listen()) }() // ends with the peer
	return nil
}

func (h *heldPort) listen(context.Context, ListenConfig) (net.Listener, error) {
	f, err := os.OpenFile(h.file, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		fmt.Println("busy", os.Getpid())
		return nil, os.NewSyscallError("bind", syscall.EADDRINUSE)
	}
	f.Close()
	h.mine.Store(true)
	return net.Listen("tcp", "127.0.0.1:0")
}

func (h *heldPort) release() {
	if h.mine.Load() {
		os.Remove(h.file)
	}
}

// A process waits for a port that cannot be handed over until the process that has it has ended,
// also if that is not the one which it has replaced.
func TestPortOfAnOlderProcess(t *testing.T) {
	m := startMoved(t, "tcp", moveHeld+"="+filepath.Join(t.TempDir(), "port"))
	_, first, result := m.next("listens")
	if first != m.pid || result != "<nil>" {
		t.Fatalf("process %d listens: %s; want %d", first, result, m.pid)
	}
	c := moveClient(t, "tcp")
	asked, answer := make(chan struct{}), make(chan struct{})
	HandleCall(c, "/ask", func(CallCtx, *string) (string, error) { close(asked); <-answer; return "x", nil })
	s := m.dial(c)
	var load sync.WaitGroup
	defer load.Wait()
	reply := sync.OnceFunc(func() { close(answer) })
	defer reply()
	load.Go(func() { wantCall(t, s, "/ask", "", "x") }) // the first process runs until this has its reply
	<-asked
	if err := syscall.Kill(m.pid, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	_, m.pid, _ = m.next("serves")
	m.reboot()
	for tries := 0; tries < 3; { // after the second process has ended
		kind, pid, result := m.next("busy", "listens")
		if pid != m.pid {
			continue
		}
		if tries++; kind != "busy" {
			t.Fatalf("the third process listens, while the first has the port: %s", result)
		}
	}
	reply()
	if _, pid, _ := m.next("ends"); pid != first {
		t.Errorf("process %d ends; want %d", pid, first)
	}
	if _, pid, result := m.next("listens"); pid != m.pid || result != "<nil>" {
		t.Errorf("process %d listens: %s; want %d", pid, result, m.pid)
	}
}
