package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every folder of peers is in the driver's list, and is a module with a go.work.
func TestPeersAreThere(t *testing.T) {
	source, err := peersFolder()
	require.NoError(t, err)
	folders, err := os.ReadDir(source)
	require.NoError(t, err)
	var there, known []string
	for _, f := range folders {
		if f.IsDir() {
			there = append(there, f.Name())
		}
	}
	for _, p := range peers {
		known = append(known, p.folder)
		for _, file := range []string{"go.mod", "go.sum", "go.work"} {
			if _, err := os.Stat(filepath.Join(source, p.folder, file)); err != nil {
				t.Error(err)
			}
		}
	}
	slices.Sort(known)
	if !slices.Equal(there, known) {
		t.Errorf("folders %q, known are %q", there, known)
	}
}

func TestWhyItDoesNotBuild(t *testing.T) {
	failed := errors.New("exit status 1")
	for _, test := range []struct {
		name, out string
		timeout   error
		want      string
	}{
		{"compiler", "go: downloading x v1\n# x/y\n\n./a.go:3:2: undefined: z\nmore\n", nil, "./a.go:3:2: undefined: z"},
		{"silent", "# x\n", nil, "exit status 1"},
		{"too long", "./a.go:3:2: undefined: z", context.DeadlineExceeded, context.DeadlineExceeded.Error()},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := reason(firstLine(test.out), test.timeout, failed); got != test.want {
				t.Errorf("reason %q, want %q", got, test.want)
			}
		})
	}
}

func TestUnknownFolderDoesNotBuild(t *testing.T) {
	program, err := peer{folder: "no-such-peer"}.build(t.Context())
	if err == nil {
		t.Errorf("built %s", program)
	}
}
