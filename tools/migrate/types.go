package main

import (
	"embed"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// ancestors holds the interfaces of the older packages, so that programs can be
// typed without them: Teleport v5 can be fetched no more.
//
//go:embed ancestors/*.txt
var ancestors embed.FS

// imports finds packages for the type checker: the ancestors' in this program,
// those of the standard library by the go command, those of the program itself in
// its module. All others are empty; what is used of them has no type.
type imports struct {
	fset  *token.FileSet
	std   types.Importer
	tree  module
	known map[string]*types.Package
}

func newImporter(tree module) *imports {
	fset := token.NewFileSet()
	return &imports{fset, importer.ForCompiler(fset, "gc", nil), tree, map[string]*types.Package{}}
}

func (im *imports) Import(path string) (*types.Package, error) {
	if a, sub, ok := ancestor(path); ok {
		return im.ancestor(a, sub), nil
	}
	if p := im.known[path]; p != nil {
		return p, nil
	}
	p := im.find(path)
	im.known[path] = p
	return p, nil
}

// find never fails: a package that is not there is an empty one.
func (im *imports) find(path string) *types.Package {
	if host, _, _ := strings.Cut(path, "/"); !strings.Contains(host, ".") && path != im.tree.path && !strings.HasPrefix(path, im.tree.path+"/") {
		if p, err := im.std.Import(path); err == nil {
			return p
		}
		return empty(path)
	}
	if im.tree.path == "" || path != im.tree.path && !strings.HasPrefix(path, im.tree.path+"/") {
		return empty(path)
	}
	im.known[path] = empty(path) // ends a cycle
	dir := filepath.Join(im.tree.dir, filepath.FromSlash(strings.TrimPrefix(strings.TrimPrefix(path, im.tree.path), "/")))
	sources, _, err := readDir(im.fset, dir)
	if err != nil {
		return empty(path)
	}
	sources = slices.DeleteFunc(sources, func(s *source) bool { return strings.HasSuffix(s.name, "_test.go") })
	files := make([]*ast.File, len(sources))
	for i, s := range sources {
		files[i] = s.ast
	}
	return typecheck(path, im.fset, files, im, nil)
}

// ancestor returns the package of an ancestor.
func (im *imports) ancestor(a age, sub string) *types.Package {
	key := path.Join(string(a), sub)
	if p := im.known[key]; p != nil {
		return p
	}
	p := im.load(a, sub)
	im.known[key] = p
	return p
}

// load types the interface of an ancestor's package, under a path of its own:
// "v7", "v7/codec".
func (im *imports) load(a age, sub string) *types.Package {
	key := path.Join(string(a), sub)
	text, err := ancestorText(a, sub)
	if err != nil {
		return empty(key)
	}
	f, err := parser.ParseFile(im.fset, key, text, parser.SkipObjectResolution)
	if err != nil {
		panic(err) // a fault of the embedded file, and of no input
	}
	return typecheck(key, im.fset, []*ast.File{f}, ofAge{im, a}, nil)
}

// ofAge imports "ancestor" and what is below it as one age has it.
type ofAge struct {
	*imports
	age age
}

func (im ofAge) Import(path string) (*types.Package, error) {
	if sub, ok := strings.CutPrefix(path, "ancestor"); ok {
		return im.ancestor(im.age, strings.TrimPrefix(sub, "/")), nil
	}
	return im.imports.Import(path)
}

// ancestorText is the interface of a package, without the lines of the other age.
func ancestorText(a age, sub string) (string, error) {
	name := strings.ReplaceAll(sub, "/", "_")
	if sub == "" {
		name = "tp"
	}
	text, err := fs.ReadFile(ancestors, "ancestors/"+name+".txt")
	if err != nil {
		return "", err
	}
	other := "//" + string(v5)
	if a == v5 {
		other = "//" + string(v7)
	}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		if strings.HasSuffix(line, other) {
			lines[i] = ""
		}
	}
	return strings.Join(lines, "\n"), nil
}

func empty(importPath string) *types.Package {
	p := types.NewPackage(importPath, path.Base(importPath))
	p.MarkComplete()
	return p
}

// typecheck types files as far as it goes; errors are expected and ignored.
func typecheck(path string, fset *token.FileSet, files []*ast.File, im types.Importer, info *types.Info) *types.Package {
	conf := types.Config{Importer: im, Error: func(error) {}, FakeImportC: true, DisableUnusedImportCheck: true, IgnoreFuncBodies: info == nil}
	p, _ := conf.Check(path, fset, files, info)
	return p
}

func modulePath(gomod []byte) string { return modfile.ModulePath(gomod) }
