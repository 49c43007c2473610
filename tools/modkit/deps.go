package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

type depsCmd struct{}

func (c *depsCmd) Run(s *shop) error {
	l, err := loadLot(s.root)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range l.modules {
		imports, err := l.scan(m)
		if err != nil {
			return err
		}
		errs = append(errs, l.judge(m, imports)...)
	}
	for _, m := range l.released() {
		errs = append(errs, l.checkBuilt(m)...)
	}
	return errors.Join(errs...)
}

// imported is one import line.
type imported struct {
	file  string // from the root
	path  string
	blank bool
}

func (i imported) test() bool { return strings.HasSuffix(i.file, "_test.go") }

// scan reads the import lines of all Go files of a module: those of every
// platform and every build tag, which no single go list sees.
func (l *lot) scan(m *module) ([]imported, error) {
	var found []imported
	top := l.dir(m)
	err := filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && file != top {
			if name == "testdata" || name == "vendor" || name[0] == '.' || name[0] == '_' {
				return fs.SkipDir
			}
			if _, err := os.Stat(filepath.Join(file, "go.mod")); err == nil {
				return fs.SkipDir // another module
			}
			return nil
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || name[0] == '.' || name[0] == '_' {
			return nil
		}
		rel, err := filepath.Rel(l.root, file)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return fmt.Errorf("modkit: %w", err)
		}
		for _, spec := range parsed.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return fmt.Errorf("modkit: %s: import %s: %w", rel, spec.Path.Value, err)
			}
			found = append(found, imported{filepath.ToSlash(rel), p, spec.Name != nil && spec.Name.Name == "_"})
		}
		return nil
	})
	return found, err
}

// judge says which imports of a module go against the direction of the house.
func (l *lot) judge(m *module, imports []imported) []error {
	var errs []error
	used := map[string]bool{} // foreign modules that code outside tests imports
	for _, i := range imports {
		if !i.test() {
			used[m.requiring(i.path)] = true
		}
	}
	for _, i := range imports {
		reason := l.forbids(m, i)
		ours := within(i.path, strings.TrimSuffix(prefix, "/"))
		if reason == "" && i.test() && foreign(i.path) && !ours && bareTests(m) && !used[m.requiring(i.path)] {
			reason = "a test of " + m.family() + " draws nothing that the module does not need itself: it would stand in every user's module graph"
		}
		if reason != "" {
			errs = append(errs, fmt.Errorf("modkit: %s imports %s: %s", i.file, i.path, reason))
		}
	}
	return errs
}

// bareTests tells whether the tests of a module use the standard library's
// testing only; plugins, mixers and tools may use more.
func bareTests(m *module) bool {
	return slices.Contains([]string{"protos", "codecs", "xfers"}, m.family())
}

// sees are the packages of core that the code of a family imports; a family
// that is not here sees all of core. core/codec and core/xfer are the ids by
// which a protocol names what it carries.
var sees = map[string][]string{
	"protos": {"core/socket", "core/socket/framing", "core/codec", "core/xfer"},
	"codecs": {"core/codec"},
	"xfers":  {"core/xfer"},
}

// forbids returns why a module must not have this import, "" if it may.
//
//	core ← protos, codecs, xfers, plugins, mixers ← tools
func (l *lot) forbids(m *module, i imported) string {
	if m.Dir == "core" {
		if !foreign(i.path) && i.path != "C" || within(i.path, m.path()) {
			return ""
		}
		return "core imports the standard library only, tests included"
	}
	if m.Dir == "mixers/standard" && !i.test() && !i.blank {
		return "mixers/standard is nothing but blank imports"
	}
	if !within(i.path, strings.TrimSuffix(prefix, "/")) {
		return ""
	}
	owner := l.owner(i.path)
	switch {
	case owner == nil:
		return "no module of " + modulesFile + " holds it"
	case owner == m || m.family() == "tools":
		return ""
	case owner.Dir != "core":
		return l.forbidsSibling(m, owner)
	}
	allowed, limited := sees[m.family()]
	dir := strings.TrimPrefix(i.path, prefix)
	if !limited || i.test() || slices.Contains(allowed, dir) {
		return ""
	}
	return m.family() + " see of core only " + strings.Join(allowed, ", ")
}

func (l *lot) forbidsSibling(m, owner *module) string {
	if owner.family() == "tools" {
		return "nothing imports tools"
	}
	for _, pattern := range m.Siblings {
		if ok, _ := path.Match(pattern, owner.Dir); ok {
			return ""
		}
	}
	return "siblings do not import siblings; " + modulesFile + " names the exceptions"
}

// foreign tells whether the path is outside the standard library: its first
// element is a domain.
func foreign(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return strings.Contains(first, ".")
}

// requiring is the path of the required module that holds a package.
func (m *module) requiring(importPath string) string {
	best := ""
	for _, r := range m.Mod.Require {
		if within(importPath, r.Mod.Path) && len(r.Mod.Path) > len(best) {
			best = r.Mod.Path
		}
	}
	return best
}

// listed is what checkBuilt asks of go list.
type listed struct {
	ImportPath string
	Standard   bool
	Module     *struct{ Path string }
	Error      *struct{ Err string }
}

// checkBuilt asks the go command what a released module is made of, all the
// way down, and fails on a module of the repository that it does not require,
// and in core on anything that is not the standard library.
func (l *lot) checkBuilt(m *module) []error {
	out, err := run(l.dir(m), nil, "go", "list", "-e", "-deps", "-test", "-json=ImportPath,Standard,Module,Error", "./...")
	if err != nil {
		return []error{err}
	}
	return l.judgeBuilt(m, strings.NewReader(out))
}

func (l *lot) judgeBuilt(m *module, out io.Reader) []error {
	may := map[string]bool{m.path(): true}
	for _, s := range l.needs(m) {
		may[s.path()] = true
	}
	var errs []error
	for dec := json.NewDecoder(out); ; {
		var p listed
		switch err := dec.Decode(&p); {
		case err == io.EOF:
			return errs
		case err != nil:
			return append(errs, fmt.Errorf("modkit: go list in %s: %w", m.Dir, err))
		case p.Error != nil:
			errs = append(errs, fmt.Errorf("modkit: %s is built from %s: %s", m.Dir, p.ImportPath, p.Error.Err))
		case p.Standard || p.Module == nil || may[p.Module.Path]:
		case m.Dir == "core":
			errs = append(errs, fmt.Errorf("modkit: core is built from %s of %s: core imports the standard library only", p.ImportPath, p.Module.Path))
		case strings.HasPrefix(p.Module.Path, prefix):
			errs = append(errs, fmt.Errorf("modkit: %s is built from %s of %s, which its go.mod does not require", m.Dir, p.ImportPath, p.Module.Path))
		}
	}
}
