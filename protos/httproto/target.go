package httproto

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/teleport-go/teleport/core/socket"
)

// The target of a request line, and the service method it stands for.

// appendTarget appends the target of a request line for a service method, and
// returns the host if the method is a whole URL.
func appendTarget(dst []byte, method string) (out []byte, host string, err error) {
	rest := method
	if scheme, behind, ok := strings.Cut(method, "://"); ok && !strings.ContainsAny(scheme, "/?#") {
		end := strings.IndexAny(behind, "/?#")
		if end < 0 {
			end = len(behind)
		}
		host, rest = behind[:end], behind[end:]
		host = host[strings.LastIndexByte(host, '@')+1:]
		if host == "" || !validHost(host) {
			return dst, "", fmt.Errorf("http: service method %.80q: invalid host", method)
		}
		if !strings.HasPrefix(rest, "/") {
			dst = append(dst, '/')
		}
	}
	if rest == "" && host == "" {
		dst = append(dst, '/')
	}
	const hex = "0123456789ABCDEF"
	for i := range len(rest) {
		switch c := rest[i]; {
		case targetByte[c]:
			dst = append(dst, c)
		case c == '#':
			return dst, "", fmt.Errorf("http: service method %.80q has a fragment, which requests have not", method)
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst, host, nil
}

func validHost[T string | []byte](host T) bool {
	for i := range len(host) {
		if c := host[i]; !targetByte[c] || c == '/' || c == '?' || c == '@' {
			return false
		}
	}
	return true
}

// validTarget is generous to what clients leave unescaped.
func validTarget(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// setTarget makes path and query the service method, and the query metadata too.
func (p *httpProto) setTarget(h *head, target []byte, m socket.Message) error {
	if i := bytes.Index(target, []byte("://")); i > 0 && !bytes.ContainsAny(target[:i], "/?#") {
		behind := target[i+3:]
		end := bytes.IndexAny(behind, "/?")
		if end < 0 {
			end = len(behind)
		}
		if end == 0 || !validHost(behind[:end]) {
			return lost(400, "invalid host: %.80q", target)
		}
		m.Meta().SetBytesV("Host", behind[:end])
		if target = behind[end:]; len(target) == 0 || target[0] != '/' {
			target = append([]byte{'/'}, target...)
		}
	}
	for len(target) > 1 && target[0] == '/' && target[1] == '/' {
		target = target[1:] // or it would be taken for a host
	}
	m.SetServiceMethodBytes(target)
	_, query, _ := bytes.Cut(target, []byte("?"))
	query, _, _ = bytes.Cut(query, []byte("#"))
	if len(query) == 0 {
		return nil
	}
	p.query.ParseBytes(query)
	if p.query.Len() > maxHeaders {
		h.wrong(400, "a query of %d pairs: no more than %d are taken", p.query.Len(), maxHeaders)
		return nil
	}
	meta := m.Meta()
	headers := meta.Len()
	for k, v := range p.query.All() {
		if string(k) != socket.MetaRealIP && string(k) != socket.MetaReplyError && !among(meta, headers, k) {
			meta.AddBytesKV(k, v)
		}
	}
	return nil
}

// among reports whether k is one of the first n keys.
func among(meta *socket.Meta, n int, k []byte) bool {
	for key := range meta.All() {
		if n--; n < 0 {
			break
		}
		if bytes.Equal(key, k) {
			return true
		}
	}
	return false
}
