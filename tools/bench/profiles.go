package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// writeProfiles runs each turn once more under the profiler; these windows are
// not among the figures. It writes a CPU and an allocation profile of each side
// into dir, for go tool pprof.
func writeProfiles(ctx context.Context, turns []turn, length time.Duration, dir string, live *progress) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i, t := range turns {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		live.begin(i+1, len(turns), t)
		name := filepath.Join(dir, strings.ReplaceAll(t.candidate.title(), " ", "-")+"-"+t.config.Name)
		args := func(side string) []string {
			return []string{"-profile", name + "-" + side + ".cpu.pprof", "-heap", name + "-" + side + ".alloc.pprof"}
		}
		if _, err := oneWindow(t, length, &childArgs{args("server"), args("client")}); err != nil {
			live.failed(t, err)
		}
	}
	return nil
}
