package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"hash/fnv"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// id is the byte that names a protocol, codec or filter.
type id byte

// String returns the id as a Go constant.
func (i id) String() string {
	if printable(byte(i)) {
		return strconv.QuoteRune(rune(i))
	}
	return strconv.Itoa(int(i))
}

func printable(c byte) bool { return ' ' < c && c <= '~' }

// idRange is a range of ids, both ends included.
type idRange struct {
	first, last id
	owner       string
}

// The ranges of ids. Those of the project are printable characters, as in its
// ancestors.
var (
	projectIDs = idRange{1, 127, "the modules of this repository"}
	userIDs    = idRange{128, 239, "modules outside this repository"}
	testIDs    = idRange{240, 255, "tests"}
)

func (r idRange) has(i id) bool { return r.first <= i && i <= r.last }

// chooseID returns the id that is asked for, if it is in the range and not in
// use, or else the first free one of the proposals.
func chooseID(asked string, in idRange, used map[id]string, proposals []byte) (id, error) {
	if asked != "" {
		i, err := parseID(asked)
		switch {
		case err != nil:
			return 0, err
		case !in.has(i):
			return 0, fmt.Errorf("modkit: id %s: the ids of %s are %d to %d", asked, in.owner, in.first, in.last)
		case used[i] != "":
			return 0, fmt.Errorf("modkit: id %s is that of %s", asked, used[i])
		}
		return i, nil
	}
	for _, p := range proposals {
		if used[id(p)] == "" && in.has(id(p)) {
			return id(p), nil
		}
	}
	return 0, fmt.Errorf("modkit: no free id among %q; choose one with -id", proposals)
}

// parseID reads an id: a printable character, or a number.
func parseID(s string) (id, error) {
	if len(s) == 1 && printable(s[0]) {
		return id(s[0]), nil
	}
	n, err := strconv.ParseUint(s, 0, 8)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("modkit: id %q: want a printable character, or a number from 1 to 255", s)
	}
	return id(n), nil
}

// letters are the ids proposed for a module of the repository: those of its word
// first.
func (p *plan) letters() []byte {
	return []byte(p.Word + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
}

// userID returns the id proposed for a module outside the repository.
func userID(modulePath string) byte {
	h := fnv.New32a()
	h.Write([]byte(modulePath))
	return byte(userIDs.first) + byte(h.Sum32()%uint32(userIDs.last-userIDs.first+1))
}

// usedIDs returns the ids of a family: the byte constants of its modules and of
// the package of core that names the family's ids.
func (r *repo) usedIDs(family string) (map[id]string, error) {
	dirs := map[string][]string{"codecs": {"core/codec"}, "xfers": {"core/xfer"}}[family]
	for _, m := range r.modules {
		if m.family() == family {
			dirs = append(dirs, m.Dir)
		}
	}
	used := map[id]string{}
	for _, dir := range dirs {
		names, err := fs.Glob(os.DirFS(r.root), dir+"/*.go")
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(r.root, filepath.FromSlash(name)), nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, fmt.Errorf("modkit: %w", err)
			}
			for ident, i := range byteConstants(f) {
				if used[i] == "" {
					used[i] = path.Base(dir) + "." + ident
				}
			}
		}
	}
	return used, nil
}

// byteConstants returns the constants of a file that have the type byte and the
// value of a literal.
func byteConstants(f *ast.File) map[string]id {
	found := map[string]id{}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			if t, ok := v.Type.(*ast.Ident); !ok || t.Name != "byte" || len(v.Values) != 1 {
				continue
			}
			lit, ok := v.Values[0].(*ast.BasicLit)
			if !ok || !slices.Contains([]token.Token{token.CHAR, token.INT}, lit.Kind) {
				continue
			}
			text := lit.Value
			if c, err := strconv.Unquote(text); err == nil {
				text = c
			}
			if i, err := parseID(text); err == nil {
				found[v.Names[0].Name] = i
			}
		}
	}
	return found
}
