package browsers

import (
	"context"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	_ "github.com/teleport-go/teleport/codecs/formcodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/html"
	"github.com/teleport-go/teleport/protos/httproto"
	"github.com/teleport-go/teleport/tools/browsers/drive"
)

type entry struct {
	Name string `form:"name"`
	Text string `form:"text"`
}

// startBook starts a guest book with the pages of tools/examples/pages.
func startBook(t *testing.T) (address string) {
	pages, err := html.New(os.DirFS("../examples/pages/pages"), html.Options{
		Pages: []string{"*.html"}, Shared: []string{"shared/*.html"}, Layout: "layout.html",
	})
	require.NoError(t, err)
	var mu sync.Mutex
	var entries []entry
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: httproto.NewHTTProtoFunc()})
	t.Cleanup(func() { srv.Close() })
	tp.HandleCall(srv, "/", func(ctx tp.CallCtx, _ *[]byte) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		name := ""
		if cookies, err := http.ParseCookie(string(ctx.PeekMeta("Cookie"))); err == nil {
			name = cookies[0].Value
		}
		page, rerr := pages.Render(ctx, "book.html", map[string]any{"Entries": entries, "Name": name})
		return page, rerr.Err()
	})
	tp.HandleCall(srv, "/sign", func(ctx tp.CallCtx, arg *entry) ([]byte, error) {
		if arg.Text == "" {
			httproto.SetStatus(ctx, http.StatusUnprocessableEntity)
			page, rerr := pages.Render(ctx, "incomplete.html", nil)
			return page, rerr.Err()
		}
		mu.Lock()
		defer mu.Unlock()
		entries = append(entries, *arg)
		ctx.AddMeta("Set-Cookie", "name=ann; Path=/; HttpOnly")
		return nil, html.Redirect(ctx, http.StatusSeeOther, "/").Err()
	})
	require.NoError(t, srv.Listen())
	return srv.Addrs()[0].String()
}

// TestHTML opens a page of mixers/html, submits a form and follows its redirect, in each
// browser.
func TestHTML(t *testing.T) {
	for _, name := range drive.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			u := &user{t, ctx, open(t, ctx, name, "http://"+startBook(t)+"/")}
			u.wait(`document.contentType === "text/html" && document.body.innerText.includes("Nobody has signed yet.")`)

			u.fill("[name=name]", `Zoë "<b>"`)
			require.NoError(t, u.tab.Click(ctx, "button")) // without a text
			u.wait(`location.pathname === "/sign" && document.body.innerText.includes("A name and a text, please.")`)
			require.NoError(t, u.tab.Click(ctx, "a"))
			u.wait(`location.pathname === "/" && document.querySelector("form")`)

			u.fill("[name=name]", `Zoë "<b>"`)
			u.fill("[name=text]", "<script>document.title = 'run'</script>"+drive.Enter)
			u.wait(`location.pathname === "/" && document.body.innerText.includes("Welcome back, ann.")`)
			var text string
			require.NoError(t, u.tab.Eval(ctx, `document.body.innerText`, &text))
			require.Contains(t, text, `Zoë "<b>": <script>document.title = 'run'</script>`)
			var title string
			require.NoError(t, u.tab.Eval(ctx, `document.title`, &title))
			require.NotEqual(t, "run", title)
		})
	}
}
