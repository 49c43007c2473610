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

func (c *depsCmd) Run(e *env) error {
	r, err := loadRepo(e.root)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range r.modules {
		imports, err := r.scan(m)
		if err != nil {
			return err
		}
		errs = append(errs, r.judge(m, imports)...)
	}
	for _, m := range r.released() {
		errs = append(errs, r.checkBuilt(m)...)
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
func (r *repo) scan(m *module) ([]imported, error) {
	var found []imported
	err := walkGo(r.dir(m), func(file string) error {
		rel, err := filepath.Rel(r.root, file)
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

// walkGo calls visit for each Go file of the module at top.
func walkGo(top string, visit func(file string) error) error {
	return filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && file != top {
			if ignored(name) {
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
		return visit(file)
	})
}

// ignored reports whether the go command ignores directories of this name.
func ignored(name string) bool {
	return name == "testdata" || name == "vendor" || name[0] == '.' || name[0] == '_'
}

// judge returns an error for each import of a module that the rules forbid.
func (r *repo) judge(m *module, imports []imported) []error {
	var errs []error
	used := map[string]bool{} // foreign modules that code outside tests imports
	for _, i := range imports {
		if !i.test() {
			used[m.requiring(i.path)] = true
		}
	}
	for _, i := range imports {
		reason := r.forbids(m, i)
		ours := within(i.path, strings.TrimSuffix(prefix, "/"))
		if reason == "" && i.test() && foreign(i.path) && !ours && bareTests(m) && !used[m.requiring(i.path)] {
			reason = "tests of " + m.family() + " import only what the module needs itself: anything else would be in every user's module graph"
		}
		if reason != "" {
			errs = append(errs, fmt.Errorf("modkit: %s imports %s: %s", i.file, i.path, reason))
		}
	}
	return errs
}

// bareTests reports whether the tests of a module use package testing only;
// those of plugins, mixers and tools may use more.
func bareTests(m *module) bool {
	return slices.Contains([]string{"protos", "codecs", "xfers"}, m.family())
}

// sees are the packages of core that the code of a family imports; a family
// that is not here sees all of core. core/codec and core/xfer are the ids by
// which a protocol names what it carries.
var sees = map[string][]string{
	"protos": {"core/socket", "core/socket/framing", "core/codec", "core/xfer"},
	"codecs": {"core/codec", "core/codec/measure"},
	"xfers":  {"core/xfer"},
}

// forbids returns why a module must not have this import, "" if it may.
//
//	core ← protos, codecs, xfers, plugins, mixers ← tools
func (r *repo) forbids(m *module, i imported) string {
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
	owner := r.owner(i.path)
	switch {
	case owner == nil:
		return "it is in no module of " + modulesFile
	case owner == m || m.family() == "tools":
		return ""
	case owner.Dir != "core":
		return r.forbidsSibling(m, owner)
	}
	allowed, limited := sees[m.family()]
	dir := strings.TrimPrefix(i.path, prefix)
	if !limited || i.test() || slices.Contains(allowed, dir) {
		return ""
	}
	return m.family() + " see of core only " + strings.Join(allowed, ", ")
}

func (r *repo) forbidsSibling(m, owner *module) string {
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

// foreign reports whether the path is outside the standard library: its first
// element is a domain.
func foreign(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return strings.Contains(first, ".")
}

// requiring is the path of the required module that holds a package.
func (m *module) requiring(importPath string) string {
	best := ""
	for _, req := range m.Mod.Require {
		if within(importPath, req.Mod.Path) && len(req.Mod.Path) > len(best) {
			best = req.Mod.Path
		}
	}
	return best
}

// listed is the part of go list's output that checkBuilt reads.
type listed struct {
	ImportPath string
	Standard   bool
	Module     *struct{ Path string }
	Error      *struct{ Err string }
}

// checkBuilt lists all packages that a released module is built from, and fails on
// one of a sibling that its go.mod does not require, and in core on any that is
// not of the standard library.
func (r *repo) checkBuilt(m *module) []error {
	out, err := run(r.dir(m), nil, "go", "list", "-e", "-deps", "-test", "-json=ImportPath,Standard,Module,Error", "./...")
	if err != nil {
		return []error{err}
	}
	return r.judgeBuilt(m, strings.NewReader(out))
}

func (r *repo) judgeBuilt(m *module, out io.Reader) []error {
	may := map[string]bool{m.path(): true}
	for _, s := range r.needs(m) {
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
