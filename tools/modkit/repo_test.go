package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tree writes files into a new directory and returns it.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, data := range files {
		at := filepath.Join(root, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, []byte(data), 0o644))
	}
	return root
}

// gomod is the go.mod of a module that requires these, each "path version"; a
// path without a dot is a sibling's directory.
func gomod(dir string, requires ...string) string {
	s := "module " + prefix + dir + "\n\ngo 1.25\n"
	for _, r := range requires {
		if path, _, _ := strings.Cut(r, " "); !foreign(path) {
			r = prefix + r
		}
		s += "\nrequire " + r + "\n"
	}
	return s
}

// small is a repository of a few modules.
func small() map[string]string {
	return map[string]string{
		modulesFile:               "# all\ncore yes\nmixers/standard yes protos/* xfers/*\nprotos/rawproto yes # the first\nxfers/gzip yes\n\ntools/modkit no\ntools/interop own\n",
		"core/go.mod":             gomod("core"),
		"core/tp.go":              "// Package tp talks both ways. And more.\npackage tp\n",
		"protos/rawproto/go.mod":  gomod("protos/rawproto", "core v0.1.0"),
		"xfers/gzip/go.mod":       gomod("xfers/gzip", "core v0.1.0"),
		"mixers/standard/go.mod":  gomod("mixers/standard", "core v0.1.0", "protos/rawproto v0.1.0", "xfers/gzip v0.1.0"),
		"tools/modkit/go.mod":     strings.Replace(gomod("tools/modkit", "example.com/kong v1.0.0"), "1.25", "1.25.3", 1),
		"tools/interop/go.mod":    gomod("tools/interop", "protos/rawproto v0.1.0", "core v0.1.0", "example.com/kong v0.9.0"),
		"core/testdata/x/go.mod":  "module x\n",
		"core/.hidden/y/go.mod":   "module y\n",
		"protos/rawproto/raw.go":  "package rawproto\n",
		"tools/interop/interop.s": "",
	}
}

func with(files map[string]string, name, data string) map[string]string {
	files[name] = data
	return files
}

func load(t *testing.T, files map[string]string) *repo {
	t.Helper()
	r, err := loadRepo(tree(t, files))
	require.NoError(t, err)
	return r
}

func dirs(modules []*module) string {
	var all []string
	for _, m := range modules {
		all = append(all, m.Dir)
	}
	return strings.Join(all, " ")
}

func TestParseModules(t *testing.T) {
	for _, test := range []struct{ name, in, want, err string }{
		{"three words", "core yes\ntools/x no\ntools/y own", "core=yes tools/x=no tools/y=own", ""},
		{"comments and blank lines", "# a\n\n  core   yes # b\n", "core=yes", ""},
		{"siblings", "mixers/a yes protos/* xfers/gzip", "mixers/a=yes+protos/*+xfers/gzip", ""},
		{"empty", "", "", ""},
		{"no word", "core", "", "line 1: want a directory and a word"},
		{"unknown word", "core maybe", "", `line 1: core is "maybe"`},
		{"twice", "core yes\ncore no", "", "line 2: core is listed twice"},
		{"outside", "../core yes", "", "not a directory below the root"},
		{"root", ". yes", "", "not a directory below the root"},
		{"absolute", "/core yes", "", "not a directory below the root"},
		{"slash at the end", "core/ yes", "", "not a directory below the root"},
		{"bad pattern", "core yes [", "", "pattern"},
	} {
		t.Run(test.name, func(t *testing.T) {
			modules, err := parseModules(strings.NewReader(test.in))
			wantErr(t, err, test.err)
			var got []string
			for _, m := range modules {
				got = append(got, strings.Join(append([]string{m.Dir + "=" + string(m.Kind)}, m.Siblings...), "+"))
			}
			if g := strings.Join(got, " "); g != test.want {
				t.Errorf("parseModules(%q) = %s; want %s", test.in, g, test.want)
			}
		})
	}
}

// wantErr fails unless the error contains the text; "" wants none.
func wantErr(t *testing.T, err error, text string) {
	t.Helper()
	if text == "" {
		require.NoError(t, err)
	} else {
		require.ErrorContains(t, err, text)
	}
}

