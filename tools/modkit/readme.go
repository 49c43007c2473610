package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	readmeFile = "README.md"
	tableBegin = "<!-- modules:begin -->"
	tableEnd   = "<!-- modules:end -->"
)

type readmeCmd struct {
	Check bool `help:"Write nothing; fail where the table differs."`
}

func (c *readmeCmd) Run(s *shop) error {
	l, err := loadLot(s.root)
	if err != nil {
		return err
	}
	name := filepath.Join(l.root, readmeFile)
	old, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil // no README, no table
	}
	if err != nil {
		return err
	}
	g, err := l.readGolden()
	if err != nil {
		return err
	}
	var rows []row
	for _, m := range l.released() {
		what, err := synopsis(l.dir(m))
		if err != nil {
			return err
		}
		rows = append(rows, row{m.Dir, what, g.costs[m.Dir]})
	}
	written, err := putTable(old, formatTable(rows))
	if err != nil {
		return err
	}
	switch {
	case bytes.Equal(old, written):
		return nil
	case c.Check:
		return fmt.Errorf("modkit: the table of modules in %s is not that of %s; run: go run ./tools/modkit readme\n%s", readmeFile, goldenFile, diff(string(old), string(written)))
	}
	return os.WriteFile(name, written, 0o644)
}

// row is one line of the table of modules.
type row struct {
	dir, what string
	cost      cost
}

// formatTable writes the table "what a go get costs".
func formatTable(rows []row) string {
	var b strings.Builder
	b.WriteString("| module | what it is | a `go get` draws besides | needs Go | a program with it |\n|---|---|---|---|--:|\n")
	for _, r := range rows {
		var others []string
		for _, d := range r.cost.draws {
			path, _, _ := strings.Cut(d, " ")
			if path != r.dir {
				others = append(others, path)
			}
		}
		draws := strings.Join(others, ", ")
		if draws == "" {
			draws = "nothing"
		}
		if r.cost.size == "" {
			draws = "not yet measured"
		}
		fmt.Fprintf(&b, "| [%s](%s) | %s | %s | %s | %s |\n", r.dir, r.dir, strings.ReplaceAll(r.what, "|", `\|`), draws, r.cost.goLine, r.cost.size)
	}
	return b.String()
}

// putTable returns the text with the table between the two marks.
func putTable(text []byte, table string) ([]byte, error) {
	before, rest, ok := strings.Cut(string(text), tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return nil, fmt.Errorf("modkit: %s has no %s and %s for the table of modules", readmeFile, tableBegin, tableEnd)
	}
	return []byte(before + tableBegin + "\n" + table + tableEnd + after), nil
}

// synopsis is the first sentence of the comment of the package in dir, without
// its "Package x".
func synopsis(dir string) (string, error) {
	files, err := fs.Glob(os.DirFS(dir), "*.go")
	if err != nil {
		return "", err
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return "", fmt.Errorf("modkit: %w", err)
		}
		if f.Doc == nil {
			continue
		}
		s := new(doc.Package).Synopsis(f.Doc.Text())
		s = strings.TrimPrefix(s, "Package "+f.Name.Name+" ")
		return strings.TrimSuffix(s, "."), nil
	}
	return "", nil
}
