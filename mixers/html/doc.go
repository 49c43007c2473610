// Package html renders pages for browsers by html/template, as the replies of handlers.
//
//	//go:embed pages
//	var files embed.FS
//
//	var pages = html.Must(html.New(files, html.Options{
//		Pages:  []string{"pages/*.html"},
//		Shared: []string{"pages/shared/*.html"},
//		Layout: "layout.html",
//	}))
//
//	func (h *Home) Index(arg *struct{}) ([]byte, *tp.Rerror) {
//		return pages.Render(h, "index.html", arg)
//	}
//
// A browser reaches the handlers by protos/httproto. Other peers can call them too: the
// page is the body, its type is in the metadata.
//
// html/template escapes what data hold, by where it stands in the page; the text/template
// of the ancestors' package escaped nothing. Escaping does not keep other sites from
// sending forms in the name of your user: set cookies with SameSite=Lax or Strict, and
// change things only by requests other than GET (httproto.Method).
package html
