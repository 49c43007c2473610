package tp

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// How texts of the other side, and texts that may be secret, appear in log lines.

const (
	detailMax = 4 << 10 // bytes of a body, or of metadata
	textMax   = 1 << 10 // bytes of a service method, of an error, of any other text
)

// cutOf cuts the text of something of size bytes at most bytes, never inside a
// character.
func cutOf(text string, size, most int) string {
	if len(text) <= most {
		return text
	}
	n := most
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + fmt.Sprintf("… (%d bytes)", size)
}

func cut(text string) string { return cutOf(text, len(text), detailMax) }

// brief cuts a text that the other side can make as long as it likes.
func brief(text string) string { return cutOf(text, len(text), textMax) }

// briefArgs cuts those that are texts or errors.
func briefArgs(args []any) {
	for i, a := range args {
		switch a := a.(type) {
		case string:
			args[i] = brief(a)
		case *Rerror:
			args[i] = brief(a.String())
		case error:
			args[i] = brief(a.Error())
		}
	}
}

// secrets are parts of keys whose values never appear in log lines. doc/security.md
// lists them.
var secrets = [...]string{"authorization", "cookie", "password", "passwd", "passphrase", "secret", "token", "apikey", "credential"}

var secretSigns = strings.NewReplacer("-", "", "_", "", ".", "", " ", "")

// isSecret reports whether the value of this key is likely to be a secret.
func isSecret(key string) bool {
	key = secretSigns.Replace(strings.ToLower(key))
	for _, s := range secrets {
		if strings.Contains(key, s) {
			return true
		}
	}
	return key == "auth" || key == "xauth" || key == "pwd"
}

// masked stands for the value of a secret.
const masked = "***"

// metaText is metadata in a log line.
func metaText(m *Meta) string {
	var shown *Meta // nil: m, in which there is no secret
	for k, v := range m.All() {
		if len(v) > 0 && isSecret(string(k)) {
			shown = new(Meta)
			break
		}
	}
	if shown == nil {
		return cut(m.String())
	}
	for k, v := range m.All() {
		if len(v) > 0 && isSecret(string(k)) {
			v = []byte(masked)
		}
		shown.AddBytesKV(k, v)
	}
	return cut(shown.String())
}

// methodText is a service method in a log line. Its query is metadata too.
func methodText(method string) string {
	path, query, ok := strings.Cut(method, "?")
	if !ok {
		return brief(method)
	}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(key)
		if err != nil {
			name = key
		}
		if value != "" && isSecret(name) {
			pairs[i] = key + "=" + masked
		}
	}
	return brief(path + "?" + strings.Join(pairs, "&"))
}
