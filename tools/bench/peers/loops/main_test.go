package main

import (
	"testing"

	"github.com/teleport-go/teleport/tools/bench/harness/harnesstest"
)

// The echoes of gnet and nbio have no numbers, so that calls follow each other.
func TestCandidates(t *testing.T) { harnesstest.RunSerial(t, candidates()...) }
