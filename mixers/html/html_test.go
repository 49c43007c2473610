package html

import (
	"embed"
	"errors"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/protos/httproto"
)

// meta is what a handler has set.
type meta map[string]string

func (m meta) SetMeta(key, value string) { m[key] = value }

func files(pairs ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		fsys[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return fsys
}

const layout = `<html><title>{{block "title" .}}none{{end}}</title>{{template "content" .}}{{template "foot.html"}}</html>`

func TestRender(t *testing.T) {
	withLayout := Options{Pages: []string{"pages/*.html"}, Shared: []string{"shared/*.html"}, Layout: "layout.html"}
	shared := []string{"shared/layout.html", layout, "shared/foot.html", "<hr>"}
	for _, test := range []struct {
		name  string
		files []string
		o     Options
		page  string
		data  any
		want  string
	}{
		{"alone", []string{"a.html", "<p>{{.}}"}, Options{}, "a.html", "hi", "<p>hi"},
		{"escaped", []string{"a.html", `<p title='{{.}}'>{{.}}<a href="/?q={{.}}">`}, Options{}, "a.html", `"><script>`,
			`<p title='&#34;&gt;&lt;script&gt;'>&#34;&gt;&lt;script&gt;<a href="/?q=%22%3e%3cscript%3e">`},
		{"trusted", []string{"a.html", `<p>{{.}}`}, Options{}, "a.html", template.HTML("<b>bold"), "<p><b>bold"},
		{"layout", append(shared, "pages/a.html", `{{define "content"}}<p>{{.}}{{end}}`), withLayout, "a.html", "hi", "<html><title>none</title><p>hi<hr></html>"},
		{"own title", append(shared, "pages/a.html", `{{define "content"}}<p>{{end}}{{define "title"}}A{{end}}`, "pages/b.html", `{{define "content"}}b{{end}}`),
			withLayout, "a.html", nil, "<html><title>A</title><p><hr></html>"},
		{"the other's title", append(shared, "pages/a.html", `{{define "content"}}<p>{{end}}{{define "title"}}A{{end}}`, "pages/b.html", `{{define "content"}}b{{end}}`),
			withLayout, "b.html", nil, "<html><title>none</title>b<hr></html>"},
		{"functions", []string{"a.html", `{{shout .}}`}, Options{Funcs: template.FuncMap{"shout": strings.ToUpper}}, "a.html", "hi", "HI"},
		{"delimiters", []string{"a.html", `<%.%> {{.}}`}, Options{Left: "<%", Right: "%>"}, "a.html", "hi", "hi {{.}}"},
		{"several patterns", []string{"x/a.html", "a", "y/b.htm", "b"}, Options{Pages: []string{"x/*", "y/*"}}, "b.htm", nil, "b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := New(files(test.files...), test.o)
			require.NoError(t, err)
			m := meta{}
			for range 2 {
				got, rerr := p.Render(m, test.page, test.data)
				require.Nil(t, rerr)
				require.Equal(t, test.want, string(got))
			}
			require.Equal(t, meta{"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff"}, m)
		})
	}
}

func TestRenderPart(t *testing.T) {
	p := Must(New(files("layout.html", "<html>{{template \"rows\" .}}", "a.page", `{{define "rows"}}{{range .}}<li>{{.}}{{end}}{{end}}`),
		Options{Pages: []string{"*.page"}, Shared: []string{"layout.html"}, Layout: "layout.html"}))
	got, rerr := p.RenderPart(meta{}, "a.page", "rows", []string{"<", "b"})
	require.Nil(t, rerr)
	require.Equal(t, "<li>&lt;<li>b", string(got))
	_, rerr = p.RenderPart(meta{}, "a.page", "none", nil)
	require.Contains(t, rerr.Reason, `"none" is undefined`)
}

