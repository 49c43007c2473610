//go:build unix

package outproctest

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/mixers/outproc"
)

// stopped: items of a guest that does not run end at their deadline, and it goes on where
// it was.
func (s *suite) stopped(t *testing.T) {
	h := s.loaded(t, func(g *outproc.Guest) { g.Timeout = 300 * time.Millisecond })
	item := s.pureItem(t)
	if item == nil {
		return
	}
	pid := activePID(h)
	require.NoError(t, kill(pid, syscall.SIGSTOP))
	var err error
	for n := 0; err == nil; n++ { // what runs on another processor stops a moment later
		err = item(n)
	}
	require.ErrorIs(t, err, outproc.ErrGuestUnavailable)
	require.NoError(t, kill(pid, syscall.SIGCONT))
	require.Eventually(t, func() bool { return item(1) == nil }, patience, time.Millisecond)
	require.Equal(t, pid, activePID(h))
}
