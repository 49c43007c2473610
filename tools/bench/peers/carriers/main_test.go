package main

import (
	"testing"

	"github.com/teleport-go/teleport/tools/bench/harness/harnesstest"
)

// The connections of QUIC and KCP cannot be counted.
func TestCandidates(t *testing.T) { harnesstest.RunSerial(t, candidates()...) }
