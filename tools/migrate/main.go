// Command migrate rewrites a program of Teleport v5 or of eRPC v6 or v7 for this
// project: its imports, and the names that are spelled differently here. It prints
// a diff, or writes the files with -w, and then lists what is left to a person: a
// line of file:line, a hint, and the heading of MIGRATING.md that says more.
//
//	migrate [-w] [DIRECTORY...]
//
// It works on the syntax and on types of its own, so neither the program nor its
// dependencies have to build, or to be there.
package main

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
)

func main() {
	write := flag.Bool("w", false, "write the files instead of printing a diff")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: migrate [-w] [DIRECTORY...]\n\nRewrites the Go files below the directories, by default the current one.")
		flag.PrintDefaults()
	}
	flag.Parse()
	dirs := flag.Args()
	if len(dirs) == 0 {
		dirs = []string{"."}
	}
	if err := run(os.Stdout, dirs, *write); err != nil {
		fmt.Fprintln(os.Stderr, "migrate:", err)
		os.Exit(1)
	}
}

// run migrates what is below dirs.
func run(out io.Writer, dirs []string, write bool) error {
	var all result
	for _, dir := range dirs {
		r, err := migrate(dir)
		if err != nil {
			return err
		}
		all.add(r)
	}
	for _, f := range all.files {
		if write {
			if err := os.WriteFile(f.name, f.after, f.mode); err != nil {
				return err
			}
			continue
		}
		if _, err := out.Write(diff.Diff("a/"+filepath.ToSlash(f.name), f.before, "b/"+filepath.ToSlash(f.name), f.after)); err != nil {
			return err
		}
	}
	for _, n := range all.notes {
		line := n.line
		if write {
			line = n.lineAfter
		}
		fmt.Fprintf(out, "%s:%d: %s: %s (MIGRATING.md, %s)\n", n.file, line, n.what, n.hint, n.under)
	}
	verb := "would change"
	if write {
		verb = "changed"
	}
	fmt.Fprintf(out, "%s %d of %d files; %d places are left to you\n", verb, len(all.files), all.seen, len(all.notes))
	if len(all.modules) > 0 {
		fmt.Fprintf(out, "modules to go get: %s\n", strings.Join(slices.Sorted(maps.Keys(all.modules)), " "))
	}
	return nil
}
