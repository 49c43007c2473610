package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

type tidyCmd struct {
	Check   bool     `help:"Write nothing; fail where go.mod or go.sum would change."`
	Modules []string `arg:"" optional:"" name:"module" help:"Directories of the modules; all by default."`
}

func (c *tidyCmd) Run(e *env) error {
	r, err := loadRepo(e.root)
	if err != nil {
		return err
	}
	modules, err := r.choose(c.Modules, r.modules)
	if err != nil {
		return err
	}
	return r.tidy(modules, c.Check, nil)
}

// tidy tidies the modules, each in a copy outside the workspace; edit, which may
// be nil, changes a copy's go.mod first. With check it reports what it would have
// written.
func (r *repo) tidy(modules []*module, check bool, edit func(m *module) ([]byte, error)) error {
	version, err := r.version()
	if err != nil {
		return err
	}
	return withOutside(func(ours, tmp string, environ []string) error {
		if err := r.writeProxy(ours, version); err != nil {
			return err
		}
		return atOnce(modules, func(m *module) error {
			data := modfile.Format(m.Mod.Syntax)
			if edit != nil {
				var err error
				if data, err = edit(m); err != nil {
					return err
				}
			}
			return r.tidyOne(m, data, filepath.Join(tmp, m.Dir), environ, check)
		})
	})
}

func (r *repo) tidyOne(m *module, mod []byte, dir string, environ []string, check bool) error {
	names, err := r.files(m)
	if err != nil {
		return err
	}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(r.dir(m), filepath.FromSlash(name)))
		switch {
		case err != nil:
			return err
		case name == "go.mod":
			data = mod
		case name == "go.work", name == "go.work.sum":
			continue
		case name == "go.sum":
			data = joinSums(splitSums(data).foreign)
		}
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, data, 0o644); err != nil {
			return err
		}
	}
	if _, err := run(dir, environ, "go", "mod", "tidy"); err != nil {
		return fmt.Errorf("modkit: tidy %s: %w", m.Dir, err)
	}
	var errs []error
	for _, name := range []string{"go.mod", "go.sum"} {
		errs = append(errs, r.takeBack(m, dir, name, check))
	}
	return errors.Join(errs...)
}

// takeBack writes a tidied file to the work tree, or reports how it differs.
func (r *repo) takeBack(m *module, dir, name string, check bool) error {
	home := filepath.Join(r.dir(m), name)
	old, err := readIfThere(home)
	if err != nil {
		return err
	}
	tidied, err := readIfThere(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	if name == "go.sum" { // the siblings' sums are those of a release, not of the work tree
		tidied = joinSums(append(splitSums(tidied).foreign, splitSums(old).siblings...))
		old = joinSums(slices.Concat(splitSums(old).foreign, splitSums(old).siblings))
	}
	switch {
	case bytes.Equal(old, tidied):
		return nil
	case check:
		return fmt.Errorf("modkit: %s/%s is not tidy; run: go run ./tools/modkit tidy %s\n%s", m.Dir, name, m.Dir, diff(string(old), string(tidied)))
	case len(tidied) == 0:
		return os.Remove(home)
	}
	return os.WriteFile(home, tidied, 0o644)
}

func readIfThere(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// sumLines are the lines of a go.sum: those of siblings and those of third parties.
type sumLines struct{ siblings, foreign []string }

func splitSums(data []byte) sumLines {
	var s sumLines
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case strings.HasPrefix(line, prefix):
			s.siblings = append(s.siblings, line)
		default:
			s.foreign = append(s.foreign, line)
		}
	}
	return s
}

// joinSums writes a go.sum in the order of the go command: by path, version,
// and the zip before its go.mod.
func joinSums(lines []string) []byte {
	lines = slices.Clone(lines)
	slices.SortFunc(lines, func(a, b string) int {
		fa, fb := append(strings.Fields(a), "", ""), append(strings.Fields(b), "", "")
		va, moda := strings.CutSuffix(fa[1], "/go.mod")
		vb, modb := strings.CutSuffix(fb[1], "/go.mod")
		return cmp.Or(strings.Compare(fa[0], fb[0]), semver.Compare(va, vb), strings.Compare(va, vb), compareBool(moda, modb))
	})
	lines = slices.Compact(lines)
	if len(lines) == 0 {
		return nil
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// withOutside calls f with a directory for the proxy, one for its work, and the
// environment of outside. It removes the directories when f has returned.
func withOutside(f func(ours, tmp string, environ []string) error) error {
	tmp, err := os.MkdirTemp("", "modkit-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	ours := filepath.Join(tmp, "ours")
	environ, err := outside(ours, filepath.Join(tmp, "modcache"))
	if err != nil {
		return err
	}
	return f(ours, filepath.Join(tmp, "work"), environ)
}

// atOnce calls f for all modules, two at a time, and joins the errors in
// the modules' order.
func atOnce(modules []*module, f func(*module) error) error {
	errs := make([]error, len(modules))
	free := make(chan struct{}, 2) // the go command uses all processors by itself; a second one fills its waits
	var wg sync.WaitGroup
	for i, m := range modules {
		free <- struct{}{}
		wg.Go(func() {
			errs[i] = f(m)
			<-free
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