func TestLoadRepo(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		err   string
	}{
		{"whole", small(), ""},
		{"listed, not there", with(small(), modulesFile, small()[modulesFile]+"codecs/x yes\n"), "codecs/x is in ci/modules.txt"},
		{"own, not there", with(small(), modulesFile, small()[modulesFile]+"tools/x own\n"), ""},
		{"there, not listed", with(small(), "codecs/x/go.mod", gomod("codecs/x")), "codecs/x/go.mod is not in ci/modules.txt"},
		{"at the root", with(small(), "go.mod", "module x\n"), "go.mod at the root"},
		{"path of another", with(small(), "xfers/gzip/go.mod", gomod("xfers/zip")), "module path is not"},
		{"no go line", with(small(), "core/go.mod", "module "+prefix+"core\n"), "no go line"},
		{"unknown sibling", with(small(), "xfers/gzip/go.mod", gomod("xfers/gzip", "codecs/x v0.1.0")), "requires codecs/x, which is not in"},
		{"requires one outside the workspace", with(small(), "xfers/gzip/go.mod", gomod("xfers/gzip", "tools/interop v0.1.0")), "not in the workspace"},
		{"broken go.mod", with(small(), "core/go.mod", "nonsense here\n"), "core/go.mod"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := loadRepo(tree(t, test.files))
			wantErr(t, err, test.err)
		})
	}
}

func TestKinds(t *testing.T) {
	r := load(t, small())
	require.Equal(t, "core mixers/standard protos/rawproto xfers/gzip", dirs(r.released()))
	require.Equal(t, "core mixers/standard protos/rawproto xfers/gzip tools/modkit", dirs(r.workspace()))
	require.Equal(t, "core protos/rawproto xfers/gzip", dirs(r.needs(r.get("mixers/standard"))))
}

func TestChoose(t *testing.T) {
	r := load(t, small())
	for _, test := range []struct {
		name string
		dirs []string
		want string
		err  string
	}{
		{"all", nil, "core mixers/standard protos/rawproto xfers/gzip", ""},
		{"two", []string{"xfers/gzip/", "./core"}, "xfers/gzip core", ""},
		{"no module", []string{"xfers"}, "", "xfers is not a module of ci/modules.txt"},
		{"not among them", []string{"tools/modkit"}, "", "tools/modkit is not a released module"},
	} {
		t.Run(test.name, func(t *testing.T) {
			chosen, err := r.choose(test.dirs, r.released())
			wantErr(t, err, test.err)
			require.Equal(t, test.want, dirs(chosen))
		})
	}
}

func TestInOrder(t *testing.T) {
	for _, test := range []struct {
		name, dir string
		requires  []string
		want, err string
	}{
		{"a required module comes first", "tools/modkit", nil, "core protos/rawproto xfers/gzip mixers/standard tools/modkit tools/interop", ""},
		{"required late", "core", []string{"xfers/gzip v0.1.0"}, "", "circle: core → xfers/gzip → core"},
		{"itself", "core", []string{"core v0.1.0"}, "", "circle: core → core"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := load(t, with(small(), test.dir+"/go.mod", gomod(test.dir, test.requires...)))
			order, err := r.inOrder()
			wantErr(t, err, test.err)
			if got := dirs(order); got != test.want {
				t.Errorf("inOrder() = %s; want %s", got, test.want)
			}
		})
	}
}

func TestTags(t *testing.T) {
	order, err := load(t, small()).inOrder()
	require.NoError(t, err)
	want := []string{"core/v0.2.0", "protos/rawproto/v0.2.0", "xfers/gzip/v0.2.0", "mixers/standard/v0.2.0"}
	require.Equal(t, want, tags(order, "v0.2.0"))
}

func TestVersion(t *testing.T) {
	for _, test := range []struct{ name, gzip, want, err string }{
		{"one", "core v0.1.0", "v0.1.0", ""},
		{"two", "core v0.2.0", "", "two versions"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := load(t, with(small(), "xfers/gzip/go.mod", gomod("xfers/gzip", test.gzip))).version()
			wantErr(t, err, test.err)
			if got != test.want {
				t.Errorf("version() = %s; want %s", got, test.want)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		r := load(t, map[string]string{modulesFile: "core yes\n", "core/go.mod": gomod("core")})
		if got, err := r.version(); got != firstVersion || err != nil {
			t.Errorf("version() = %s, %v; want %s", got, err, firstVersion)
		}
	})
}
