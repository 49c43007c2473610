package main

import (
	"bytes"
	"flag"
	"fmt"
	"go/types"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

var update = flag.Bool("update", false, "write the golden files")

// programs are the directories below testdata.
func programs(t *testing.T) (dirs []string) {
	t.Helper()
	dirs, err := filepath.Glob("testdata/v[57]/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no programs: %v", err)
	}
	return dirs
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got\n%s", name, got)
	}
}

func TestPrograms(t *testing.T) {
	for _, dir := range programs(t) {
		t.Run(dir, func(t *testing.T) {
			r, err := migrate(dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.files) != 1 || r.seen != 1 {
				t.Fatalf("%d of %d files change; want 1 of 1", len(r.files), r.seen)
			}
			golden(t, filepath.Join(dir, "main.go.golden"), r.files[0].after)
			var left strings.Builder
			for _, n := range r.notes {
				fmt.Fprintf(&left, "%d %d %s: %s (%s)\n", n.line, n.lineAfter, n.what, n.hint, n.under)
			}
			golden(t, filepath.Join(dir, "left.golden"), []byte(left.String()))
		})
	}
}

// TestProgramsBuild type-checks what has been made, in the workspace.
func TestProgramsBuild(t *testing.T) {
	overlay := map[string][]byte{}
	var patterns []string
	for _, dir := range programs(t) {
		text, err := os.ReadFile(filepath.Join(dir, "main.go.golden"))
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Abs(filepath.Join(dir, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		if overlay[name] = text; !strings.HasSuffix(dir, "left") {
			patterns = append(patterns, "./"+filepath.ToSlash(dir))
		}
	}
	for _, p := range load(t, packages.NeedSyntax|packages.NeedTypesInfo, overlay, patterns...) {
		for _, err := range p.Errors {
			t.Errorf("%s: %v", p.PkgPath, err)
		}
	}
}

// TestTwice: what is migrated is left alone.
func TestTwice(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile("testdata/v7/server/main.go.golden")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := migrate(dir)
	if err != nil || len(r.files) != 0 || len(r.notes) != 0 {
		t.Errorf("%d files change, %d notes, %v; want none", len(r.files), len(r.notes), err)
	}
}

// TestWrite writes the files of a module of two packages, with their modes; the
// types of one are known in the other.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.com/app\n")
	write("api/api.go", "package api\n\nimport \"github.com/andeya/erpc/v7\"\n\nfunc Ask() *erpc.Status { return nil }\n")
	write("main.go", "package main\n\nimport (\n\t\"example.com/app/api\"\n\t\"github.com/andeya/erpc/v7\"\n)\n\nfunc main() {\n\tif !api.Ask().OK() {\n\t\terpc.Fatalf(\"%s\", api.Ask().Msg())\n\t}\n}\n")
	write("broken.go", "package main\n\nimport \"github.com/andeya/erpc/v7\"\n\nfunc {\n")
	write("vendor/github.com/andeya/erpc/v7/x.go", "package erpc\n\nimport \"github.com/andeya/erpc/v7/codec\"\n")

	var diff, out strings.Builder
	if err := run(&diff, []string{dir}, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n-\tif !api.Ask().OK() {\n", "\n+\tif api.Ask().HasError() {\n", "main.go:10: Status.Msg: ", "broken.go:1: the file: it does not parse", "would change 2 of 3 files; 2 places are left to you\n"} {
		if !strings.Contains(diff.String(), want) {
			t.Errorf("the dry run prints\n%s\nwant %q in it", diff.String(), want)
		}
	}
	if err := run(&out, []string{dir}, true); err != nil {
		t.Fatal(err)
	}
	if want := "modules to go get: github.com/teleport-go/teleport/core\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("-w prints\n%s\nwant %q at the end", out.String(), want)
	}
	const want = "package main\n\nimport (\n\t\"example.com/app/api\"\n\ttp \"github.com/teleport-go/teleport/core\"\n)\n\nfunc main() {\n\tif api.Ask().HasError() {\n\t\ttp.Fatalf(\"%s\", api.Ask().Message)\n\t}\n}\n"
	got, err := os.ReadFile(filepath.Join(dir, "main.go"))
	if err != nil || string(got) != want {
		t.Errorf("main.go is\n%s\n%v; want\n%s", got, err, want)
	}
	if info, err := os.Stat(filepath.Join(dir, "main.go")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("main.go: %v, %v; want mode 0600", info.Mode(), err)
	}
}

func TestNoDirectory(t *testing.T) {
	if err := run(&strings.Builder{}, []string{filepath.Join(t.TempDir(), "gone")}, false); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("run of a directory that is not there: %v; want an error that names it", err)
	}
}

// TestAncestor is about paths of imports.
func TestAncestor(t *testing.T) {
	for _, test := range []struct {
		path string
		age  age
		sub  string
		ok   bool
	}{
		{"github.com/henrylee2cn/teleport", v5, "", true},
		{"github.com/henrylee2cn/teleport/v5/codec", v5, "codec", true},
		{"github.com/henrylee2cn/teleport/plugin/auth", v5, "plugin/auth", true},
		{"github.com/henrylee2cn/teleport/v6", v7, "", true},
		{"github.com/henrylee2cn/erpc/v6/socket", v7, "socket", true},
		{"github.com/andeya/erpc/v7", v7, "", true},
		{"github.com/andeya/erpc/v7/proto/pbproto", v7, "proto/pbproto", true},
		{"github.com/henrylee2cn/teleport/v4", "", "", false},
		{"github.com/henrylee2cn/teleports", "", "", false},
		{"github.com/andeya/goutil", "", "", false},
		{"github.com/teleport-go/teleport/core", "", "", false},
	} {
		a, sub, ok := ancestor(test.path)
		if a != test.age || sub != test.sub || ok != test.ok {
			t.Errorf("ancestor(%q) = %q, %q, %v; want %q, %q, %v", test.path, a, sub, ok, test.age, test.sub, test.ok)
		}
	}
}

// TestEveryNameLeadsSomewhere: every name of the ancestors is here under the same
// name, or under that of its rule, or is left to a person with a hint.
func TestEveryNameLeadsSomewhere(t *testing.T) {
	all := scopes(t)
	for _, a := range []age{v5, v7} {
		im := newImporter(module{})
		for _, sub := range stubs(t) {
			here := all[successor(sub)]
			p := im.ancestor(a, sub)
			short := packageName(v5, sub)
			for _, name := range p.Scope().Names() {
				obj := p.Scope().Lookup(name)
				if !obj.Exported() {
					continue
				}
				to := here.Lookup(target(t, short+"."+name, name))
				if to == nil && !explained(short+"."+name) {
					t.Errorf("%s %s.%s: no such name here, and no rule", a, short, name)
				}
				checkMembers(t, a, obj, to)
			}
		}
	}
}

// target is the name here of key, which ends in name.
func target(t *testing.T, key, name string) string {
	t.Helper()
	if r := rules[key]; r.to != "" {
		return r.to
	}
	return name
}

func explained(key string) bool {
	r := rules[key]
	return r.edit != nil || r.hint != ""
}

func checkMembers(t *testing.T, a age, obj, to types.Object) {
	t.Helper()
	named, ok := types.Unalias(obj.Type()).(*types.Named)
	if _, isType := obj.(*types.TypeName); !isType || !ok || to == nil {
		return
	}
	var methods []string
	if i, ok := named.Underlying().(*types.Interface); ok {
		for m := range i.ExplicitMethods() {
			methods = append(methods, m.Name())
		}
	}
	for m := range named.Methods() {
		methods = append(methods, m.Name())
	}
	if s, ok := named.Underlying().(*types.Struct); ok {
		for f := range s.Fields() {
			methods = append(methods, f.Name())
		}
	}
	for _, m := range methods {
		key := named.Obj().Name() + "." + m
		found, _, _ := types.LookupFieldOrMethod(to.Type(), true, to.Pkg(), target(t, key, m))
		if found == nil && !explained(key) {
			t.Errorf("%s %s: no such member here, and no rule", a, key)
		}
	}
}

// TestRulesAreOfNames: a rule that no name of the ancestors has would never work.
func TestRulesAreOfNames(t *testing.T) {
	known := map[string]bool{}
	for _, a := range []age{v5, v7} {
		im := newImporter(module{})
		for _, sub := range stubs(t) {
			p := im.ancestor(a, sub)
			for _, name := range p.Scope().Names() {
				obj := p.Scope().Lookup(name)
				known[packageName(v5, sub)+"."+name] = true
				if named, ok := types.Unalias(obj.Type()).(*types.Named); ok {
					for m := range named.Methods() {
						known[named.Obj().Name()+"."+m.Name()] = true
					}
					if i, ok := named.Underlying().(*types.Interface); ok {
						for m := range i.ExplicitMethods() {
							known[named.Obj().Name()+"."+m.Name()] = true
						}
					}
					if s, ok := named.Underlying().(*types.Struct); ok {
						for f := range s.Fields() {
							known[named.Obj().Name()+"."+f.Name()] = true
						}
					}
				}
			}
		}
	}
	for key := range rules {
		if !known[key] {
			t.Errorf("rule for %s, which neither %s nor %s has", key, v5, v7)
		}
	}
}

// TestHeadings: what a note points to is in MIGRATING.md.
func TestHeadings(t *testing.T) {
	text, err := os.ReadFile("../../MIGRATING.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []map[string]rule{rules, importHints, companionHints} {
		for key, rule := range r {
			if rule.hint != "" && !bytes.Contains(text, []byte("\n## "+rule.under+"\n")) {
				t.Errorf("the hint of %s points to %q, which is no heading of MIGRATING.md", key, rule.under)
			}
		}
	}
}

// stubs are the packages whose interface is embedded.
func stubs(t *testing.T) (subs []string) {
	t.Helper()
	names, err := fs.Glob(ancestors, "ancestors/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		sub := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(name), ".txt"), "_", "/")
		if sub == "tp" {
			sub = ""
		}
		subs = append(subs, sub)
	}
	return subs
}

// load loads packages of the workspace.
func load(t *testing.T, mode packages.LoadMode, overlay map[string][]byte, patterns ...string) []*packages.Package {
	t.Helper()
	loaded, err := packages.Load(&packages.Config{
		Mode:    mode | packages.NeedName | packages.NeedTypes | packages.NeedImports | packages.NeedDeps | packages.NeedExportFile,
		Context: t.Context(),
		Overlay: overlay,
	}, patterns...)
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded) != len(patterns) {
		t.Fatalf("%d packages loaded; want %d", len(loaded), len(patterns))
	}
	return loaded
}

// scopes are what the packages of this project declare, by path.
func scopes(t *testing.T) map[string]*types.Scope {
	t.Helper()
	paths := map[string]bool{}
	for _, sub := range stubs(t) {
		paths[successor(sub)] = true
	}
	found := map[string]*types.Scope{}
	for _, p := range load(t, 0, nil, slices.Sorted(maps.Keys(paths))...) {
		if len(p.Errors) > 0 {
			t.Fatalf("%s: %v", p.PkgPath, p.Errors)
		}
		found[p.PkgPath] = p.Types.Scope()
	}
	return found
}
