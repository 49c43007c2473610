package main

import (
	"slices"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// own returns the candidates of this program: those without a foreign framework.
func own() []harness.Candidate {
	return slices.Concat(floorCandidates(), teleportCandidates(), netRPCCandidates())
}

// candidate is one way to make calls: the driver's part of it.
type candidate struct {
	name, note string
	sized      bool          // whether it sends bodies of any size
	program    string        // file that serves and calls; "" is this program
	err        error         // why there is no program
	timeout    time.Duration // of its children's answers; 0 is answerTimeout
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
