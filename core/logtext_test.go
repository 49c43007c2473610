package tp

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/teleport-go/teleport/core/internal/plaintext"
)

func TestIsSecret(t *testing.T) {
	for key, want := range map[string]bool{
		"Authorization": true, "authorization": true, "PROXY-AUTHORIZATION": true, "Cookie": true, "Set-Cookie": true, "X-Auth-Token": true,
		"access_token": true, "password": true, "db.password": true, "X-Passwd": true, "passphrase": true, "pwd": true, "secret": true,
		"client_secret": true, "api-key": true, "API_KEY": true, "X-ApiKey": true, "credentials": true, "auth": true, "X-Auth": true,
		"": false, "k": false, "X-Real-IP": false, "X-Timeout": false, "author": false, "Authority": false, "X-Secure": false, "X-Accept-Secure": false, "key": false, "Passenger": false,
	} {
		if got := isSecret(key); got != want {
			t.Errorf("isSecret(%q) = %v, want %v", key, got, want)
		}
	}
}

func TestMethodText(t *testing.T) {
	long := strings.Repeat("é", 5000)
	for _, test := range []struct{ method, want string }{
		{"", ""},
		{"/a/b", "/a/b"},
		{"/a?x=1&y=2", "/a?x=1&y=2"},
		{"/a?x=1&token=hunter2&y", "/a?x=1&token=***&y"},
		{"/a?%74oken=hunter2", "/a?%74oken=***"},
		{"/a?password=a=b", "/a?password=***"},
		{"/a?token=&%zz=1", "/a?token=&%zz=1"},
		{"/token=hunter2", "/token=hunter2"}, // a path, and no key
		{"/" + long, "/" + long[:1022] + "… (10001 bytes)"},
		{"/a?x=" + long, "/a?x=" + long[:1018] + "… (10005 bytes)"},
	} {
		if got := methodText(test.method); got != test.want {
			t.Errorf("methodText(%.50q) = %q, want %q", test.method, got, test.want)
		}
	}
}

func TestMetaText(t *testing.T) {
	m := new(Meta)
	m.Add("k", "v")
	if got := metaText(m); got != "k=v" {
		t.Errorf("metaText = %q", got)
	}
	m.Add("Authorization", "Bearer hunter2")
	m.Add("token", "")
	m.Add("X-API-Key", "hunter3")
	if got, want := metaText(m), "k=v&Authorization=***&token&X-API-Key=***"; got != want {
		t.Errorf("metaText = %q, want %q", got, want)
	}
	if got := string(m.Peek("Authorization")); got != "Bearer hunter2" {
		t.Errorf("the metadata has changed: %q", got)
	}
}

func TestBriefArgs(t *testing.T) {
	long := strings.Repeat("x", 9999)
	args := []any{1, "a", long, errors.New(long), NewRerror(1, long, ""), error(nil), (*Rerror)(nil)}
	briefArgs(args)
	for i, most := range []int{10, 10, 1100, 1100, 1100, 10, 10} {
		if text := fmt.Sprint(args[i]); len(text) > most {
			t.Errorf("argument %d has %d bytes, want at most %d", i, len(text), most)
		}
	}
}

// Texts of the other side cannot make a line read as something else.
func TestSteeringTexts(t *testing.T) {
	for _, c := range []rune{'\u202e', '\u202a', '\u2066', '\u2069', '\u200f', '\u061c', '\u2028', '\u2029', '\u0085', '\x1b'} {
		text := "user" + string(c) + "txt.exe"
		escaped := fmt.Sprintf(`\u%04x`, c)
		if c < 0x80 {
			escaped = fmt.Sprintf(`\x%02x`, c)
		}
		for name, got := range map[string]string{
			"message":   string(appendMessage(nil, text)),
			"attribute": string(appendWord(nil, text)),
			"error":     NewRerror(1, text, text).String(),
		} {
			if strings.ContainsRune(got, c) || name != "error" && !strings.Contains(got, escaped) {
				t.Errorf("%s with %U: %q, want it escaped", name, c, got)
			}
		}
		back := new(Rerror)
		if err := back.UnmarshalJSON([]byte(NewRerror(1, text, "").String())); err != nil || back.Message != text {
			t.Errorf("the error with %U reads back as %q, %v", c, back.Message, err)
		}
	}
}

func FuzzLogTexts(f *testing.F) {
	f.Add("/a?token=x", "k")
	f.Add("/\u202e", strings.Repeat("\xff", 3000))
	f.Fuzz(func(t *testing.T, method, text string) {
		if got := methodText(method); len(got) > textMax+50 {
			t.Errorf("methodText has %d bytes", len(got))
		}
		if got := brief(text); utf8.ValidString(text) && !utf8.ValidString(got) {
			t.Errorf("brief(%q) = %q cuts a character", text, got)
		}
		line := string(appendMessage(nil, strings.ReplaceAll(text, "\n", " ")))
		if strings.ContainsFunc(strings.ReplaceAll(line, "\t", ""), plaintext.Steers) {
			t.Errorf("the line %q steers", line)
		}
	})
}

// named is a list with a text of its own.
type named []any

func (named) String() string { return "named" }

// A value that contains itself has a short text.
func TestValueText(t *testing.T) {
	type node struct {
		Name string
		Next *node
		Kids []any
	}
	const itself = "it contains itself, or is nested more than 1000 deep)"
	keyed := map[string]any{"a": 1}
	keyed["self"] = keyed
	plain := map[any]any{"a": 1}
	plain["self"] = [1]any{plain}
	list := make([]any, 2)
	list[1] = list
	ring := &node{Name: "ring"}
	ring.Next = ring
	tree := &node{Name: "tree", Kids: make([]any, 1)}
	tree.Kids[0] = tree.Kids
	called := make(named, 1)
	called[0] = called
	shared := map[any]any{"x": 1i}
	deep := any(make(chan int))
	for range 100 {
		deep = []any{deep}
	}
	for _, test := range []struct {
		name string
		v    any
		want string
	}{
		{"nil", nil, "null"},
		{"JSON", []int{1}, "[1]"},
		{"no JSON", []any{nil, make(map[string]error), 1i}, `"[<nil> map[] (0+1i)]"`},
		{"map", keyed, "(map[string]interface {}: " + itself},
		{"map that is no JSON", plain, "(map[interface {}]interface {}: " + itself},
		{"key of a map", map[any]int{[1]any{&list}: 1, [1]any{new(chan int)}: 2}, `"map[`}, // fmt follows no pointer here
		{"slice", list, "([]interface {}: " + itself},
		{"pointer to a slice", &list, "(*[]interface {}: " + itself},
		{"pointers", ring, `"&{Name:ring Next:0x`}, // fmt follows the first pointer alone
		{"slice in a struct", tree, "(*tp.node: " + itself},
		{"text of its own", map[any]any{"a": called}, `"map[a:named]"`},
		{"twice the same", map[any]any{"a": shared, "b": shared}, `"map[a:map[x:(0+1i)] b:map[x:(0+1i)]]"`},
		{"deep", deep, `"[[[[[`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := valueText(test.v); !strings.HasPrefix(got, test.want) {
				t.Errorf("the text is %.200s; want %s", got, test.want)
			}
		})
	}
}
