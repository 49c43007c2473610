package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/teleport-go/teleport/tools/bench/internal/flame"
)

// writeProfiles measures each candidate in each configuration once more, under the
// profiler, whose windows are not among the figures. It writes a CPU and an
// allocation profile a side, and a flame graph of each.
func writeProfiles(ctx context.Context, turns []turn, length time.Duration, dir string, live *progress) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i, t := range turns {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		live.begin(i+1, len(turns), t)
		name := filepath.Join(dir, t.candidate.name+"-"+t.config.Name)
		args := func(side string) []string {
			return []string{"-profile", name + "-" + side + ".cpu.pprof", "-heap", name + "-" + side + ".alloc.pprof"}
		}
		if _, err := oneWindow(t, length, &sides{args("server"), args("client")}); err != nil {
			live.failed(t, err)
			continue
		}
		for _, side := range []string{"server", "client"} {
			title := fmt.Sprintf("%s, %s, %s: ", t.candidate.name, t.config.Name, side)
			for _, kind := range []struct{ file, sampleType, what string }{{"cpu", "cpu", "CPU"}, {"alloc", "alloc_space", "allocated"}} {
				if err := writeFlame(name+"-"+side+"."+kind.file, kind.sampleType, title+kind.what); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// writeFlame draws the flame graph of FILE.pprof into FILE.svg.
func writeFlame(file, sampleType, title string) error {
	r, err := os.Open(file + ".pprof")
	if err != nil {
		return err
	}
	defer r.Close()
	p, err := flame.Read(r)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Name(), err)
	}
	root, unit, err := flame.Build(p, sampleType)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Name(), err)
	}
	return create(file+".svg", func(w io.Writer) error { return flame.Render(w, root, unit, title) })
}
