package main

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"strconv"
	"strings"

	"golang.org/x/tools/go/ast/astutil"
)

// fixImports replaces the imports of ancestors in a text whose names are
// rewritten already, and formats it.
func (r *rewriter) fixImports(text []byte) ([]byte, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, r.file.name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	r.modules = map[string]bool{}
	for _, spec := range append([]*ast.ImportSpec(nil), f.Imports...) {
		r.replaceImport(fset, f, spec)
	}
	for path, name := range r.needs {
		if !hasImport(f, path) {
			astutil.AddNamedImport(fset, f, name, path)
		}
	}
	for _, spec := range f.Imports {
		if path := importPath(spec); strings.HasPrefix(path, prefix) {
			r.modules[moduleOf(path)] = true
		}
	}
	var out bytes.Buffer
	if err := format.Node(&out, fset, f); err != nil {
		return nil, err
	}
	return format.Source(out.Bytes()) // sorts the imports
}

func (r *rewriter) replaceImport(fset *token.FileSet, f *ast.File, spec *ast.ImportSpec) {
	old := importPath(spec)
	_, sub, ok := ancestor(old)
	if !ok {
		return
	}
	path, name := successor(sub), ""
	if spec.Name != nil {
		name = spec.Name.Name
	}
	blank := name == "_"
	switch {
	case path == "":
		return // there is none; the note says so
	case sub == "" && blank:
		path = standardPath
	case sub == "" && name != ".":
		name = r.core
	case sub == "utils" || hasImport(f, path):
		astutil.DeleteNamedImport(fset, f, name, old)
		return
	}
	if want := sub[strings.LastIndex(sub, "/")+1:]; sub != "" && name == "" && want != path[strings.LastIndex(path, "/")+1:] {
		name = want // the package has another name here, and the program calls it by the old one
	}
	spec.Path.Value = strconv.Quote(path)
	spec.EndPos = token.NoPos
	if name == "" {
		return
	}
	if spec.Name == nil {
		spec.Name = &ast.Ident{NamePos: spec.Path.ValuePos}
	}
	spec.Name.Name = name
}

// hasImport reports whether f imports path.
func hasImport(f *ast.File, path string) bool {
	for _, spec := range f.Imports {
		if importPath(spec) == path {
			return true
		}
	}
	return false
}

// moduleOf is the module that a package of this project is in.
func moduleOf(path string) string {
	parts := strings.SplitN(strings.TrimPrefix(path, prefix), "/", 3)
	if parts[0] == "core" {
		return corePath
	}
	return prefix + strings.Join(parts[:min(2, len(parts))], "/")
}
