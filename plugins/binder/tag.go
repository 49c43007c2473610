package binder

import (
	"fmt"
	"strings"
)

// The tag, and its keys.
const (
	tagName   = "param"
	tagIgnore = "-"

	keyMeta    = "meta"
	keySwap    = "swap"
	keyDesc    = "desc"
	keyLen     = "len"
	keyRange   = "range"
	keyNonzero = "nonzero"
	keyRegexp  = "regexp"
	keyRerr    = "rerr"
	keyStat    = "stat" // what rerr was called in eRPC
)

// tag is a tag taken apart. A key that has no value has an empty one.
type tag map[string]string

func (t tag) has(key string) bool { _, ok := t[key]; return ok }

// parseTag parses a tag. An unknown key is an error: it is a check
// that would not happen.
func parseTag(text string) (tag, error) {
	t := make(tag)
	for {
		_, rest, found := cutUnescaped(text, '<')
		if !found {
			return t, nil
		}
		entry, after, found := cutUnescaped(rest, '>')
		if !found {
			return nil, fmt.Errorf("no > after <%s", rest)
		}
		if inner, _, nested := cutUnescaped(entry, '<'); nested {
			return nil, fmt.Errorf(`< inside <%s; write \<`, inner)
		}
		if err := t.add(entry); err != nil {
			return nil, err
		}
		text = after
	}
}

// add notes one entry, what stands between < and >.
func (t tag) add(entry string) error {
	key, value, _ := strings.Cut(entry, ":")
	key = strings.TrimSpace(unescaper.Replace(key))
	if key == keyStat {
		key = keyRerr
	}
	switch key {
	case keyMeta, keySwap, keyDesc, keyLen, keyRange, keyNonzero, keyRegexp, keyRerr:
	default:
		return fmt.Errorf("unknown key %q", key)
	}
	if t.has(key) {
		return fmt.Errorf("<%s> twice", key)
	}
	t[key] = strings.TrimSpace(unescaper.Replace(value))
	return nil
}

var unescaper = strings.NewReplacer(`\<`, `<`, `\>`, `>`)

// cutUnescaped cuts s around the first c that has no backslash before it.
func cutUnescaped(s string, c byte) (before, after string, found bool) {
	for i := range len(s) {
		if s[i] == c && (i == 0 || s[i-1] != '\\') {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
