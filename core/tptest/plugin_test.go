package tptest

import (
	"testing"

	tp "github.com/teleport-go/teleport/core"
)

// nothing is a plugin that does nothing.
type nothing struct{}

func (nothing) Name() string { return "nothing" }

func TestRunPlugin(t *testing.T) {
	RunPlugin(t, func() tp.Plugin { return nothing{} })
}
