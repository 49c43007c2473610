package socket

import (
	"net/url"
	"strings"
)

// RouteKeyOf returns the key by which a message of that service method is routed:
// the path of the text read as a URL, unescaped, or the whole text if url.Parse
// refuses it.
func RouteKeyOf(text string) string {
	if path, ok := plainPath(text); ok {
		return path
	}
	return parseMethod(text).Path
}

// RouteReachable reports whether calls can reach a route that is registered under
// that text: whether the text is not empty and, with and without a query, has itself
// as its route key. It is false for /a#b, //a, /%41, /a?b and a:b.
func RouteReachable(text string) bool {
	return text != "" && RouteKeyOf(text) == text && RouteKeyOf(text+"?k=v") == text
}

// parseMethod returns a service method as a URL. What url.Parse refuses is the path.
func parseMethod(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		u = &url.URL{Path: text}
	}
	return u
}

// plainPath returns the text before the query if url.Parse would find exactly
// that as the path; ok is false where that takes a real parse.
func plainPath(text string) (path string, ok bool) {
	if strings.HasPrefix(text, "//") {
		return "", false
	}
	path = text
	query := false
	for i := range len(text) {
		switch c := text[i]; {
		case c < 0x20, c == 0x7f, c == '#':
			return "", false
		case query:
		case c == '?':
			path, query = text[:i], true
		case c == '%', c == ':':
			return "", false
		}
	}
	return path, true
}