func TestNewErrors(t *testing.T) {
	for _, test := range []struct {
		name  string
		files []string
		o     Options
		want  string
	}{
		{"none", nil, Options{}, `html: no file matches the pattern "*.html"`},
		{"pattern", nil, Options{Pages: []string{"["}}, `html: pattern "[": syntax error in pattern`},
		{"syntax", []string{"a.html", "line 1\n{{.A"}, Options{}, "html: a.html: template: a.html:2: unclosed action"},
		{"unknown function", []string{"a.html", "{{f}}"}, Options{}, `html: a.html: template: a.html:1: function "f" not defined`},
		{"place that cannot be escaped", []string{"a.html", "<a href='{{if .}}\"{{end}}>"}, Options{}, `html: page "a.html": html/template:a.html`},
		{"no layout", []string{"a.html", ""}, Options{Layout: "l"}, `html: no file of Shared is or defines the layout "l"`},
		{"no part", []string{"a.html", `{{template "x"}}`}, Options{}, `html: page "a.html": html/template:a.html:1:11: no such template "x"`},
		{"same name", []string{"x/a.html", "", "y/a.html", ""}, Options{Pages: []string{"*/*"}}, `html: two pages have the name "a.html", the second is y/a.html`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(files(test.files...), test.o)
			require.ErrorContains(t, err, test.want)
			require.Panics(t, func() { Must(nil, err) })
		})
	}
}

// A page that fails is not sent in part, and the reply has no type.
func TestRenderErrors(t *testing.T) {
	p := Must(New(files("a.html", "begun {{.Name}} {{fail}}", "b.html", ""), Options{Funcs: template.FuncMap{
		"fail": func() (string, error) { return "", errors.New("no luck") },
	}}))
	for _, test := range []struct {
		page string
		data any
		want string
	}{
		{"c.html", nil, `html: there is no page "c.html"; there are: a.html, b.html`},
		{"a.html", struct{ Name string }{"x"}, "no luck"},
		{"a.html", 7, "can't evaluate field Name in type int"},
	} {
		m := meta{}
		got, rerr := p.Render(m, test.page, test.data)
		require.EqualValues(t, 500, rerr.Code)
		require.Equal(t, "Template Rendering Failed", rerr.Message)
		require.Contains(t, rerr.Reason, test.want)
		require.Nil(t, got)
		require.Empty(t, m)
	}
}

func TestRedirect(t *testing.T) {
	for _, test := range []struct {
		code     int
		url      string
		location string // "": an error
	}{
		{301, "/there", "/there"},
		{302, "/there", "/there"},
		{303, "/two words?q=é<", "/two%20words?q=%C3%A9%3C"},
		{307, "?q=1", "?q=1"},
		{308, "https://example.com/a%20b#c", "https://example.com/a%20b#c"},
		{200, "/there", ""},
		{304, "/there", ""},
		{302, "", ""},
		{302, "/there\r\nSet-Cookie: a=1", ""},
		{302, "/there\x7f", ""},
	} {
		m := meta{}
		rerr := Redirect(m, test.code, test.url)
		require.Equal(t, test.location, m["Location"])
		if test.location == "" {
			require.EqualValues(t, 500, rerr.Code)
			continue
		}
		require.EqualValues(t, test.code, rerr.Code)
		require.Equal(t, test.location, rerr.Reason)
		require.NotEmpty(t, rerr.Message)
	}
}

// Changes are seen, and the last good pages stay while a file is broken.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("a.html", "one")
	lines := new(tptest.Lines)
	p := Must(New(os.DirFS(dir), Options{Reload: true, Logger: lines.Logger()}))
	render := func(name string) string {
		got, rerr := p.Render(meta{}, name, nil)
		if rerr != nil {
			return rerr.Reason
		}
		return string(got)
	}
	becomes := func(name, want string) {
		t.Helper()
		require.Eventually(t, func() bool { return render(name) == want }, 30*time.Second, 10*time.Millisecond, "%s is %q", name, render(name))
	}
	require.Equal(t, "one", render("a.html"))
	write("a.html", "two!")
	becomes("a.html", "two!")

	write("a.html", "three {{")
	require.Eventually(t, func() bool { return render("a.html") == "two!" && lines.Contain("the last good pages stay") }, 30*time.Second, 10*time.Millisecond)
	for range 3 {
		time.Sleep(lookEvery)
		require.Equal(t, "two!", render("a.html"))
	}
	require.Len(t, lines.All(), 1, "the error is logged once")
	write("a.html", "four")
	becomes("a.html", "four")
	write("b.html", "a new page")
	becomes("b.html", "a new page")
	require.NoError(t, os.Remove(filepath.Join(dir, "b.html")))
	becomes("b.html", `html: there is no page "b.html"; there are: a.html`)
	require.NoError(t, os.Remove(filepath.Join(dir, "a.html")))
	require.Eventually(t, func() bool { return render("a.html") == "four" && lines.Contain("no file matches") }, 30*time.Second, 10*time.Millisecond)
}

