package main

import (
	"bytes"
	"go/format"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"golang.org/x/mod/modfile"
	xmod "golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/zip"
)

func TestGoFlags(t *testing.T) {
	in := []string{"work", "-check", "--root", "-root=/a", "-h", "-", "--", "./a-b", "-2"}
	want := []string{"work", "--check", "--root", "--root=/a", "-h", "-", "--", "./a-b", "-2"}
	require.Equal(t, want, goFlags(in))
}

func TestPulledIn(t *testing.T) {
	const graph = `example.com/consumer go@1.25
example.com/consumer github.com/teleport-go/teleport/xfers/zstd@v0.1.0
example.com/consumer github.com/teleport-go/teleport/core@v0.1.0
github.com/teleport-go/teleport/xfers/zstd@v0.1.0 example.com/zip@v1.9.0
github.com/teleport-go/teleport/xfers/zstd@v0.1.0 toolchain@go1.26.1
example.com/other@v1.0.0 example.com/zip@v1.10.0
example.com/other@v1.0.0 example.com/zip@v1.2.0
go@1.25 toolchain@go1.25
`
	want := []string{"core", "example.com/zip v1.10.0", "xfers/zstd"}
	require.Equal(t, want, pulledIn(graph))
}

func TestGolden(t *testing.T) {
	r := load(t, small())
	g := golden{"go1.26 linux/amd64", map[string]cost{
		"core":       {"1.25", "3.1 MB", []string{"core"}},
		"xfers/gzip": {"1.26", "3.2 MB", []string{"core", "example.com/zip v1.2.0", "xfers/gzip"}},
	}}
	read, err := parseGolden(bytes.NewReader(g.format(r)))
	require.NoError(t, err)
	if got, want := string(read.format(r)), string(g.format(r)); got != want {
		t.Errorf("read again it is another: -want +got\n%s", diff(want, got))
	}
	core := g.costs["core"]
	for _, test := range []struct {
		name, want string
		got        cost
		toolchain  string
	}{
		{"same", "", core, g.toolchain},
		{"one module more", "+ pulls in example.com/a v1.0.0", cost{core.goLine, core.size, []string{"core", "example.com/a v1.0.0"}}, g.toolchain},
		{"higher go line", "- go 1.25\n+ go 1.26", cost{"1.26", core.size, core.pulls}, g.toolchain},
		{"larger by the slack", "", cost{core.goLine, "3.3 MB", core.pulls}, g.toolchain},
		{"larger", "- size 3.1 MB\n+ size 3.4 MB", cost{core.goLine, "3.4 MB", core.pulls}, g.toolchain},
		{"smaller", "- size 3.1 MB\n+ size 2.8 MB", cost{core.goLine, "2.8 MB", core.pulls}, g.toolchain},
		{"larger with another compiler", "", cost{core.goLine, "3.4 MB", core.pulls}, "go1.27 linux/amd64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := golden{test.toolchain, map[string]cost{"core": test.got}}
			wantErr(t, compareGolden(r, r.released(), read, got), test.want)
		})
	}
	t.Run("new module", func(t *testing.T) {
		got := golden{g.toolchain, map[string]cost{"protos/rawproto": core}}
		wantErr(t, compareGolden(r, r.released(), read, got), "+ module protos/rawproto")
	})
	t.Run("module that is gone", func(t *testing.T) {
		read.costs["codecs/lost"] = core
		wantErr(t, compareGolden(r, nil, read, golden{}), "codecs/lost, which is not released")
	})
	for _, bad := range []string{"go 1.25", "module", "module core\nweighs 3", "size 1"} {
		if _, err := parseGolden(strings.NewReader(bad)); err == nil {
			t.Errorf("parseGolden(%q) took it", bad)
		}
	}
}

func TestHelloWorldIsGo(t *testing.T) {
	r := load(t, small())
	for _, m := range r.released() {
		if _, err := format.Source([]byte(helloWorld(m))); err != nil {
			t.Errorf("%s: %v", m.Dir, err)
		}
	}
}

func TestReadme(t *testing.T) {
	e := &env{root: tree(t, small()), out: io.Discard}
	check := &readmeCmd{Check: true}
	require.NoError(t, check.Run(e)) // there is no README

	readme := filepath.Join(e.root, readmeFile)
	write := func(text string) {
		require.NoError(t, os.WriteFile(readme, []byte(text), 0o644))
	}
	write("# Teleport\n")
	wantErr(t, check.Run(e), "has no "+tableBegin)
	write("# Teleport\n\n" + tableBegin + "\nold\n" + tableEnd + "\n\nmore\n")
	wantErr(t, check.Run(e), "- old")
	require.NoError(t, (&readmeCmd{}).Run(e))
	require.NoError(t, check.Run(e))
	text, err := os.ReadFile(readme)
	require.NoError(t, err)
	for _, want := range []string{"# Teleport\n\n" + tableBegin, tableEnd + "\n\nmore\n", "| [core](core) | talks both ways |"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("README.md lacks %q:\n%s", want, text)
		}
	}
}

