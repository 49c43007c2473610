package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
)

type newCmd struct {
	Dir string `arg:"" name:"family/name" help:"Directory of the module: protos/xproto, codecs/xcodec, xfers/x, plugins/x, mixers/x, tools/x."`
	ID  string `help:"Id on the wire of a protocol, codec or filter: one character." default:"?"`
}

// Run writes the files of a module that builds, and makes it known.
func (c *newCmd) Run(e *env) error {
	r, err := loadRepo(e.root)
	if err != nil {
		return err
	}
	p, err := newPlan(c.Dir, c.ID)
	if err != nil {
		return err
	}
	if r.get(p.Dir) != nil {
		return fmt.Errorf("modkit: %s is there already", p.Dir)
	}
	if _, err := os.Stat(filepath.Join(r.root, filepath.FromSlash(p.Dir), "go.mod")); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("modkit: %s has a go.mod already", p.Dir)
	}
	if p.Version, err = r.version(); err != nil {
		return err
	}
	core := r.get("core")
	if core == nil {
		return fmt.Errorf("modkit: %s has no core", modulesFile)
	}
	p.Go = core.Mod.Go.Version
	files, err := p.render()
	if err != nil {
		return err
	}
	for name, data := range files {
		at := filepath.Join(r.root, filepath.FromSlash(p.Dir), name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, data, 0o644); err != nil {
			return err
		}
	}
	list := filepath.Join(r.root, filepath.FromSlash(modulesFile))
	text, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	if err := os.WriteFile(list, []byte(addModule(string(text), p.Dir, p.kind())), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "wrote %s; its README.md says what is left to do\n", p.Dir)
	return (&workCmd{}).Run(e)
}

// plan is what the templates of a new module know.
type plan struct {
	Dir     string // xfers/md5
	Family  string // xfers
	Package string // md5
	Word    string // name on the wire: the package without its family's ending
	Title   string // the word as a part of Go names
	ID      string // one character
	Prefix  string
	Version string // at which it requires core
	Go      string // go line
}

var packageName = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

// endings of the package names of a family, where it has one.
var endings = map[string]string{"protos": "proto", "codecs": "codec", "xfers": "", "plugins": "", "mixers": "", "tools": ""}

func newPlan(dir, id string) (*plan, error) {
	dir = strings.TrimSuffix(filepath.ToSlash(dir), "/")
	family, name, _ := strings.Cut(dir, "/")
	ending, known := endings[family]
	switch {
	case !known || !packageName.MatchString(name):
		return nil, fmt.Errorf("modkit: %q: want family/name, as xfers/zstd; the families are protos, codecs, xfers, plugins, mixers, tools", dir)
	case !strings.HasSuffix(name, ending) || name == ending:
		return nil, fmt.Errorf("modkit: %q: packages of %s end in %s", dir, family, ending)
	case len(id) != 1 || id[0] <= ' ' || id[0] > '~' || id[0] == '\'' || id[0] == '\\':
		return nil, fmt.Errorf("modkit: id %q: want one printable character", id)
	}
	word := strings.TrimSuffix(name, ending)
	return &plan{
		Dir: dir, Family: family, Package: name, ID: id, Prefix: prefix,
		Word:  word,
		Title: strings.ToUpper(word[:1]) + word[1:],
	}, nil
}

func (p *plan) kind() kind {
	if p.Family == "tools" {
		return kept
	}
	return released
}

//go:embed template
var templates embed.FS

// render makes the files of the module, by name. A file of the family's own
// folder stands in for the one of any family.
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

// addModule puts a line into the text of ci/modules.txt, behind the last of its
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
