package main

import (
	"fmt"
	"slices"
	"strings"
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

// choose finds candidates by their names, comma-separated; all if empty. Those of
// peers have no program before build.
func choose(names string) (list []candidate, err error) {
	all := candidateNames()
	chosen := all
	if names != "" {
		chosen = strings.Split(names, ",")
	}
	for _, name := range chosen {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("candidate %q is not known; there are: %s", name, strings.Join(all, " "))
		}
		list = append(list, candidate{name: name})
	}
	return list, nil
}

func parseConfigs(text string) (list []harness.Config, err error) {
	for _, name := range strings.Split(text, ",") {
		c, err := harness.ParseConfig(name)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}