func TestFormatTable(t *testing.T) {
	got := formatTable([]row{
		{"core", "talks", cost{"1.25", "3.1 MB", []string{"core"}}},
		{"xfers/zstd", "a | b", cost{"1.25", "4.0 MB", []string{"core", "example.com/zip v1.2.0", "xfers/zstd"}}},
		{"plugins/big", "", cost{"1.26", "9.1 MB", []string{"a.b/1 v1.0.0", "a.b/2 v1.0.0", "a.b/3 v1.0.0", "a.b/4 v1.0.0", "a.b/5 v1.0.0", "core", "plugins/big"}}},
		{"xfers/new", "", cost{}},
	})
	for _, want := range []string{
		"| [core](core) | talks | nothing | 1.25 | 3.1 MB |\n",
		`| [xfers/zstd](xfers/zstd) | a \| b | core, example.com/zip | 1.25 | 4.0 MB |` + "\n",
		"| [plugins/big](plugins/big) |  | core, [5 third-party modules](ci/consumer.golden) | 1.26 | 9.1 MB |\n",
		"| [xfers/new](xfers/new) |  | not yet measured |  |  |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("table lacks %q:\n%s", want, got)
		}
	}
}

func TestSums(t *testing.T) {
	const file = `example.com/a v1.10.0 h1:3
example.com/a v1.9.0/go.mod h1:2
github.com/teleport-go/teleport/core v0.1.0/go.mod h1:5
example.com/a v1.9.0 h1:1
github.com/teleport-go/teleport/core v0.1.0 h1:4
example.com/a v1.9.0 h1:1
`
	const want = `example.com/a v1.9.0 h1:1
example.com/a v1.9.0/go.mod h1:2
example.com/a v1.10.0 h1:3
github.com/teleport-go/teleport/core v0.1.0 h1:4
github.com/teleport-go/teleport/core v0.1.0/go.mod h1:5
`
	s := splitSums([]byte(file))
	if len(s.siblings) != 2 || len(s.foreign) != 4 {
		t.Errorf("split into %d of siblings, %d foreign; want 2, 4", len(s.siblings), len(s.foreign))
	}
	if got := string(joinSums(append(s.siblings, s.foreign...))); got != want {
		t.Errorf("joined: -want +got\n%s", diff(want, got))
	}
	if got := joinSums(nil); got != nil {
		t.Errorf("joinSums(nil) = %q; want nil", got)
	}
}

func TestCheckVersion(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"v0.2.0", ""}, {"v1.0.0", ""}, {"v0.2.0-rc.1", ""},
		{"0.2.0", "not a version"}, {"v0.2", "not a version"}, {"", "not a version"}, {"latest", "not a version"},
		{"v2.0.0", "/v2"},
	} {
		t.Run(test.in, func(t *testing.T) { wantErr(t, checkVersion(test.in), test.want) })
	}
}

func TestUpgraded(t *testing.T) {
	r := load(t, small())
	for _, test := range []struct{ name, dir, want string }{
		{"requires it", "tools/modkit", "example.com/kong v1.2.0"},
		{"has a workspace of its own", "tools/interop", "example.com/kong v0.9.0"},
		{"does not require it", "xfers/gzip", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			data, err := r.get(test.dir).upgraded("example.com/kong", "v1.2.0")
			require.NoError(t, err)
			if got := strings.Contains(string(data), "example.com/kong"); got != (test.want != "") || !strings.Contains(string(data), test.want) {
				t.Errorf("go.mod is\n%s; want %q in it", data, test.want)
			}
		})
	}
}

// What the proxy serves has the hash that the go command would find, knows no
// file that git ignores, and requires the siblings at the version asked for.
func TestPublish(t *testing.T) {
	files := small()
	files["LICENSE"] = "free\n"
	files[".gitignore"] = "*.prof\n"
	files["xfers/gzip/cpu.prof"] = "ignored"
	files["xfers/gzip/gzip.go"] = "package gzip\n"
	root := tree(t, files)
	if out, err := exec.Command("git", "-C", root, "init", "-q").CombinedOutput(); err != nil {
		t.Logf("without git (%v: %s), all files of a module count", err, out)
		require.NoError(t, os.Remove(filepath.Join(root, "xfers/gzip/cpu.prof")))
	}
	r, err := loadRepo(root)
	require.NoError(t, err)
	dir := t.TempDir()
	got, err := r.publish(r.get("xfers/gzip"), dir, "v0.3.0")
	require.NoError(t, err)
	at := filepath.Join(dir, "github.com/teleport-go/teleport/xfers/gzip/@v")
	for _, name := range []string{"list", "v0.3.0.info", "v0.3.0.mod", "v0.3.0.zip"} {
		if _, err := os.Stat(filepath.Join(at, name)); err != nil {
			t.Error(err)
		}
	}
	mod, err := os.ReadFile(filepath.Join(at, "v0.3.0.mod"))
	require.NoError(t, err)
	f, err := modfile.Parse("go.mod", mod, nil)
	if err != nil || len(f.Require) != 1 || f.Require[0].Mod.Version != "v0.3.0" {
		t.Errorf("v0.3.0.mod is\n%s%v; want it to require core v0.3.0", mod, err)
	}
	unpacked := filepath.Join(t.TempDir(), "m")
	version := xmod.Version{Path: prefix + "xfers/gzip", Version: "v0.3.0"}
	require.NoError(t, zip.Unzip(unpacked, version, filepath.Join(at, "v0.3.0.zip")))
	var names []string
	entries, err := os.ReadDir(unpacked)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"LICENSE", "go.mod", "gzip.go"}; !slices.Equal(names, want) {
		t.Errorf("the zip has %q; want %q", names, want)
	}
	sum, err := dirhash.HashDir(unpacked, version.String(), dirhash.Hash1)
	if err != nil || sum != got.zip {
		t.Errorf("hash %s, %v; want %s", got.zip, err, sum)
	}
}
