//go:build unix

package outproc

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/tptest"
)

// A guest killed under load is started again. Each item ends, and none has wrong bytes:
// those under way are asked again.
func TestKill(t *testing.T) {
	tptest.LeakCheck(t)
	h := loadRole(t, "parts", func(g *Guest) { g.Timeout = 20 * time.Second })
	await(t, h, Ready)
	f := filterOf(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var items [16]atomic.Int64 // by caller
	for caller := range items {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				text := strconv.Itoa(caller) + " " + strconv.Itoa(n)
				out, err := f.OnPack([]byte(text))
				if err == nil {
					out, err = f.OnUnpack(out)
				}
				if err != nil || string(out) != text {
					t.Errorf("%q came back as %q, %v", text, out, err)
					return
				}
				items[caller].Add(1)
			}
		})
	}
	for n := 1; n <= 3; n++ {
		// An item is asked again once; let those that were lost be answered, each caller's.
		for caller := range items {
			before := items[caller].Load()
			require.Eventually(t, func() bool { return items[caller].Load() > before || t.Failed() }, 30*time.Second, time.Millisecond)
		}
		require.NoError(t, syscall.Kill(activePID(h), syscall.SIGKILL))
		e := await(t, h, Starting)
		require.ErrorContains(t, e.Err, "killed")
		await(t, h, Ready)
		require.Equal(t, n, h.Restarts())
	}
	close(stop)
	wg.Wait()
}

// The state changes when it is known why a process has ended, and not with a ping that fails
// before, or with that of another process.
func TestWhyItHasEnded(t *testing.T) {
	t.Run("the only process", func(t *testing.T) {
		tptest.LeakCheck(t)
		h := loadRole(t, "parts", func(g *Guest) { g.pingEvery = time.Hour })
		await(t, h, Ready)
		inst := h.active.Load()
		inst.withdraw() // as watch does when the lane has ended
		inst.setSlow(true)
		require.Equal(t, Ready, h.Health().State)
		require.NoError(t, syscall.Kill(inst.to.pid(), syscall.SIGKILL))
		require.ErrorContains(t, await(t, h, Starting).Err, "killed")
		await(t, h, Ready)
	})
	t.Run("one of two", func(t *testing.T) {
		tptest.LeakCheck(t)
		h := loadRole(t, "parts", func(g *Guest) { g.Replicas, g.pingEvery = 2, time.Hour })
		await(t, h, Ready)
		inst := h.active.Load()
		inst.withdraw()
		other := h.active.Load()
		other.setSlow(true)
		require.ErrorIs(t, await(t, h, Degraded).Err, errNoPing)
		other.setSlow(false)
		require.ErrorIs(t, h.Health().Err, errNoPing)
		require.NoError(t, syscall.Kill(inst.to.pid(), syscall.SIGKILL))
		await(t, h, Ready)
	})
}

// The second process takes over when the first one is killed, and another second one is
// started.
func TestReplicas(t *testing.T) {
	tptest.LeakCheck(t)
	h := loadRole(t, "parts", func(g *Guest) { g.Replicas = 2 })
	await(t, h, Ready)
	require.Len(t, h.Health().Processes, 2)
	first := activePID(h)
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	await(t, h, Degraded)
	_, err := filterOf(t).OnPack([]byte("x"))
	require.NoError(t, err)
	await(t, h, Ready)
	require.NotEqual(t, first, activePID(h))
	require.Len(t, h.Health().Processes, 2)
	require.Equal(t, 1, h.Restarts())
}

// A guest that ends five times within a minute is not started any more, until Reload.
func TestQuarantine(t *testing.T) {
	tptest.LeakCheck(t)
	var lines tptest.Lines
	h := loadRole(t, "parts", func(g *Guest) { g.Logger = lines.Logger() })
	f := filterOf(t)
	await(t, h, Ready)
	for range maxExits - 1 {
		require.NoError(t, syscall.Kill(activePID(h), syscall.SIGKILL))
		await(t, h, Ready)
	}
	require.NoError(t, syscall.Kill(activePID(h), syscall.SIGKILL))
	e := await(t, h, Quarantined)
	require.ErrorContains(t, e.Err, "it is in quarantine: it has ended 5 times within 1m0s, the last time: its process has ended: signal: killed")
	start := time.Now()
	_, err := f.OnPack([]byte("x"))
	require.ErrorIs(t, err, ErrGuestUnavailable)
	require.ErrorContains(t, err, "in quarantine")
	require.Less(t, time.Since(start), 20*time.Second, "an item waits for a guest in quarantine until its deadline")
	require.True(t, lines.Contain("call Reload of its Handle"))

	require.NoError(t, h.Reload(t.Context()))
	await(t, h, Ready)
	_, err = f.OnPack([]byte("x"))
	require.NoError(t, err)
}