// Without Reload the pages stay as they were.
func TestNoReload(t *testing.T) {
	fsys := files("a.html", "one")
	p := Must(New(fsys, Options{}))
	fsys["a.html"] = &fstest.MapFile{Data: []byte("another")}
	got, rerr := p.Render(meta{}, "a.html", nil)
	require.Nil(t, rerr)
	require.Equal(t, "one", string(got))
}

func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.html")
	require.NoError(t, os.WriteFile(name, []byte("page {{.}}"), 0o600))
	p := Must(New(os.DirFS(dir), Options{Reload: true}))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 100 {
				got, rerr := p.Render(meta{}, "a.html", i)
				if rerr != nil || !strings.HasPrefix(string(got), "page ") {
					t.Errorf("%q, %s", got, rerr)
				}
			}
		})
	}
	wg.Wait()
}

//go:embed testdata
var embedded embed.FS

// A client like a browser opens a page, is redirected, and has its cookie.
func TestHTTP(t *testing.T) {
	sub, err := fs.Sub(embedded, "testdata")
	require.NoError(t, err)
	pages := Must(New(sub, Options{Pages: []string{"pages/*.html"}, Shared: []string{"shared/*.html"}, Layout: "layout.html"}))
	srv := tptest.NewPeer(t, tp.PeerConfig{Protocol: httproto.NewHTTProtoFunc()})
	tp.HandleCall(srv, "/", func(ctx tp.CallCtx, _ *[]byte) ([]byte, error) {
		got, rerr := pages.Render(ctx, "index.html", map[string]string{"Name": "<you>", "Cookie": string(ctx.PeekMeta("Cookie"))})
		return got, rerr.Err()
	})
	tp.HandleCall(srv, "/enter", func(ctx tp.CallCtx, _ *[]byte) ([]byte, error) {
		ctx.AddMeta("Set-Cookie", "user=7; HttpOnly; SameSite=Lax")
		ctx.AddMeta("Set-Cookie", "theme=dark")
		return nil, Redirect(ctx, 303, "/").Err()
	})
	tp.HandleCall(srv, "/broken", func(ctx tp.CallCtx, _ *[]byte) ([]byte, error) {
		got, rerr := pages.Render(ctx, "none.html", nil)
		return got, rerr.Err()
	})
	addr := "http://" + tptest.Listen(t, srv)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	browser := &http.Client{Jar: jar}
	defer browser.CloseIdleConnections()
	get := func(resp *http.Response, err error) (*http.Response, string) {
		t.Helper()
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp, string(b)
	}
	resp, body := get(browser.Get(addr + "/"))
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, ContentType, resp.Header.Get("Content-Type"))
	require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
	require.Contains(t, body, "<h1>Hello &lt;you&gt;</h1>")

	resp, body = get(browser.Post(addr+"/enter", "application/octet-stream", strings.NewReader("x")))
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "/", resp.Request.URL.Path)
	require.Equal(t, "GET", resp.Request.Method)
	require.Contains(t, body, "<p>user=7; theme=dark</p>")

	resp, body = get(browser.Get(addr + "/broken"))
	require.Equal(t, 500, resp.StatusCode)
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	require.Contains(t, body, MessageRender)
}
