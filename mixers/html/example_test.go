package html_test

import (
	"fmt"
	"testing/fstest"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/html"
)

var pages = html.Must(html.New(fstest.MapFS{ // a program has an embed.FS, or os.DirFS
	"layout.html": {Data: []byte(`<title>Shop</title>{{template "content" .}}`)},
	"hello.page":  {Data: []byte(`{{define "content"}}<h1>Hello {{.}}</h1>{{end}}`)},
}, html.Options{Pages: []string{"*.page"}, Shared: []string{"layout.html"}, Layout: "layout.html"}))

// Shop is a controller.
type Shop struct{ tp.CallCtx }

// Hello serves /shop/hello.
func (s *Shop) Hello(name *string) ([]byte, *tp.Rerror) {
	return pages.Render(s, "hello.page", *name)
}

func Example() {
	srv := tp.NewPeer(tp.PeerConfig{ListenPort: 8080})
	defer srv.Close()
	fmt.Println(srv.RouteCall(new(Shop)))
	page, _ := pages.Render(reply{}, "hello.page", "<you>")
	fmt.Println(string(page))
	// Output:
	// [/shop/hello]
	// <title>Shop</title><h1>Hello &lt;you&gt;</h1>
}

// reply stands for the context of a call.
type reply struct{}

func (reply) SetMeta(key, value string) {}
