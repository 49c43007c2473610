package main

import (
	"testing"

	"github.com/teleport-go/teleport/tools/bench/harness/harnesstest"
)

func TestCandidates(t *testing.T) { harnesstest.Run(t, candidates()...) }
