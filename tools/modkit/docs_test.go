package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParsePage(t *testing.T) {
	const page = "# A\n```go\npackage a\n```\ntext\n- item\n  ```sh\n  ls\n    -l\n  ```\n~~~~go fragment\nx := `y`\n~~~\n~~~~\n```go\nnever closed\n"
	blocks, prose := parsePage("doc/a.md", page)
	require.Equal(t, []block{
		{"doc/a.md", 3, "go", "package a\n"},
		{"doc/a.md", 8, "sh", "ls\n  -l\n"},
		{"doc/a.md", 12, "go fragment", "x := `y`\n~~~\n"},
		{"doc/a.md", 16, "go", "never closed\n"},
	}, blocks)
	require.Equal(t, "# A\n\n\n\ntext\n- item\n"+strings.Repeat("\n", 10), prose)
}

func TestCheckBlock(t *testing.T) {
	for _, test := range []struct{ name, info, text, err string }{
		{"whole", "go", "// Package a is.\npackage a\n\nfunc f() {}\n", ""},
		{"statements", "go fragment", "x := 1\nf(x)\n", ""},
		{"declarations", "go fragment", "type T struct{}\n\nfunc (T) m() {}\n", ""},
		{"another language", "sh", "x := :\n", ""},
		{"no language", "", "x := :\n", ""},
		{"begins alike", "gotemplate", "{{.}}\n", ""},
		{"fragment without its mark", "go", "x := 1\n", "doc/a.md:10: this block has no package clause"},
		{"whole with the mark", "go fragment", "package a\n", "doc/a.md:10: this fragment has a package clause"},
		{"unknown mark", "go run", "package a\n", "doc/a.md:9: a block is marked go or go fragment, not go run"},
		{"does not parse", "go", "package a\n\nfunc f( {}\n", "doc/a.md:12: "},
		{"fragment does not parse", "go fragment", "x := 1\nf(…)\n", "doc/a.md:11: "},
		{"not formatted", "go", "package a\nfunc  f() {}\n", "doc/a.md:10: this block is not formatted\n- func  f() {}"},
		{"fragment not formatted", "go fragment", "x:=1\n", "not formatted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantErr(t, block{"doc/a.md", 10, test.info, test.text}.check(), test.err)
		})
	}
}

func TestDocs(t *testing.T) {
	const program = "```go\npackage main\n\nimport tp \"" + house + "core\"\n\nfunc main() { tp.%s() }\n```\n"
	const ofTest = "```go\npackage a_test\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) { t.%s() }\n```\n"
	for _, test := range []struct{ name, file, text, err string }{
		{"program", "doc/a.md", fmt.Sprintf(program, "Talk") + fmt.Sprintf(program, "Talk"), ""},
		{"program that does not compile", "doc/deep/a.md", "# A\n\n" + fmt.Sprintf(program, "Mumble"), "vet: doc/deep/a.md:8:18: undefined: tp.Mumble"},
		{"test", "doc/a.md", fmt.Sprintf(ofTest, "Log"), ""},
		{"test that does not compile", "doc/a.md", fmt.Sprintf(ofTest, "Mumble"), "vet: doc/a.md:6:30: t.Mumble undefined"},
		{"fragment that does not compile", "doc/a.md", "```go fragment\nsess.Mumble()\n```\n", ""},
		{"bad block", "doc/a.md", "```go\nsess.Mumble()\n```\n", "doc/a.md:2: this block has no package clause"},
		{"block outside doc", "README.md", "```go\nsess.Mumble()\n```\n", ""},
		{"links", "doc/a.md", "[a](../README.md#top \"title\") [b](#here) [c](https://example.com/x) [d](../core) [e](mailto:a@b.c)\n```sh\n[x](y)\n```\n", ""},
		{"link to nothing", "doc/a.md", "\n[a](README.md)\n", "doc/a.md:2: the link README.md leads to doc/README.md, which does not exist"},
		{"link to nothing at the root", "README.md", "[a](doc/b.md#x)\n", "README.md:1: the link doc/b.md#x leads to doc/b.md"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{
				modulesFile:   "core yes\n",
				"core/go.mod": gomod("core"),
				"core/tp.go":  "package tp\n\nfunc Talk() {}\n",
			}
			files["README.md"] = "# A\n"
			files[test.file] = test.text
			var out bytes.Buffer
			wantErr(t, (&docsCmd{}).Run(&env{root: tree(t, files), out: &out}), test.err)
		})
	}
}

func TestNamedFiles(t *testing.T) {
	for _, test := range []struct{ name, file, text, err string }{
		{"file of core", "DESIGN.md", "See `tp.go` and core/tp.go.", ""},
		{"file of a package of core", "DESIGN.md", "in deep.go, deep/deep.go or internal/deep/deep.go", ""},
		{"directory", "DESIGN.md", "(`internal/deep`, core/internal/deep, xfers/gzip)", ""},
		{"file at the root", "DESIGN.md", "ci/modules.txt", ""},
		{"no file", "DESIGN.md", "net/http, e.g. HTTP/1.1, application/json, 1/2", ""},
		{"file gone", "DESIGN.md", "x\n(`spin.go`)", "core/DESIGN.md:2: spin.go does not exist"},
		{"directory gone", "DESIGN.md", "internal/lot, a", "core/DESIGN.md:1: internal/lot does not exist"},
		{"in doc.go", "doc.go", "// See park.go.\npackage tp\n", "core/doc.go:1: park.go does not exist"},
		{"road", "doc.go", "// Package tp is.\n//\n//\ttp.go  Talk → talk → socket.Conn: sent\n//\ttp.go  listen: waits, and more → the other side\npackage tp\n", ""},
		{"road with a wrong turn", "doc.go", "// Package tp is.\n//\n//\ttp.go  Talk → whisper: softly\npackage tp\n", "core/doc.go: the road puts whisper into tp.go"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := small()
			files["core/tp.go"] = "package tp\n\nfunc Talk() {}\n\ntype t struct{}\n\nfunc (t) talk() {}\n\nfunc listen() {}\n"
			files["core/internal/deep/deep.go"] = "package deep\n"
			files["xfers/gzip/gzip.go"] = "package gzip\n"
			files["core/"+test.file] = test.text
			wantErr(t, errors.Join(checkNamedFiles(tree(t, files))...), test.err)
		})
	}
}

// The documentation of this repository is checked by CI; here only that its
// pages are found.
func TestFindPages(t *testing.T) {
	files := small()
	files["README.md"], files["doc/a.md"], files["doc/deep/b.md"], files["doc/a.txt"], files["core/c.md"] = "", "", "", "", ""
	pages, err := findPages(filepath.Clean(tree(t, files)))
	require.NoError(t, err)
	require.Equal(t, []string{"README.md", "doc/a.md", "doc/deep/b.md"}, pages)
}
