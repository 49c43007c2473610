package wasm_test

import (
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The guest of FuzzResult is what assemble makes.
func TestResultGuest(t *testing.T) {
	got := tiny(describe(`{"parts":[{"kind":"filter","id":241,"name":"result"}]}`),
		code("teleport_pack", slices.Concat([]byte{0x20, 1, 0x29, 0, 0})))
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile("testdata/result.wasm", got, 0o644))
	}
	want, err := os.ReadFile("testdata/result.wasm")
	require.NoError(t, err)
	require.Equal(t, want, got, "write it again with UPDATE=1")
}
