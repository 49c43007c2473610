// Package outproctest checks that a program is a guest as CONTRACT.md describes it:
//
//	func TestConformance(t *testing.T) { outproctest.Run(t, "./md5guest") }
//
// The program may be written in any language. The suite starts it often, kills it, and
// sends it bytes that break the rules.
package outproctest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/outproc"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// patience bounds each wait for what a good guest does soon. On a busy machine the start of a
// program takes seconds, and with the race detector many.
const patience = 2 * time.Minute

// Run checks the guest in the file binary. change may set fields of the Guest that it is
// loaded with, such as Args, Env and Config.
//
// The parts of the guest must not be registered in the test's process, and no other test
// may run in parallel.
func Run(t *testing.T, binary string, change ...func(*outproc.Guest)) {
	path, err := filepath.Abs(binary)
	require.NoError(t, err)
	s := &suite{guest: outproc.Guest{Path: path}}
	for _, f := range change {
		f(&s.guest)
	}
	if !t.Run("describe", s.describe) {
		return // it is no guest
	}
	t.Run("load", s.load)
	for _, part := range s.desc.Parts {
		for _, c := range checks[part.Kind] {
			t.Run(part.Kind+" "+part.Name+" "+c.name, func(t *testing.T) {
				tptest.LeakCheck(t)
				if c.byHand != nil {
					c.byHand(s.startByHand(t), part)
					return
				}
				c.run(t, s.loaded(t), part)
			})
		}
	}
	for _, c := range lifeChecks {
		t.Run(c.name, func(t *testing.T) {
			tptest.LeakCheck(t)
			c.run(s, t)
		})
	}
}

// suite is one Run.
type suite struct {
	guest outproc.Guest
	desc  contract.Description
}

// check is a check of one part, of a guest that is loaded or, if byHand is not nil, of one
// that the suite has started as a host does. checks has those of each kind. A kind's checks
// are in a file of their own.
type check struct {
	name   string
	run    func(t *testing.T, h *outproc.Handle, part contract.Part)
	byHand func(b *byHand, part contract.Part)
}

var checks = map[string][]check{
	contract.KindFilter:   filterChecks,
	contract.KindCodec:    codecChecks,
	contract.KindObserver: observerChecks,
	contract.KindDecision: decisionChecks,
	contract.KindGateway:  gatewayChecks,
}

// describe runs BINARY describe.
func (s *suite) describe(t *testing.T) {
	cmd := exec.Command(s.guest.Path, append(s.guest.Args, "describe")...)
	cmd.Env = s.environment()
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s describe", s.guest.Path)
	s.desc, err = contract.ParseDescription(out)
	require.NoError(t, err, "%s describe printed:\n%s", s.guest.Path, out)
}

// environment is that of the guest when the suite starts it itself.
func (s *suite) environment() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.Getenv("TMPDIR")}
	return append(env, s.guest.Env...)
}

// load checks that the guest says on its lane what it says to describe.
func (s *suite) load(t *testing.T) {
	tptest.LeakCheck(t)
	h := s.loaded(t)
	var want []outproc.Part
	for _, p := range s.desc.Parts {
		want = append(want, outproc.Part{Kind: p.Kind, ID: p.ID, Name: p.Name})
	}
	require.Equal(t, want, h.Parts())
	require.Equal(t, outproc.Ready, h.Health().State)
	require.NoError(t, h.Close())
}

// loaded loads the guest for one check.
func (s *suite) loaded(t *testing.T, change ...func(*outproc.Guest)) *outproc.Handle {
	t.Helper()
	g := s.guest
	g.Logger, g.Timeout, g.StartTimeout = tptest.Logger(t), patience, patience // a busy machine is no fault
	for _, f := range change {
		f(&g)
	}
	h, err := outproc.Load(t.Context(), g)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

// await reads events until one has the state.
func await(t *testing.T, h *outproc.Handle, state outproc.State) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-h.Events():
			if e.State == state {
				return
			}
		case <-timeout:
			require.FailNow(t, "the guest has not come into the state "+string(state), "it is %+v", h.Health())
		}
	}
}

// activePID is the process that gets the items.
func activePID(h *outproc.Handle) int {
	for _, p := range h.Health().Processes {
		if p.Active {
			return p.PID
		}
	}
	return 0
}

func mustJSON(t *testing.T, v any) []byte {
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}
