package secure

import (
	"net/url"
	"strings"
)

// spelled returns the service method in the form that the tag covers: as it was
// sent, in URL syntax. HTTP sends bytes that a URL cannot contain as %XX, and the
// host of a whole URL as a header; so what was sealed as "é" arrives as "%C3%A9".
// Nothing is unescaped, and methods of one form are one route in all protocols: an
// attacker gains nothing by writing a method in another way.
func spelled(method string) string {
	if strings.Contains(method, "://") {
		method = withoutHost(method)
	}
	extra := 0
	for i := range len(method) {
		switch c := method[i]; {
		case c < ' ' || c == 0x7f: // no URL: it is a route of its own, whole
			return method
		case respelled(c):
			extra += 2
		case c == '%' && !(i+2 < len(method) && isHex(method[i+1]) && isHex(method[i+2])):
			return method // nor is this
		}
	}
	if extra == 0 || method[0] != '/' || strings.HasPrefix(method, "//") {
		return method // the first segment has rules of its own
	}
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(method)+extra)
	for i := range len(method) {
		if c := method[i]; respelled(c) {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

// respelled are the bytes that URLs do not hold as they are.
func respelled(c byte) bool {
	return c > 0x7f || strings.IndexByte(" \"<>\\^`{|}", c) >= 0
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// withoutHost takes scheme and host from a URL that has both and a path.
func withoutHost(method string) string {
	scheme, behind, _ := strings.Cut(method, "://")
	slash := strings.IndexByte(behind, '/')
	if strings.ContainsAny(scheme, "/?#") || slash < 0 || strings.ContainsAny(behind[:slash], "?#") {
		return method
	}
	rest := behind[slash:]
	if u, err := url.Parse(method); err != nil || u.Host == "" || strings.HasPrefix(rest, "//") {
		return method
	}
	return rest
}
