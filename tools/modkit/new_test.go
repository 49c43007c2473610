package main

import (
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNewPlan(t *testing.T) {
	for _, test := range []struct{ name, dir, id, title, err string }{
		{"protocol", "protos/jsonproto", "j", "Json", ""},
		{"codec", "codecs/cborcodec/", "c", "Cbor", ""},
		{"filter", "xfers/zstd", "z", "Zstd", ""},
		{"tool", "tools/bench", "?", "Bench", ""},
		{"unknown family", "things/x", "x", "", "families are"},
		{"core", "core", "x", "", "families are"},
		{"too deep", "xfers/a/b", "x", "", "want family/name"},
		{"upper case", "xfers/Zstd", "z", "", "want family/name"},
		{"wrong ending", "protos/json", "j", "", "end in proto"},
		{"nothing but the ending", "codecs/codec", "j", "", "end in codec"},
		{"long id", "xfers/zstd", "zs", "", "one printable character"},
		{"quote as id", "xfers/zstd", "'", "", "one printable character"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := newPlan(test.dir, test.id)
			wantErr(t, err, test.err)
			if err == nil && p.Title != test.title {
				t.Errorf("title %s; want %s", p.Title, test.title)
			}
		})
	}
}

func TestNew(t *testing.T) {
	for _, dir := range []string{"protos/aproto", "codecs/acodec", "xfers/a", "plugins/a", "mixers/a", "tools/a"} {
		t.Run(dir, func(t *testing.T) {
			e := &env{root: tree(t, small()), out: io.Discard}
			c := &newCmd{Dir: dir, ID: "a"}
			wantErr(t, c.Run(e), "")
			r, err := loadRepo(e.root)
			if err != nil {
				t.Fatal(err)
			}
			m := r.get(dir)
			if m == nil {
				t.Fatalf("%s is not in %s", dir, modulesFile)
			}
			if want := map[bool]kind{true: kept, false: released}[m.family() == "tools"]; m.Kind != want {
				t.Errorf("kind %s; want %s", m.Kind, want)
			}
			wantErr(t, (&workCmd{Check: true}).Run(e), "")

			imports, err := r.scan(m)
			if err != nil {
				t.Fatal(err)
			}
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
			wantErr(t, c.Run(e), "there already")
		})
	}
}

func TestAddModule(t *testing.T) {
	const text = "# all\ncore yes\nxfers/gzip yes\ntools/x no\n"
	for _, test := range []struct{ name, dir, want string }{
		{"behind its family", "xfers/zstd", "# all\ncore yes\nxfers/gzip yes\nxfers/zstd        yes\ntools/x no\n"},
		{"new family", "plugins/auth", text + "plugins/auth      yes\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := addModule(text, test.dir, released); got != test.want {
				t.Errorf("addModule(%s): -want +got\n%s", test.dir, diff(test.want, got))
			}
		})
	}
}
