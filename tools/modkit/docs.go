package main

import (
	"errors"
	"fmt"
	"go/format"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// docsDir is the folder of the guides.
const docsDir = "doc"

type docsCmd struct{}

// Help says what is checked.
func (c *docsCmd) Help() string {
	return "Every file and directory that core/doc.go and core/DESIGN.md name exists (a path from the root, from core or\n" +
		"from core/internal; a file of core without its directory). In the road of doc.go, which are indented lines that\n" +
		"begin with a file, that file declares each function of \"a → b → c\".\n\n" +
		"Relative links of the pages at the root and of doc/ lead to a file or directory.\n\n" +
		"In doc/, a block of code marked ```go is a whole file and compiles, vetted, against the workspace, as a package of\n" +
		"its own (as a file of tests if it declares a test, benchmark, fuzz target or example). One marked ```go fragment\n" +
		"is a list of declarations or of statements; it parses. Both are formatted."
}

func (c *docsCmd) Run(e *env) error {
	r, err := loadRepo(e.root)
	if err != nil {
		return err
	}
	errs := checkNamedFiles(e.root)
	pages, err := findPages(e.root)
	if err != nil {
		return err
	}
	var files []block
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(e.root, filepath.FromSlash(page)))
		if err != nil {
			return err
		}
		blocks, prose := parsePage(page, string(text))
		errs = append(errs, checkLinks(e.root, page, prose)...)
		if !within(page, docsDir) {
			continue // the tests of tools/examples compile those at the root
		}
		for _, b := range blocks {
			if err := b.check(); err != nil {
				errs = append(errs, err)
			} else if b.info == "go" {
				files = append(files, b)
			}
		}
	}
	errs = append(errs, r.vetBlocks(files))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "%d pages, %d programs\n", len(pages), len(files))
	return nil
}

// findPages returns the pages at the root and in doc/, from the root.
func findPages(root string) ([]string, error) {
	pages, err := fs.Glob(os.DirFS(root), "*.md")
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(os.DirFS(root), docsDir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && name == docsDir:
			return fs.SkipDir // no guides yet
		case err == nil && !d.IsDir() && path.Ext(name) == ".md":
			pages = append(pages, name)
		}
		return err
	})
	return pages, err
}

// block is a fenced block of code.
type block struct {
	page string // from the root
	line int    // of its first line
	info string // what follows the fence
	text string
}

// errorf makes an error at a line of the block, counted from 1.
func (b block) errorf(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", b.page, b.line+line-1, fmt.Sprintf(format, args...))
}

// parsePage returns the blocks of a page, and the page with these lines empty.
func parsePage(page, text string) (blocks []block, prose string) {
	var out strings.Builder
	var open *block
	indent, fence := "", ""
	n := 0
	for line := range strings.Lines(text) {
		n++
		trimmed := strings.TrimLeft(line, " ")
		switch mark := fenceOf(trimmed); {
		case open == nil && mark != "":
			indent, fence = line[:len(line)-len(trimmed)], mark
			open = &block{page: page, line: n + 1, info: strings.TrimSpace(trimmed[len(mark):])}
		case open == nil:
			out.WriteString(line)
			continue
		case strings.HasPrefix(mark, fence) && strings.TrimSpace(trimmed) == mark:
			blocks = append(blocks, *open)
			open = nil
		default:
			open.text += strings.TrimPrefix(line, indent)
		}
		out.WriteString("\n")
	}
	if open != nil {
		blocks = append(blocks, *open)
	}
	return blocks, out.String()
}

// fenceOf returns the fence that a line begins with, "" if there is none.
func fenceOf(line string) string {
	for _, c := range []string{"`", "~"} {
		if rest := strings.TrimLeft(line, c); len(line)-len(rest) >= 3 {
			return line[:len(line)-len(rest)]
		}
	}
	return ""
}

