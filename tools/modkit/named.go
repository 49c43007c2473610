package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	namedFile = regexp.MustCompile(`[\w./-]*\w\.(?:go|md|sh|txt|golden|json|svg|yml|yaml)\b`)
	namedDir  = regexp.MustCompile(`\b(?:core|internal|protos|codecs|xfers|plugins|mixers|tools|ci|doc)(?:/[\w.-]*\w)+`)
)

// checkNamedFiles returns an error for each file or directory that core/doc.go
// and core/DESIGN.md name and that does not exist.
func checkNamedFiles(root string) []error {
	core := filepath.Join(root, "core")
	known, err := coreFiles(core)
	if err != nil {
		return []error{err}
	}
	var errs []error
	for _, name := range []string{"doc.go", "DESIGN.md"} {
		text, err := readIfThere(filepath.Join(core, name))
		if err != nil {
			return []error{err}
		}
		for n, line := range strings.Split(string(text), "\n") {
			for _, to := range slices.Concat(namedFile.FindAllString(line, -1), namedDir.FindAllString(line, -1)) {
				if !known[to] && !exists(filepath.Join(root, to)) && !exists(filepath.Join(core, to)) && !exists(filepath.Join(core, "internal", to)) {
					errs = append(errs, fmt.Errorf("core/%s:%d: %s does not exist", name, n+1, to))
				}
			}
		}
	}
	return append(errs, checkRoad(core)...)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// coreFiles returns the paths below core, and each Go file's name without its directory.
func coreFiles(core string) (map[string]bool, error) {
	known := map[string]bool{}
	err := fs.WalkDir(os.DirFS(core), ".", func(name string, d fs.DirEntry, err error) error {
		known[name] = true
		if path.Ext(name) == ".go" {
			known[path.Base(name)] = true
		}
		return err
	})
	return known, err
}

// checkRoad returns an error for each function that an indented line of the
// comment of core/doc.go puts into a file that does not declare it.
func checkRoad(core string) []error {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(core, "doc.go"), nil, parser.ParseComments|parser.PackageClauseOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []error{fmt.Errorf("modkit: %w", err)}
	}
	var errs []error
	for _, b := range new(comment.Parser).Parse(f.Doc.Text()).Content {
		code, ok := b.(*comment.Code)
		if !ok {
			continue
		}
		for line := range strings.Lines(code.Text) {
			file, steps, _ := strings.Cut(strings.TrimSpace(line), " ")
			if path.Ext(file) != ".go" || !exists(filepath.Join(core, file)) {
				continue // a missing file has its error already
			}
			names, err := functions(filepath.Join(core, file))
			if err != nil {
				return []error{err}
			}
			for _, step := range strings.Split(steps, "→") {
				step, _, _ = strings.Cut(step, ":")
				if step = strings.TrimSpace(step); token.IsIdentifier(step) && !names[step] {
					errs = append(errs, fmt.Errorf("core/doc.go: the road puts %s into %s, which declares no such function", step, file))
				}
			}
		}
	}
	return errs
}

// functions returns the names of the functions and methods that a file declares.
func functions(file string) (map[string]bool, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("modkit: %w", err)
	}
	names := map[string]bool{}
	for _, d := range f.Decls {
		if d, ok := d.(*ast.FuncDecl); ok {
			names[d.Name.Name] = true
		}
	}
	return names, nil
}
