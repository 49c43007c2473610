package main

import (
	"slices"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// own returns the candidates of this program: those without a foreign framework.
func own() []harness.Candidate {
	return slices.Concat(floorCandidates(), teleportCandidates(), pushCandidates(), netRPCCandidates())
}

// candidate is one way to make calls: the driver's part of it.
type candidate struct {
	name, note string
	side       string        // before or after, where two commits are compared
	sized      bool          // whether it sends bodies of any size
	noCalls    bool          // whether it has no configurations of calls
	also       string        // letters of the other configurations it has
	program    string        // file that serves and calls; "" is this program
	err        error         // why there is no program
	timeout    time.Duration // of its children's answers; 0 is answerTimeout
}

// title returns the name and the side.
func (c candidate) title() string {
	if c.side == "" {
		return c.name
	}
	return c.name + " " + c.side
}

func candidateNames() (names []string) { return namesOf(func(peer) bool { return true }) }

// usualNames are the candidates that are measured where none are named.
func usualNames() []string { return namesOf(func(p peer) bool { return !p.asked }) }

func namesOf(include func(peer) bool) (names []string) {
	for _, c := range own() {
		names = append(names, c.Name)
	}
	for _, p := range peers {
		if include(p) {
			names = append(names, p.names...)
		}
	}
	return names
}
