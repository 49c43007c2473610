package main

import (
	"errors"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"testing"
)

// noImporter stands for a machine without the go command.
type noImporter struct{}

func (noImporter) Import(string) (*types.Package, error) { return nil, errors.New("no packages here") }

// FuzzRewrite rewrites any file that parses: what is made parses, and is left alone
// the second time.
func FuzzRewrite(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*/main.go", "testdata/*/*/main.go.golden"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, ok := rewriteText(t, text)
		if !ok {
			return
		}
		for _, file := range r.files {
			if _, err := parser.ParseFile(token.NewFileSet(), "main.go", file.after, parser.SkipObjectResolution); err != nil {
				t.Fatalf("made a file that does not parse: %v\n%s", err, file.after)
			}
			if again, _ := rewriteText(t, file.after); len(again.files) > 0 && len(r.notes) == 0 {
				t.Fatalf("changes again:\n%s\nto\n%s", file.after, again.files[0].after)
			}
		}
	})
}

// rewriteText rewrites one file; ok is false if it does not parse.
func rewriteText(t *testing.T, text []byte) (r result, ok bool) {
	t.Helper()
	im := newImporter(module{})
	im.std = noImporter{}
	s, err := parseSource(im.fset, "main.go", text)
	if err != nil || len(s.ages) == 0 {
		return result{}, err == nil
	}
	p := &program{fset: im.fset, files: []*source{s}}
	p.check(im)
	r, err = p.rewrite()
	if err != nil {
		t.Fatal(err)
	}
	return r, true
}
