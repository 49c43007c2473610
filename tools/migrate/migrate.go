package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// result is what a migration found.
type result struct {
	files   []file
	notes   []note
	modules map[string]bool // that the program imports now
	seen    int             // files looked at
}

func (r *result) add(o result) {
	r.files = append(r.files, o.files...)
	r.notes = append(r.notes, o.notes...)
	r.seen += o.seen
	if r.modules == nil {
		r.modules = map[string]bool{}
	}
	maps.Copy(r.modules, o.modules)
}

// file is a file that changes.
type file struct {
	name          string
	mode          fs.FileMode
	before, after []byte
}

// note is a place that is left to a person.
type note struct {
	file            string
	line, lineAfter int
	what            string // the name, as it was written
	hint            string
	under           string // heading of MIGRATING.md
}

// source is a file as it was read.
type source struct {
	name string
	mode fs.FileMode
	text []byte
	ast  *ast.File
	ages map[age]bool // of the ancestors it imports
}

// migrate rewrites the Go files below dir, in memory.
func migrate(dir string) (result, error) {
	tree, err := findModule(dir)
	if err != nil {
		return result{}, err
	}
	im := newImporter(tree)
	var all result
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if path != dir && (d.Name() == "vendor" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_")) {
			return fs.SkipDir
		}
		r, err := migrateDir(path, im)
		all.add(r)
		return err
	})
	return all, err
}

// migrateDir rewrites the files of one directory, package by package.
func migrateDir(dir string, im *imports) (result, error) {
	sources, notes, err := readDir(im.fset, dir)
	all := result{notes: notes, seen: len(sources) + len(notes)}
	if err != nil {
		return all, err
	}
	byPackage := map[string][]*source{}
	for _, s := range sources {
		byPackage[s.ast.Name.Name] = append(byPackage[s.ast.Name.Name], s)
	}
	for _, name := range slices.Sorted(maps.Keys(byPackage)) {
		group := byPackage[name]
		if !slices.ContainsFunc(group, func(s *source) bool { return len(s.ages) > 0 }) {
			continue
		}
		p := &program{fset: im.fset, files: group}
		p.check(im)
		r, err := p.rewrite()
		if err != nil {
			return all, err
		}
		all.add(r)
	}
	slices.SortStableFunc(all.notes, func(a, b note) int {
		return cmp.Or(strings.Compare(a.file, b.file), cmp.Compare(a.line, b.line))
	})
	return all, nil
}

// readDir parses the Go files of a directory. One that does not parse is a note.
func readDir(fset *token.FileSet, dir string) (sources []*source, notes []note, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, err
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, nil, err
		}
		s, err := parseSource(fset, name, text)
		if err != nil {
			if mentions(text) {
				notes = append(notes, note{name, 1, 1, "the file", fmt.Sprintf("it does not parse, and was left as it is: %v", firstError(err)), inFirst})
			}
			continue
		}
		s.mode = info.Mode().Perm()
		sources = append(sources, s)
	}
	return sources, notes, nil
}

// parseSource parses a Go file.
func parseSource(fset *token.FileSet, name string, text []byte) (*source, error) {
	f, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	s := &source{name: name, text: text, ast: f, ages: map[age]bool{}}
	for _, spec := range f.Imports {
		if a, _, ok := ancestor(importPath(spec)); ok {
			s.ages[a] = true
		}
	}
	return s, nil
}

// mentions reports whether a text may import an ancestor.
func mentions(text []byte) bool {
	return strings.Contains(string(text), "henrylee2cn/") || strings.Contains(string(text), "andeya/erpc")
}

func firstError(err error) string {
	if err == nil {
		return ""
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

func importPath(spec *ast.ImportSpec) string {
	path, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return ""
	}
	return path
}

// module is where the program's own packages are.
type module struct{ path, dir string }

// findModule looks for the go.mod of dir, or above. None is no error: then the
// program's own packages have no types.
func findModule(dir string) (module, error) {
	at, err := filepath.Abs(dir)
	if err != nil {
		return module{}, err
	}
	if _, err := os.Stat(at); err != nil {
		return module{}, err
	}
	for {
		text, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil {
			return module{modulePath(text), at}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return module{}, err
		}
		up := filepath.Dir(at)
		if up == at {
			return module{}, nil
		}
		at = up
	}
}
