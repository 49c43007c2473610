package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/mixers/outproc"
	"github.com/teleport-go/teleport/mixers/outproc/outproctest"
)

// TestGuests checks the example guests by the rules for all guests.
func TestGuests(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, build(t.Context(), dir))
	for _, test := range []struct {
		guest  string
		config any
	}{
		{"md5guest", nil},
		{"zstdguest", nil},
		{"cborguest", nil},
		{"msgpackguest", nil},
		{"respguest", map[string]string{"listen": "127.0.0.1:0"}},
		{"authguest", map[string]string{"secret": "ada"}},
		{"auditguest", map[string]string{"file": filepath.Join(dir, "audit.log")}},
	} {
		t.Run(test.guest, func(t *testing.T) {
			outproctest.Run(t, filepath.Join(dir, test.guest), func(g *outproc.Guest) { g.Config = test.config })
		})
	}
}
