package outproctest

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/mixers/outproc"
)

// A guest that was written by CONTRACT.md alone passes the suite.
func TestPython(t *testing.T) {
	_, err := exec.LookPath("python3")
	require.NoError(t, err, "the guest in Python needs python3: install it, on Debian with apt-get install python3")
	Run(t, "../testdata/guest.py", func(g *outproc.Guest) {
		g.Env = []string{"PYTHONDONTWRITEBYTECODE=1"}
	})
}