// Reload replaces the processes, and no item fails.
func TestReload(t *testing.T) {
	tptest.LeakCheck(t)
	h := loadRole(t, "parts", func(g *Guest) { g.Timeout = 20 * time.Second })
	f := filterOf(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if out, err := f.OnPack([]byte("ab")); err != nil || string(out) != "ba" {
					t.Errorf("OnPack = %q, %v", out, err)
					return
				}
			}
		})
	}
	for range 3 {
		before := activePID(h)
		require.NoError(t, h.Reload(t.Context()))
		require.NotEqual(t, before, activePID(h))
		require.Len(t, h.Health().Processes, 1)
		require.ErrorIs(t, syscall.Kill(before, 0), syscall.ESRCH)
	}
	close(stop)
	wg.Wait()
	require.Zero(t, h.Restarts())
}

// A Reload that fails changes nothing.
func TestReloadFails(t *testing.T) {
	tptest.LeakCheck(t)
	path := t.TempDir() + "/guest"
	script := func(role string) {
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+envRole+"="+role+" exec "+self(t)+"\n"), 0o700))
	}
	require.NoError(t, os.WriteFile(path, nil, 0o700))
	script("parts")
	h := loadRole(t, "parts", func(g *Guest) { g.Path, g.Env = path, nil })
	before := activePID(h)
	for role, words := range map[string]string{
		"dies":  "outproc: reload guest parts: it has ended before it was ready (exit status 3)",
		"other": "its parts are not those that were loaded",
	} {
		script(role)
		require.ErrorContains(t, h.Reload(t.Context()), words)
	}
	require.ErrorContains(t, h.ReloadSHA256(t.Context(), "1234"), "is not 64 hexadecimal digits")
	require.Equal(t, before, activePID(h))
	require.Equal(t, Ready, h.Health().State)
	_, err := filterOf(t).OnPack([]byte("x"))
	require.NoError(t, err)
}

// stop stops a process, and returns when all of it has stopped: what runs on another processor
// does so a moment later.
func stop(t *testing.T, pid int) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	var status syscall.WaitStatus
	err := error(syscall.EINTR)
	for err == syscall.EINTR {
		_, err = syscall.Wait4(pid, &status, syscall.WUNTRACED, nil)
	}
	require.NoError(t, err)
	require.True(t, status.Stopped(), "it has ended")
}

// A process that was stopped is degraded, then replaced; its items fail at their
// deadline, and are not lost.
func TestStopped(t *testing.T) {
	tptest.LeakCheck(t)
	h := loadRole(t, "parts", func(g *Guest) { g.Timeout, g.pingEvery = 100*time.Millisecond, 200*time.Millisecond })
	await(t, h, Ready)
	pid := activePID(h)
	stop(t, pid)
	_, err := filterOf(t).OnPack([]byte("x"))
	require.ErrorIs(t, err, ErrGuestUnavailable)
	require.ErrorContains(t, await(t, h, Degraded).Err, "it does not answer pings")
	require.ErrorContains(t, await(t, h, Starting).Err, "it has answered nothing for 2s: it hangs, or it was stopped")
	await(t, h, Ready)
	require.NotEqual(t, pid, activePID(h))
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
}

// A process over MaxRSS is replaced.
func TestMemory(t *testing.T) {
	tptest.LeakCheck(t)
	h := loadRole(t, "parts", func(g *Guest) { g.MaxRSS, g.Timeout = 200<<20, 20*time.Second })
	await(t, h, Ready)
	pid := activePID(h)
	require.NotZero(t, h.Health().Processes[0].RSS)
	for range 4 {
		_, err := filterOf(t).OnPack([]byte("!leak!"))
		require.NoError(t, err)
	}
	require.Regexp(t, "it has [0-9]+ bytes of memory, more than Guest.MaxRSS, 209715200", await(t, h, Starting).Err)
	await(t, h, Ready)
	require.NotEqual(t, pid, activePID(h))
}

// More items than MaxInFlight wait, at most for their deadline.
func TestInFlight(t *testing.T) {
	tptest.LeakCheck(t)
	h := loadRole(t, "parts", func(g *Guest) { g.MaxInFlight, g.Timeout = 2, time.Second })
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { _, errs[i] = filterOf(t).OnPack([]byte("!hang!")) })
	}
	wg.Wait()
	var busy int
	for _, err := range errs {
		require.ErrorIs(t, err, ErrGuestUnavailable)
		if strings.Contains(err.Error(), "too many items are under way: raise Guest.MaxInFlight") {
			busy++
		}
	}
	require.NotZero(t, busy)
	require.Zero(t, h.Health().InFlight)
}
