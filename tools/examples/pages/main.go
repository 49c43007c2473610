// Command pages is a guest book for browsers: pages by mixers/html, a form, a redirect and
// a cookie. It visits itself as a browser would; with -serve 8080 it stays, and
// http://localhost:8080 is for yours.
package main

import (
	"embed"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/html"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/protos/httproto"
)

//go:embed pages
var files embed.FS

var pages = html.Must(html.New(files, html.Options{
	Pages:  []string{"pages/*.html"},
	Shared: []string{"pages/shared/*.html"},
	Layout: "layout.html",
}))

// book is the guest book.
type book struct {
	mu      sync.Mutex
	entries []entry
}

type entry struct {
	Name string `form:"name"`
	Text string `form:"text"`
}

// read is the page /.
func (b *book) read(ctx tp.CallCtx, _ *[]byte) ([]byte, *tp.Rerror) {
	b.mu.Lock()
	entries := append([]entry(nil), b.entries...)
	b.mu.Unlock()
	return pages.Render(ctx, "book.html", map[string]any{"Entries": entries, "Name": visitor(ctx)})
}

// sign takes the form. It answers with a redirect, so that a reload signs nothing again.
func (b *book) sign(ctx tp.CallCtx, arg *entry) ([]byte, *tp.Rerror) {
	if httproto.Method(ctx) != "POST" {
		return nil, tp.NewRerror(405, "Method Not Allowed", "send the form by POST")
	}
	if arg.Name == "" || arg.Text == "" {
		httproto.SetStatus(ctx, 422)
		return pages.Render(ctx, "incomplete.html", nil)
	}
	b.mu.Lock()
	b.entries = append(b.entries, *arg)
	b.mu.Unlock()
	name := http.Cookie{Name: "name", Value: url.QueryEscape(arg.Name), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	ctx.AddMeta("Set-Cookie", name.String())
	return nil, html.Redirect(ctx, http.StatusSeeOther, "/")
}

// visitor returns the name in the visitor's cookie.
func visitor(ctx tp.CallCtx) string {
	cookies, err := http.ParseCookie(string(ctx.PeekMeta("Cookie")))
	if err != nil {
		return ""
	}
	for _, c := range cookies {
		if c.Name == "name" {
			name, _ := url.QueryUnescape(c.Value)
			return name
		}
	}
	return ""
}

func main() {
	serve := flag.Uint("serve", 0, "stay, and listen on this port")
	flag.Parse()
	tp.SetLoggerLevel("ERROR")
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", ListenPort: uint16(*serve), Protocol: httproto.NewHTTProtoFunc()})
	defer srv.Close()
	b := new(book)
	tp.HandleCall(srv, "/", func(ctx tp.CallCtx, arg *[]byte) ([]byte, error) {
		page, rerr := b.read(ctx, arg)
		return page, rerr.Err()
	})
	tp.HandleCall(srv, "/sign", func(ctx tp.CallCtx, arg *entry) ([]byte, error) {
		page, rerr := b.sign(ctx, arg)
		return page, rerr.Err()
	})
	if *serve > 0 {
		log.Fatal(srv.ListenAndServe())
	}
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	visit("http://" + srv.Addrs()[0].String())
}

// visit does what a visitor does.
func visit(site string) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	defer browser.CloseIdleConnections()
	show := func(what string, resp *http.Response, err error) {
		if err != nil {
			log.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s %s, %s\n%s\n", what, resp.Status, resp.Request.URL.Path, resp.Header.Get("Content-Type"), text(body))
	}
	resp, err := browser.Get(site)
	show("open", resp, err)
	resp, err = browser.PostForm(site+"/sign", url.Values{"name": {"Zoë"}, "text": {"<script>alert(1)</script>"}})
	show("sign", resp, err)
	resp, err = browser.PostForm(site+"/sign", url.Values{"name": {"Zoë"}})
	show("forget the text", resp, err)
	resp, err = browser.Get(site + "/sign")
	show("follow a link to the form", resp, err)
}

var (
	tags   = regexp.MustCompile(`<[^>]*>`)
	blanks = regexp.MustCompile(`\s+`)
)

// text returns the text of a page.
func text(page []byte) string {
	return "   " + strings.TrimSpace(blanks.ReplaceAllString(tags.ReplaceAllString(string(page), " "), " "))
}
