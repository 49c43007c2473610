package html

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// ContentType is what pages are sent as.
const ContentType = "text/html; charset=utf-8"

// MessageRender is the message of the error of Render, as in the ancestors' package.
const MessageRender = "Template Rendering Failed"

// Options say which files are pages.
type Options struct {
	// Pages are patterns (path.Match) of the files that are pages. The name of a page is
	// that of its file without the directory. Default "*.html".
	Pages []string

	// Shared are patterns of files that all pages can use: layouts and parts.
	Shared []string

	// Layout is the name of the template that a page is put into, such as "layout.html": a
	// file of Shared that has {{block "content" .}}{{end}} or the like, where the page's
	// {{define "content"}} goes. Without a Layout the page's file is the whole page.
	Layout string

	// Funcs are functions for templates.
	Funcs template.FuncMap

	// Left and Right are the delimiters of actions. Default {{ and }}.
	Left, Right string

	// Reload looks before each Render whether files have changed, and parses them again.
	// If that fails, it logs why, once, and the last good pages stay. For development:
	// with os.DirFS.
	Reload bool

	// Logger is for the errors of Reload. Default is that of tp.Warnf.
	Logger *slog.Logger
}

// Pages are parsed templates. They are safe for concurrent use.
type Pages struct {
	fsys fs.FS
	o    Options

	set atomic.Pointer[set]

	mu     sync.Mutex // guards the fields below
	looked time.Time
	broken string // the last error of Reload
}

// set is one state of the files.
type set struct {
	pages map[string]*template.Template
	stamp string // of the files
}

// New parses the pages of a file system: an embed.FS, or os.DirFS. An error names the file
// and the line.
func New(fsys fs.FS, o Options) (*Pages, error) {
	if len(o.Pages) == 0 {
		o.Pages = []string{"*.html"}
	}
	p := &Pages{fsys: fsys, o: o}
	files, err := p.files()
	if err != nil {
		return nil, err
	}
	s, err := p.parse(files)
	if err != nil {
		return nil, err
	}
	p.set.Store(s)
	return p, nil
}

// Must returns the pages, and panics with the error if there is one.
func Must(p *Pages, err error) *Pages {
	if err != nil {
		panic(err)
	}
	return p
}

// MetaSetter is the part of a handler's context that Render and Redirect need. Controllers
// that embed tp.CallCtx have it too.
type MetaSetter interface{ SetMeta(key, value string) }

// Render returns the page with the data, to be returned by a handler. It sets the metadata
// Content-Type of the reply. On an error, 500 (MessageRender), nothing is sent of the page.
func (p *Pages) Render(ctx MetaSetter, name string, data any) ([]byte, *tp.Rerror) {
	return p.render(ctx, name, p.o.Layout, data)
}

// RenderPart is Render for one template of a page without its layout, such as a
// {{define "rows"}}: for scripts that replace a part of the page.
func (p *Pages) RenderPart(ctx MetaSetter, page, part string, data any) ([]byte, *tp.Rerror) {
	return p.render(ctx, page, part, data)
}

func (p *Pages) render(ctx MetaSetter, name, entry string, data any) ([]byte, *tp.Rerror) {
	if p.o.Reload {
		p.reload()
	}
	t := p.set.Load().pages[name]
	if t == nil {
		return nil, renderRerror(fmt.Errorf("html: there is no page %q; there are: %s", name, strings.Join(p.Names(), ", ")))
	}
	if entry == "" {
		entry = name
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, entry, data); err != nil {
		return nil, renderRerror(err)
	}
	ctx.SetMeta("Content-Type", ContentType)
	ctx.SetMeta("X-Content-Type-Options", "nosniff")
	return b.Bytes(), nil
}

func renderRerror(err error) *tp.Rerror {
	return tp.NewRerror(tp.CodeInternalServerError, MessageRender, err.Error()).WithCause(err)
}

// Names returns the names of the pages, sorted.
func (p *Pages) Names() []string { return slices.Sorted(maps.Keys(p.set.Load().pages)) }

// file is a file of the set.
type file struct {
	path string
	page bool // or shared
}

// files returns the files that the patterns match.
func (p *Pages) files() (files []file, err error) {
	for _, kind := range []struct {
		patterns []string
		page     bool
	}{{p.o.Shared, false}, {p.o.Pages, true}} {
		for _, pattern := range kind.patterns {
			matches, err := fs.Glob(p.fsys, pattern)
			if err != nil {
				return nil, fmt.Errorf("html: pattern %q: %w", pattern, err)
			}
			if len(matches) == 0 {
				return nil, fmt.Errorf("html: no file matches the pattern %q", pattern)
			}
			for _, m := range matches {
				files = append(files, file{m, kind.page})
			}
		}
	}
	return files, nil
}

// parse parses all files: each page is a copy of the shared ones, so that pages may define
// templates of the same names.
func (p *Pages) parse(files []file) (*set, error) {
	shared := template.New("").Delims(p.o.Left, p.o.Right).Funcs(p.o.Funcs)
	s := &set{pages: map[string]*template.Template{}, stamp: p.stamp(files)}
	for _, f := range files {
		if !f.page {
			if err := p.parseFile(shared, f.path); err != nil {
				return nil, err
			}
		}
	}
	if p.o.Layout != "" && shared.Lookup(p.o.Layout) == nil {
		return nil, fmt.Errorf("html: no file of Shared is or defines the layout %q", p.o.Layout)
	}
	for _, f := range files {
		name := path.Base(f.path)
		switch {
		case !f.page:
			continue
		case s.pages[name] != nil:
			return nil, fmt.Errorf("html: two pages have the name %q, the second is %s", name, f.path)
		}
		t, err := shared.Clone()
		if err == nil {
			err = p.parseFile(t, f.path)
		}
		if err == nil {
			err = escape(t, p.o.Layout, name)
		}
		if err != nil {
			return nil, err
		}
		s.pages[name] = t
	}
	return s, nil
}

func (p *Pages) parseFile(t *template.Template, name string) error {
	text, err := fs.ReadFile(p.fsys, name)
	if err != nil {
		return fmt.Errorf("html: %w", err)
	}
	if _, err := t.New(path.Base(name)).Parse(string(text)); err != nil {
		return fmt.Errorf("html: %s: %w", name, err)
	}
	return nil
}

// escape makes html/template escape the page now: an action at a place that it does not
// understand is an error of New, not of the first Render.
func escape(t *template.Template, layout, name string) error {
	if layout == "" {
		layout = name
	}
	var e *template.Error
	if err := t.ExecuteTemplate(discard{}, layout, nil); errors.As(err, &e) {
		return fmt.Errorf("html: page %q: %w", name, err)
	}
	return nil // an error of execution: there are no data here
}

// discard fails, so that no more is executed than must be.
type discard struct{}

var errDiscard = errors.New("html: nothing is rendered here")

func (discard) Write([]byte) (int, error) { return 0, errDiscard }
