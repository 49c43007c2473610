package html

import (
	"fmt"
	"strings"

	tp "github.com/teleport-go/teleport/core"
)

// Redirect returns the error that sends a browser to another URL, for a handler to return:
//
//	return nil, html.Redirect(ctx, 303, "/thanks")
//
// The code is 301, 302, 303, 307 or 308; 303 is the one after a form. It sets the metadata
// Location of the reply, and the code and the URL are in the error. Other codes, and a URL
// with control characters, are 500. A URL from outside must be checked first, or others
// can send your users anywhere.
func Redirect(ctx MetaSetter, code int, url string) *tp.Rerror {
	text, ok := redirects[code]
	if !ok {
		return failure("html: redirect with the code %d; want 301, 302, 303, 307 or 308", code)
	}
	location, ok := escapeURL(url)
	if !ok {
		return failure("html: redirect to %.80q, which is no URL", url)
	}
	ctx.SetMeta("Location", location)
	return tp.NewRerror(int32(code), text, location)
}

// redirects are the codes of redirects, with their texts.
var redirects = map[int]string{
	301: "Moved Permanently",
	302: "Found",
	303: "See Other",
	307: "Temporary Redirect",
	308: "Permanent Redirect",
}

func failure(format string, args ...any) *tp.Rerror {
	return tp.NewRerror(tp.CodeInternalServerError, tp.CodeText(tp.CodeInternalServerError), fmt.Sprintf(format, args...))
}

// escapeURL escapes blanks and all that is not ASCII. It refuses control characters.
func escapeURL(url string) (string, bool) {
	if url == "" {
		return "", false
	}
	var b strings.Builder
	for i := range len(url) {
		switch c := url[i]; {
		case c < ' ' || c == 0x7f:
			return "", false
		case c == ' ' || c == '"' || c == '<' || c == '>' || c >= 0x80:
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}
