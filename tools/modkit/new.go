package main

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	xmod "golang.org/x/mod/module"
)

type newCmd struct {
	Dir     string `arg:"" name:"family/name" help:"What it is, and its package: protos/xproto, codecs/xcodec, xfers/x, plugins/x, mixers/x, tools/x."`
	ID      string `help:"Id on the wire of a protocol, codec or filter: a character or a number. A free one by default."`
	Outside string `type:"path" help:"Write it to this directory, outside this repository." placeholder:"DIR"`
	Module  string `help:"Module path with -outside; example.com/NAME by default." placeholder:"PATH"`
}

// Help says which ids there are.
func (c *newCmd) Help() string {
	return fmt.Sprintf(`The id of a codec or filter is a byte on the wire. %d to %d are for the modules of this repository, %d to %d
for everybody else's, and %d to %d for tests. With -outside, the proposed id is computed from the name, so that
two authors seldom get the same one.

With -outside, the directory also gets a go.work, by which the module builds with this work tree as long as no
version is published. It is for this machine: do not commit it, and remove it to use published versions.`,
		projectIDs.first, projectIDs.last, userIDs.first, userIDs.last, testIDs.first, testIDs.last)
}

// Run writes the files of a module that builds. A module of the repository gets
// its line in ci/modules.txt and go.work.
func (c *newCmd) Run(e *env) error {
	r, err := loadRepo(e.root)
	if err != nil {
		return err
	}
	p, err := newPlan(c.Dir)
	if err != nil {
		return err
	}
	if p.Version, err = r.version(); err != nil {
		return err
	}
	core := r.get("core")
	if core == nil {
		return fmt.Errorf("modkit: %s has no core", modulesFile)
	}
	p.Go = core.Mod.Go.Version
	if c.Outside != "" {
		return c.outside(e, r, p)
	}
	if c.Module != "" {
		return errors.New("modkit: -module needs -outside; the path of a module of this repository is its directory")
	}
	if r.get(p.Dir) != nil {
		return fmt.Errorf("modkit: %s exists already", p.Dir)
	}
	if p.IDs() {
		used, err := r.usedIDs(p.Family)
		if err != nil {
			return err
		}
		if p.ID, err = chooseID(c.ID, projectIDs, used, p.letters()); err != nil {
			return err
		}
	}
	if err := p.write(filepath.Join(r.root, filepath.FromSlash(p.Dir))); err != nil {
		return err
	}
	list := filepath.Join(r.root, filepath.FromSlash(modulesFile))
	text, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	if err := os.WriteFile(list, []byte(addModule(string(text), p.Dir, p.kind())), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "wrote %s; next: go -C %s test ./...\n", p.Dir, p.Dir)
	return (&workCmd{}).Run(e)
}

// outside writes a module of another repository.
func (c *newCmd) outside(e *env, r *repo, p *plan) error {
	if rel, err := filepath.Rel(r.root, c.Outside); err != nil || filepath.IsLocal(rel) {
		return fmt.Errorf("modkit: %s is inside this repository; leave -outside away", c.Outside)
	}
	if p.Family == "tools" {
		return errors.New("modkit: a tool outside this repository needs nothing of it: go mod init")
	}
	p.Path = cmp.Or(c.Module, "example.com/"+p.Package)
	if err := xmod.CheckPath(p.Path); err != nil {
		return fmt.Errorf("modkit: -module: %w", err)
	}
	if p.IDs() {
		var err error
		if p.ID, err = chooseID(c.ID, userIDs, nil, []byte{userID(p.Path)}); err != nil {
			return err
		}
	}
	work, err := r.workFor("Builds this module with the work tree of Teleport on this machine. Do not commit it.", false)
	if err != nil {
		return err
	}
	if err := p.write(c.Outside); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(c.Outside, "go.work"), work); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "wrote %s to %s; next: go -C %s test ./...\n", p.Path, c.Outside, c.Outside)
	return nil
}

// plan is the data of the templates of a new module.
type plan struct {
	Dir     string // xfers/md5
	Path    string // of the module
	Family  string // xfers
	Package string // md5
	Word    string // name on the wire: the package without its family's ending
	Title   string // the word as a part of Go names
	ID      id
	Prefix  string
	Version string // at which it requires core
	Go      string // go line
}

var packageName = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

// endings of the package names of a family, where it has one.
var endings = map[string]string{"protos": "proto", "codecs": "codec", "xfers": "", "plugins": "", "mixers": "", "tools": ""}

func newPlan(dir string) (*plan, error) {
	dir = strings.TrimSuffix(filepath.ToSlash(dir), "/")
	family, name, _ := strings.Cut(dir, "/")
	ending, known := endings[family]
	switch {
	case !known || !packageName.MatchString(name):
		return nil, fmt.Errorf("modkit: %q: want family/name, as xfers/zstd; the families are protos, codecs, xfers, plugins, mixers, tools", dir)
	case !strings.HasSuffix(name, ending) || name == ending:
		return nil, fmt.Errorf("modkit: %q: packages of %s end in %s", dir, family, ending)
	}
	word := strings.TrimSuffix(name, ending)
	return &plan{
		Dir: dir, Path: prefix + dir, Family: family, Package: name, Prefix: prefix,
		Word:  word,
		Title: strings.ToUpper(word[:1]) + word[1:],
	}, nil
}

// IDs reports whether the modules of the family have an id.
func (p *plan) IDs() bool { return slices.Contains([]string{"protos", "codecs", "xfers"}, p.Family) }

func (p *plan) kind() kind {
	if p.Family == "tools" {
		return kept
	}
	return released
}

// write writes the files of the module to a directory that has no go.mod yet.
func (p *plan) write(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("modkit: %s has a go.mod already", dir)
	}
	files, err := p.render()
	if err != nil {
		return err
	}
	for name, data := range files {
		if err := writeFile(filepath.Join(dir, name), data); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes a file, and makes its directory.
func writeFile(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}

//go:embed template
var templates embed.FS

// render returns the files of the module, by name. A file in the family's folder
// replaces that in the folder any.
func (p *plan) render() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, family := range []string{"any", p.Family} {
		names, err := fs.Glob(templates, "template/"+family+"/*.tmpl")
		if err != nil {
			return nil, err
		}
		for _, at := range names {
			t, err := template.ParseFS(templates, at)
			if err != nil {
				return nil, err
			}
			var b bytes.Buffer
			if err := t.Option("missingkey=error").Execute(&b, p); err != nil {
				return nil, err
			}
			name := strings.TrimSuffix(path.Base(at), ".tmpl")
			name = strings.Replace(name, "module", p.Package, 1)
			data := b.Bytes()
			if strings.HasSuffix(name, ".go") { // the order of imports depends on the names
				if data, err = format.Source(data); err != nil {
					return nil, fmt.Errorf("modkit: %s: %w", at, err)
				}
			}
			files[name] = data
		}
	}
	return files, nil
}

// addModule adds a line to the text of ci/modules.txt, after the last of its
// family, or at the end.
func addModule(text, dir string, k kind) string {
	family, _, _ := strings.Cut(dir, "/")
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	at := len(lines)
	for i, line := range lines {
		if strings.HasPrefix(line, family+"/") {
			at = i + 1
		}
	}
	line := fmt.Sprintf("%-17s %s", dir, k)
	lines = append(lines[:at], append([]string{line}, lines[at:]...)...)
	return strings.Join(lines, "\n") + "\n"
}