// check parses a block that is marked as Go, and checks its format.
func (b block) check() error {
	lang, _, _ := strings.Cut(b.info, " ")
	switch {
	case lang != "go":
		return nil
	case b.info != "go" && b.info != "go fragment":
		return b.errorf(0, "a block is marked go or go fragment, not %s", b.info)
	}
	_, clause := parser.ParseFile(token.NewFileSet(), "", b.text, parser.PackageClauseOnly)
	switch whole := clause == nil; {
	case whole && b.info != "go":
		return b.errorf(1, "this fragment has a package clause; mark it go")
	case !whole && b.info == "go":
		return b.errorf(1, "this block has no package clause; make it a whole file, or mark it go fragment")
	}
	formatted, err := format.Source([]byte(b.text)) // it takes declarations and statements, too
	var bad scanner.ErrorList
	switch {
	case errors.As(err, &bad) && len(bad) > 0:
		return b.errorf(bad[0].Pos.Line, "%s", bad[0].Msg)
	case err != nil:
		return b.errorf(1, "%v", err)
	case string(formatted) != b.text:
		return b.errorf(1, "this block is not formatted\n%s", diff(b.text, string(formatted)))
	}
	return nil
}

// vetBlocks compiles and vets whole files against the workspace. A //line
// directive makes the messages name the page.
func (r *repo) vetBlocks(files []block) error {
	if len(files) == 0 {
		return nil
	}
	tmp, err := os.MkdirTemp("", "modkit-docs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if tmp, err = filepath.EvalSymlinks(tmp); err != nil {
		return err
	}
	work, err := r.workFor("For the programs of the guides.", true)
	if err != nil {
		return err
	}
	sums, err := readIfThere(filepath.Join(r.root, "go.work.sum"))
	if err != nil {
		return err
	}
	disk := map[string][]byte{
		"go.mod":      []byte("module example.com/doc\n\ngo " + highestGo(r.workspace()) + "\n"),
		"go.work":     work,
		"go.work.sum": sums,
	}
	for i, b := range files {
		name := fmt.Sprintf("block%03d/block.go", i)
		if hasTest(b.text) {
			name = fmt.Sprintf("block%03d/block_test.go", i)
		}
		disk[name] = fmt.Appendf(nil, "//line %s:%d:1\n%s", filepath.Join(r.root, filepath.FromSlash(b.page)), b.line, b.text)
	}
	for name, data := range disk {
		if err := writeFile(filepath.Join(tmp, filepath.FromSlash(name)), data); err != nil {
			return err
		}
	}
	_, err = run(tmp, []string{"GOWORK=" + filepath.Join(tmp, "go.work")}, "go", "vet", "./...")
	if err == nil {
		return nil
	}
	text := err.Error()
	if rel, err := filepath.Rel(tmp, r.root); err == nil { // the go command prints the shorter one
		text = strings.ReplaceAll(text, rel+string(filepath.Separator), "")
	}
	return errors.New(strings.ReplaceAll(text, r.root+string(filepath.Separator), ""))
}

var testFunc = regexp.MustCompile(`(?m)^func (Test|Benchmark|Fuzz|Example)`)

// hasTest reports whether a file declares what only a _test.go file runs.
func hasTest(text string) bool { return testFunc.MatchString(text) }

var link = regexp.MustCompile(`\]\(([^)\s]+)[^)]*\)`)

// checkLinks returns an error for each relative link of a page that leads nowhere.
func checkLinks(root, page, prose string) []error {
	var errs []error
	for n, line := range strings.Split(prose, "\n") {
		for _, m := range link.FindAllStringSubmatch(line, -1) {
			to, _, _ := strings.Cut(m[1], "#")
			if to == "" || strings.Contains(to, ":") || strings.HasPrefix(to, "/") {
				continue // an anchor of this page, or not a file of the repository
			}
			at := path.Join(path.Dir(page), to)
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(at))); err != nil {
				errs = append(errs, fmt.Errorf("%s:%d: the link %s leads to %s, which does not exist", page, n+1, m[1], at))
			}
		}
	}
	return errs
}
