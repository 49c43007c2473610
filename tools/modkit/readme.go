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

func (c *readmeCmd) Run(e *env) error {
	r, err := loadRepo(e.root)
	if err != nil {
		return err
	}
	name := filepath.Join(r.root, readmeFile)
	old, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil // without a README there is no table
	}
	if err != nil {
		return err
	}
	g, err := r.readGolden()
	if err != nil {
		return err
	}
	var rows []row
	for _, m := range r.released() {
		what, err := synopsis(r.dir(m))
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
		return fmt.Errorf("modkit: the table of modules in %s does not match %s; run: go run ./tools/modkit readme\n%s", readmeFile, goldenFile, diff(string(old), string(written)))
	}
	return os.WriteFile(name, written, 0o644)
}

// row is a line of the table of modules.
type row struct {
	dir, what string
	cost      cost
}

// formatTable returns the table of what a go get of each module costs.
func formatTable(rows []row) string {
	var b strings.Builder
	b.WriteString("| module | what it is | a `go get` pulls in besides | needs Go | a program with it |\n|---|---|---|---|--:|\n")
	for _, r := range rows {
		pulls := r.pulls()
		if r.cost.size == "" {
			pulls = "not yet measured"
		}
		fmt.Fprintf(&b, "| [%s](%s) | %s | %s | %s | %s |\n", r.dir, r.dir, strings.ReplaceAll(r.what, "|", `\|`), pulls, r.cost.goLine, r.cost.size)
	}
	return b.String()
}

// named is the highest number of third-party modules that a row names; the golden
// file has the rest.
const named = 4

// pulls returns the cell of the modules that a go get pulls in besides the module itself.
func (r row) pulls() string {
	var siblings, others []string
	for _, p := range r.cost.pulls {
		switch path, _, _ := strings.Cut(p, " "); {
		case foreign(path):
			others = append(others, path)
		case path != r.dir:
			siblings = append(siblings, path)
		}
	}
	if len(others) > named {
		others = []string{fmt.Sprintf("[%d third-party modules](%s)", len(others), goldenFile)}
	}
	if all := append(siblings, others...); len(all) > 0 {
		return strings.Join(all, ", ")
	}
	return "nothing"
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
