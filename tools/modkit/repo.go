package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

const (
	prefix       = "github.com/teleport-go/teleport/"
	modulesFile  = "ci/modules.txt"
	firstVersion = "v0.1.0"
)

// kind is what ci/modules.txt says of a module.
type kind string

const (
	released kind = "yes"
	kept     kind = "no"
	own      kind = "own"
)

// module is one line of ci/modules.txt, with its go.mod.
type module struct {
	Dir      string // from the root, with slashes
	Kind     kind
	Siblings []string // patterns of directories of siblings it may import
	Mod      *modfile.File
}

func (m *module) path() string { return prefix + m.Dir }

// family is the first element of the directory: core, protos, tools…
func (m *module) family() string {
	family, _, _ := strings.Cut(m.Dir, "/")
	return family
}

// siblings are the directories of the modules of this repository it requires.
func (m *module) siblings() []string {
	var dirs []string
	for _, req := range m.Mod.Require {
		if dir, ok := strings.CutPrefix(req.Mod.Path, prefix); ok {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// repo is all modules of the repository, in the order of ci/modules.txt.
type repo struct {
	root    string
	modules []*module
	missing []error // listed modules with a workspace of their own that are not there; work reports them
}

func (r *repo) get(dir string) *module {
	for _, m := range r.modules {
		if m.Dir == dir {
			return m
		}
	}
	return nil
}

func (r *repo) dir(m *module) string { return filepath.Join(r.root, filepath.FromSlash(m.Dir)) }

// workspace are the modules that go.work lists.
func (r *repo) workspace() []*module {
	return slices.DeleteFunc(slices.Clone(r.modules), func(m *module) bool { return m.Kind == own })
}

func (r *repo) released() []*module {
	return slices.DeleteFunc(slices.Clone(r.modules), func(m *module) bool { return m.Kind != released })
}

// choose returns the modules in these directories, which must be among all; all of
// them if there are no directories.
func (r *repo) choose(dirs []string, all []*module) ([]*module, error) {
	if len(dirs) == 0 {
		return all, nil
	}
	var chosen []*module
	for _, dir := range dirs {
		m := r.get(path.Clean(filepath.ToSlash(dir)))
		switch {
		case m == nil:
			return nil, fmt.Errorf("modkit: %s is not a module of %s", dir, modulesFile)
		case !slices.Contains(all, m):
			return nil, fmt.Errorf("modkit: %s is not a released module", dir)
		}
		chosen = append(chosen, m)
	}
	return chosen, nil
}

// owner is the module that holds the package of this import path, nil if none does.
func (r *repo) owner(importPath string) *module {
	var best *module
	for _, m := range r.modules {
		if within(importPath, m.path()) && (best == nil || len(m.Dir) > len(best.Dir)) {
			best = m
		}
	}
	return best
}

// within reports whether the path is root or below it.
func within(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

// version is the one at which the modules require each other.
func (r *repo) version() (string, error) {
	version, by := "", ""
	for _, m := range r.modules {
		for _, req := range m.Mod.Require {
			switch {
			case !strings.HasPrefix(req.Mod.Path, prefix):
			case version == "":
				version, by = req.Mod.Version, m.Dir
			case version != req.Mod.Version:
				return "", fmt.Errorf("modkit: siblings are required at two versions: %s in %s, %s in %s", version, by, req.Mod.Version, m.Dir)
			}
		}
	}
	if version == "" {
		version = firstVersion
	}
	return version, nil
}

// parseModules reads the lines of ci/modules.txt.
func parseModules(r io.Reader) ([]*module, error) {
	var modules []*module
	seen := map[string]bool{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) < 2 {
			return nil, fmt.Errorf("line %d: want a directory and a word, got %q", n, line)
		}
		m := &module{Dir: f[0], Kind: kind(f[1]), Siblings: f[2:]}
		if m.Dir != path.Clean(m.Dir) || path.IsAbs(m.Dir) || strings.HasPrefix(m.Dir, ".") {
			return nil, fmt.Errorf("line %d: %q is not a directory below the root", n, m.Dir)
		}
		if !slices.Contains([]kind{released, kept, own}, m.Kind) {
			return nil, fmt.Errorf("line %d: %s is %q; want yes, no or own", n, m.Dir, m.Kind)
		}
		for _, pattern := range m.Siblings {
			if _, err := path.Match(pattern, ""); err != nil {
				return nil, fmt.Errorf("line %d: %s: pattern %q: %w", n, m.Dir, pattern, err)
			}
		}
		if seen[m.Dir] {
			return nil, fmt.Errorf("line %d: %s is listed twice", n, m.Dir)
		}
		seen[m.Dir] = true
		modules = append(modules, m)
	}
	return modules, lines.Err()
}

// loadRepo reads ci/modules.txt and every go.mod, and fails where they and the
// disk disagree.
func loadRepo(root string) (*repo, error) {
	f, err := os.Open(filepath.Join(root, modulesFile))
	if err != nil {
		return nil, fmt.Errorf("modkit: %w", err)
	}
	defer f.Close()
	r := &repo{root: root}
	if r.modules, err = parseModules(f); err != nil {
		return nil, fmt.Errorf("modkit: %s: %w", modulesFile, err)
	}
	var there []*module
	for _, m := range r.modules {
		switch err := r.readMod(m); {
		case err == nil:
			there = append(there, m)
		case m.Kind == own && errors.Is(err, fs.ErrNotExist): // no other module needs it
			r.missing = append(r.missing, err)
		default:
			return nil, err
		}
	}
	r.modules = there
	return r, r.checkListed()
}

func (r *repo) readMod(m *module) error {
	file := filepath.Join(r.dir(m), "go.mod")
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("modkit: %s is in %s: %w", m.Dir, modulesFile, err)
	}
	if m.Mod, err = modfile.Parse(m.Dir+"/go.mod", data, nil); err != nil {
		return fmt.Errorf("modkit: %w", err)
	}
	switch {
	case m.Mod.Module == nil || m.Mod.Module.Mod.Path != m.path():
		return fmt.Errorf("modkit: %s/go.mod: its module path is not %s", m.Dir, m.path())
	case m.Mod.Go == nil:
		return fmt.Errorf("modkit: %s/go.mod has no go line", m.Dir)
	}
	for _, dir := range m.siblings() {
		if s := r.get(dir); s == nil || s.Kind == own {
			return fmt.Errorf("modkit: %s/go.mod requires %s, which is not in %s or not in the workspace", m.Dir, dir, modulesFile)
		}
	}
	return nil
}

// checkListed fails on a go.mod that ci/modules.txt does not know.
func (r *repo) checkListed() error {
	return filepath.WalkDir(r.root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && file != r.root && ignored(name) {
			return fs.SkipDir
		}
		if d.IsDir() || name != "go.mod" {
			return nil
		}
		dir, err := filepath.Rel(r.root, filepath.Dir(file))
		if err != nil {
			return err
		}
		if dir = filepath.ToSlash(dir); dir == "." {
			return errors.New("modkit: there is a go.mod at the root; every module is a directory below it")
		}
		if r.get(dir) == nil {
			return fmt.Errorf("modkit: %s/go.mod is not in %s", dir, modulesFile)
		}
		return nil
	})
}

// needs returns the siblings m requires, and what they require, without m itself.
func (r *repo) needs(m *module) []*module {
	seen := map[*module]bool{m: true}
	var all []*module
	var walk func(*module)
	walk = func(m *module) {
		for _, dir := range m.siblings() {
			if s := r.get(dir); !seen[s] {
				seen[s] = true
				all = append(all, s)
				walk(s)
			}
		}
	}
	walk(m)
	slices.SortFunc(all, func(a, b *module) int { return strings.Compare(a.Dir, b.Dir) })
	return all
}

// inOrder returns the modules so that each comes after those it requires.
func (r *repo) inOrder() ([]*module, error) {
	var order []*module
	state := map[*module]int{} // 1: being visited, 2: done
	var visit func(m *module, way []string) error
	visit = func(m *module, way []string) error {
		way = append(way, m.Dir)
		switch state[m] {
		case 1:
			return fmt.Errorf("modkit: modules require each other in a circle: %s", strings.Join(way, " → "))
		case 2:
			return nil
		}
		state[m] = 1
		for _, dir := range m.siblings() {
			if err := visit(r.get(dir), way); err != nil {
				return err
			}
		}
		state[m] = 2
		order = append(order, m)
		return nil
	}
	for _, m := range r.modules {
		if err := visit(m, nil); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// higher returns the higher of two versions; an empty one is the lowest.
func higher(a, b string) string {
	if semver.Compare(a, b) < 0 {
		return b
	}
	return a
}
