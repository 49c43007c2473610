package main

import (
	"cmp"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNewPlan(t *testing.T) {
	for _, test := range []struct{ name, dir, title, err string }{
		{"protocol", "protos/jsonproto", "Json", ""},
		{"codec", "codecs/cborcodec/", "Cbor", ""},
		{"filter", "xfers/zstd", "Zstd", ""},
		{"tool", "tools/bench", "Bench", ""},
		{"unknown family", "things/x", "", "families are"},
		{"core", "core", "", "families are"},
		{"too deep", "xfers/a/b", "", "want family/name"},
		{"upper case", "xfers/Zstd", "", "want family/name"},
		{"wrong ending", "protos/json", "", "end in proto"},
		{"nothing but the ending", "codecs/codec", "", "end in codec"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := newPlan(test.dir)
			wantErr(t, err, test.err)
			if err == nil {
				require.Equal(t, test.title, p.Title)
			}
		})
	}
}

func TestNew(t *testing.T) {
	for _, dir := range []string{"protos/aproto", "codecs/acodec", "xfers/a", "plugins/a", "mixers/a", "tools/a"} {
		t.Run(dir, func(t *testing.T) {
			e := &env{root: tree(t, small()), out: io.Discard}
			c := &newCmd{Dir: dir, ID: "a"}
			require.NoError(t, c.Run(e))
			r, err := loadRepo(e.root)
			require.NoError(t, err)
			m := r.get(dir)
			if m == nil {
				t.Fatalf("%s is not in %s", dir, modulesFile)
			}
			if want := map[bool]kind{true: kept, false: released}[m.family() == "tools"]; m.Kind != want {
				t.Errorf("kind %s; want %s", m.Kind, want)
			}
			require.NoError(t, (&workCmd{Check: true}).Run(e))

			imports, err := r.scan(m)
			require.NoError(t, err)
			for _, err := range r.judge(m, imports) {
				t.Error(err)
			}
			base := dir[strings.Index(dir, "/")+1:]
			want := []string{"README.md", base + ".go", base + "_test.go", "example_test.go"}
			if m.family() == "tools" {
				want = want[:3]
			}
			for _, name := range want {
				at := filepath.Join(r.dir(m), name)
				data, err := os.ReadFile(at)
				if err != nil {
					t.Error(err)
					continue
				}
				if strings.Contains(string(data), "<no value>") || strings.Contains(string(data), "{{") {
					t.Errorf("%s is not filled in:\n%s", name, data)
				}
				if strings.HasSuffix(name, ".go") {
					if _, err := parser.ParseFile(token.NewFileSet(), at, nil, 0); err != nil {
						t.Error(err)
					}
				}
			}
			wantErr(t, c.Run(e), "exists already")
		})
	}
}

// What modkit new writes outside the repository builds with the work tree, and
// its tests pass; the conformance suite of a protocol fails until it is written.
func TestNewOutside(t *testing.T) {
	root, err := findRoot("")
	require.NoError(t, err)
	for _, test := range []struct{ dir, module, verb string }{
		{"protos/aproto", "", "vet"},
		{"codecs/acodec", "", "test"},
		{"xfers/a", "example.org/b/rot13", "test"},
		{"plugins/a", "", "test"},
		{"mixers/a", "", "test"},
	} {
		t.Run(test.dir, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "a b") // the go command quotes paths with spaces
			e := &env{root: root, out: io.Discard}
			c := &newCmd{Dir: test.dir, Outside: dir, Module: test.module}
			require.NoError(t, c.Run(e))
			mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			require.NoError(t, err)
			require.Contains(t, string(mod), "module "+cmp.Or(test.module, "example.com/"+path.Base(test.dir))+"\n")
			_, err = run(dir, []string{"GOPROXY=off", "GOWORK="}, "go", test.verb, "./...")
			require.NoError(t, err)
			require.ErrorContains(t, c.Run(e), "has a go.mod already")
		})
	}
}

func TestNewOutsideRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		cmd  newCmd
		err  string
	}{
		{"inside", newCmd{Dir: "xfers/a", Outside: "xfers/a"}, "is inside this repository"},
		{"the root", newCmd{Dir: "xfers/a", Outside: "."}, "is inside this repository"},
		{"tool", newCmd{Dir: "tools/a", Outside: "../a"}, "go mod init"},
		{"bad path", newCmd{Dir: "xfers/a", Outside: "../a", Module: "rot13"}, "-module"},
		{"id of the project", newCmd{Dir: "xfers/a", Outside: "../a", ID: "a"}, "the ids of modules outside this repository are 128 to 239"},
		{"path inside", newCmd{Dir: "xfers/a", Module: "example.com/a"}, "-module needs -outside"},
		{"id of a user", newCmd{Dir: "xfers/a", ID: "200"}, "the ids of the modules of this repository are 1 to 127"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := &env{root: tree(t, small()), out: io.Discard}
			if test.cmd.Outside != "" {
				test.cmd.Outside = filepath.Join(e.root, test.cmd.Outside)
			}
			require.ErrorContains(t, test.cmd.Run(e), test.err)
			require.NoFileExists(t, filepath.Join(e.root, "xfers/a/go.mod"))
			require.NoDirExists(t, filepath.Join(filepath.Dir(e.root), "a"))
		})
	}
}

func TestAddModule(t *testing.T) {
	const text = "# all\ncore yes\nxfers/gzip yes\ntools/x no\n"
	for _, test := range []struct{ name, dir, want string }{
		{"after its family", "xfers/zstd", "# all\ncore yes\nxfers/gzip yes\nxfers/zstd        yes\ntools/x no\n"},
		{"new family", "plugins/auth", text + "plugins/auth      yes\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := addModule(text, test.dir, released); got != test.want {
				t.Errorf("addModule(%s): -want +got\n%s", test.dir, diff(test.want, got))
			}
		})
	}
}
