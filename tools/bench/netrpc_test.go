package main

import (
	"testing"

	"github.com/teleport-go/teleport/tools/bench/harness/harnesstest"
)

func TestOwnCandidates(t *testing.T) { harnesstest.Run(t, own()...) }
