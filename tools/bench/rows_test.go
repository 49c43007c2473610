package main

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
)

// Each row gets right replies, also for callers that share a connection.
func TestRows(t *testing.T) {
	for _, c := range slices.Concat(floorCandidates(), teleportCandidates()) {
		t.Run(c.Name, func(t *testing.T) {
			addr, err := c.Serve()
			require.NoError(t, err)
			call, err := c.Dial(addr)
			require.NoError(t, err)
			callOften(t, call, 20, 25)
			if c.DialSized == nil {
				return
			}
			for _, size := range []int{0, 1, 64, floorBuffer - floorHeader, floorBuffer, floorBuffer + 1, 3 << 20, 16 << 20} {
				call, err := c.DialSized(addr, size)
				require.NoError(t, err)
				callOften(t, call, 2, 2)
			}
		})
	}
}

func callOften(t *testing.T, call func() error, callers, times int) {
	t.Helper()
	errs := make(chan error, callers)
	for range callers {
		go func() {
			var err error
			for i := 0; i < times && err == nil; i++ {
				err = call()
			}
			errs <- err
		}()
	}
	for range callers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestRecordSize(t *testing.T) {
	b, err := json.Marshal(benchmsg.NewRecord())
	if err != nil || len(b) != benchmsg.Size {
		t.Errorf("%d bytes of JSON, %v; want %d", len(b), err, benchmsg.Size)
	}
}
