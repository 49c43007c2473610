//go:build unix

package tp

import (
	"strconv"
	"sync"
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
