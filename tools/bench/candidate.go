package main

import (
	"slices"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// own are the candidates of this program: what needs no foreign stack.
func own() []harness.Candidate {
	return slices.Concat(floorCandidates(), teleportCandidates(), netRPCCandidates())
}

// candidate is one way to make calls, as the driver sees it.
type candidate struct {
	name, note string
	sized      bool   // it sends bodies of any size
	program    string // that serves and calls
	err        error  // why there is no program
	// patience is the child's instead of the constant, if not 0.
	patience time.Duration
}

func candidateNames() (names []string) {
	for _, c := range own() {
		names = append(names, c.Name)
	}
	for _, p := range peers {
		names = append(names, p.names...)
	}
	return names
}
