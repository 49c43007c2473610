package jsonproto

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
)

// unescaped is the frame in which a peer of v5 or v7 sends a body: it escapes nothing but
// quotes.
func unescaped(d Dialect, codec byte, body string) []byte {
	status := ""
	if d == V7 {
		status = `"status":"code=0",`
	}
	return framed("", fmt.Sprintf(`{"seq":1,"mtype":1,"serviceMethod":"/a",%s"meta":"","bodyCodec":%d,"body":"%s"}`,
		status, codec, strings.ReplaceAll(body, `"`, `\"`)))
}

// bodyOf returns the body of a frame.
func bodyOf(t *testing.T, frame []byte) string {
	t.Helper()
	m, err := read(frame)
	if err != nil {
		t.Fatalf("%q: %v", frame, err)
	}
	return string(m.RawBody())
}

// What is written of a body, from its key on.
func TestWriteBody(t *testing.T) {
	for _, test := range []struct{ name, body, want string }{
		{"empty", ``, `"body":""}`},
		{"plain", `[1,2,3]`, `"body":"[1,2,3]"}`},
		{"quotes", `{"a":"b"}`, `"body":"{\"a\":\"b\"}"}`},
		{"quotes alone", `""`, `"body":"\"\""}`},
		{"markup and slashes as they are", `<a href='/x'>&`, `"body":"<a href='/x'>&"}`},
		{"UTF-8 as it is", "é 世界 \u2028 \U0001f600 \x7f", "\"body\":\"é 世界 \u2028 \U0001f600 \x7f\"}"},
		{"no UTF-8, as it is", "\xff\xfe\x80", "\"body\":\"\xff\xfe\x80\"}"},
		{"backslash", `\`, `"body": "\\"}`},
		{"backslash and quote", `\"`, `"body": "\\\""}`},
		{"newline", "a\nb", `"body": "a\nb"}`},
		{"short escapes", "\b\f\n\r\t", `"body": "\b\f\n\r\t"}`},
		{"other controls", "\x00\x01\x1f", `"body": "\u0000\u0001\u001f"}`},
		{"JSON in JSON", `{"a":"\"\n\""}`, `"body": "{\"a\":\"\\\"\\n\\\"\"}"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var wire bytes.Buffer
			if err := NewJSONProtoFunc()(&wire).Pack(message(1, 1, "/a", 'j', test.body)); err != nil {
				t.Fatal(err)
			}
			frame := wire.String()
			if got := frame[strings.Index(frame, `"body"`):]; got != test.want {
				t.Errorf("body is written\n%s, want\n%s", got, test.want)
			}
		})
	}
}

// A strict reader of JSON reads what is written, as far as it is UTF-8.
func TestStandardReads(t *testing.T) {
	for _, body := range bodies() {
		if strings.ToValidUTF8(body, "") != body {
			continue
		}
		for _, d := range []Dialect{V5, V7} {
			b, err := NewJSONProtoFunc(d)(nil).(*jsonProto).AppendFrame(nil, message(-1, 1, body, 's', body))
			if err != nil {
				t.Fatal(err)
			}
			var doc struct {
				Seq, Mtype, BodyCodec int
				ServiceMethod, Body   string
			}
			if err := json.Unmarshal(b[5:], &doc); err != nil {
				t.Fatalf("%q: %v", b, err)
			}
			if doc.Body != body || doc.ServiceMethod != body || doc.Seq != -1 || doc.Mtype != 1 || doc.BodyCodec != 's' {
				t.Errorf("%q is read as %+v", b, doc)
			}
		}
	}
}

// bodies are bodies with specials at all places of a word, and densely.
func bodies() (list []string) {
	for _, special := range []string{`"`, `\`, "\n", "\x00", `"\`, "\\\x01", "\xff", "é"} {
		for n := range 20 {
			x := strings.Repeat("x", n)
			list = append(list, x+special, special+x, x+special+x, x+special+"12345678"+special+x, strings.Repeat(special, n))
		}
	}
	all := allBytes()
	list = append(list, "{\"a\":\"x\ny\"}") // no JSON, but would be with \n
	return append(list, all, strings.Repeat(all, 300), strings.Repeat(`{"a":"b\n"},`, 9000))
}

func allBytes() string {
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	return string(all)
}

// Whatever its codec, a body arrives as it was.
func TestBodiesArrive(t *testing.T) {
	for _, codec := range []byte{0, 'j', 's', 'p'} {
		for _, d := range []Dialect{V5, V7} {
			c, s := connect([]Dialect{d}, nil)
			for _, body := range bodies() {
				pass(t, c, s, message(1, 1, "/a", codec, body))
			}
		}
	}
}

// The message owns its body if the memory was allocated for it, and only then: what
// was unescaped into memory of the connection is borrowed.
func TestBodyOwned(t *testing.T) {
	for _, test := range []struct {
		name, body   string
		plain, place bool // owned when read plainly, in place
	}{
		{"small", "x", false, false},
		{"small, escaped", "\n", false, false},
		{"large", strings.Repeat("x", 70_000), true, false},
		{"large, escaped", strings.Repeat("\n", 70_000), true, true},
		{"small, in large memory", strings.Repeat("\x00", 20_000), true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := message(1, 1, "/a", 's', test.body)
			for name, rw := range prototest.Endless(NewJSONProtoFunc(), m) {
				p, want := NewJSONProtoFunc()(rw), test.plain
				if name == "in place" {
					want = test.place
				}
				first, second := new(socket.Envelope), new(socket.Envelope)
				must(p.Unpack(first))
				if got := first.BodyOwned(); got != want {
					t.Errorf("%s: owned = %v, want %v", name, got, want)
				}
				must(p.Unpack(second))
				a, b := first.RawBody(), second.RawBody()
				if &a[0] == &b[0] && first.BodyOwned() {
					t.Errorf("%s: two messages own the same memory", name)
				}
				if string(b) != test.body {
					t.Errorf("%s: body = %.20q…", name, b)
				}
			}
		})
	}
	t.Run("small, escaped, in a large frame", func(t *testing.T) {
		m := message(1, 1, "/a", 's', "\n", socket.WithAddMeta("k", strings.Repeat("x", 70_000)))
		p, got := NewJSONProtoFunc()(prototest.Endless(NewJSONProtoFunc(), m)["plain"]), new(socket.Envelope)
		must(p.Unpack(got))
		if got.BodyOwned() {
			t.Error("the body is owned, and the memory is the connection's")
		}
	})
}

// Bodies as v5 and v7 write them.
func TestReadOlderBody(t *testing.T) {
	for _, test := range []struct {
		name  string
		codec byte
		body  string
	}{
		{"JSON", 'j', `{"a":"b","c":[1,2.5,null]}`},
		{"JSON with a newline in a text", 'j', `{"a":"line\nline"}`},
		{"JSON with quotes in a text", 'j', `{"a":"say \"hi\""}`},
		{"JSON with a backslash in a text", 'j', `{"a":"C:\\dir\\x"}`},
		{"JSON with a backslash at the end of a text", 'j', `{"a":"C:\\"}`},
		{"JSON in a JSON text", 'j', `{"a":"{\"b\":\"c\\n\"}"}`},
		{"JSON with a quote as a number", 'j', `{"a":"\u0022"}`},
		{"JSON, indented", 'j', "{\n\t\"a\": 1\n}"},
		{"JSON of every escape", 'j', `"\"\\\/\b\f\n\r\t\u0001"`},
		{"text with a newline", 's', "a\nb"},
		{"text with a newline and a backslash", 's', "a\n\\n"},
		{"text, a backslash that is no escape", 's', `C:\dir`},
		{"text, a backslash at the end", 's', `C:\`},
		{"protobuf", 'p', "\x0a\x02\\n\x12\x01\"\x18\xff\x01"},
		{"XML", 'x', "<?xml version=\"1.0\"?>\r\n<a b=\"c\">\\</a>"},
		{"all bytes", 'p', allBytes()},
		{"large", 'j', "[" + bodies()[len(bodies())-1] + "{}]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, d := range []Dialect{V5, V7} {
				if got := bodyOf(t, unescaped(d, test.codec, test.body)); got != test.body {
					t.Errorf("%v: body = %.200q, want %.200q", d, got, test.body)
				}
			}
		})
	}
}

// Where a document reads in two ways, it is read as JSON, as by v5 and v7.
func TestReadAmbiguousBody(t *testing.T) {
	for _, test := range []struct {
		name        string
		codec       byte
		meant, want string // what v5 or v7 meant, and what is read
	}{
		{"text that looks like an escape", 's', `a\nb`, "a\nb"},
		{"text, two backslashes and a quote", 's', `\\"`, `\"`},
		{"JSON that is JSON both ways", 'j', `{"a":"C:\\new"}`, `{"a":"C:\new"}`},
		{"JSON that is none either way", 'j', `a\nb`, "a\nb"},
		{"JSON, the same both ways", 'j', `{"a":"\u003cb\u003e"}`, `{"a":"<b>"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			frame := unescaped(V5, test.codec, test.meant)
			if got := bodyOf(t, frame); got != test.want {
				t.Errorf("body = %q, want %q", got, test.want)
			}
			var doc struct{ Body string }
			if err := json.Unmarshal(frame[5:], &doc); err != nil || doc.Body != test.want {
				t.Errorf("JSON's body is %q, %v", doc.Body, err)
			}
		})
	}
}

// Documents of other programs that write JSON as it should be, in the order of
// v5 and v7 or not.
func TestReadStandardBody(t *testing.T) {
	type v5 struct {
		Seq           int32  `json:"seq"`
		Mtype         byte   `json:"mtype"`
		ServiceMethod string `json:"serviceMethod"`
		Meta          string `json:"meta"`
		BodyCodec     byte   `json:"bodyCodec"`
		Body          string `json:"body"`
	}
	type sorted struct {
		Body          string `json:"body"`
		BodyCodec     byte   `json:"bodyCodec"`
		ServiceMethod string `json:"serviceMethod"`
	}
	text := "a\n\t\"quoted\" \\ <b>\x00 é \u2028 \U0001f600"
	inner, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		t.Fatal(err)
	}
	for codec, body := range map[byte]string{'s': text, 'j': string(inner), 'p': "\x0a\x01x"} {
		for _, doc := range []any{v5{1, 1, text, "a=b", codec, body}, sorted{body, codec, text}} {
			b, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			spaced, err := json.MarshalIndent(doc, " ", "\t")
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range [][]byte{b, spaced} {
				if got := bodyOf(t, framed("", string(b))); got != body {
					t.Errorf("%s: body = %q, want %q", b, got, body)
				}
			}
		}
	}
}

// Time and memory grow with the length of a string, not with its square.
func TestBackslashes(t *testing.T) {
	for _, payload := range []string{
		`{"seq":1,"mtype":1,"serviceMethod":"` + strings.Repeat(`\\`, 1<<18) + `"}`,
		`{"x":"` + strings.Repeat(`\"`, 1<<18) + `"}`,
		`{"seq":1,"mtype":1,"serviceMethod":"","meta":"","bodyCodec":106,"body":"` + strings.Repeat(`\\`, 1<<18) + `\q"}`,
	} {
		if _, err := read(framed("", payload)); err != nil {
			t.Errorf("%.80s…: %v", payload, err)
		}
	}
}

// FuzzUnescapedBody: unless it reads as JSON, a body of v5 or v7 arrives as it
// was.
func FuzzUnescapedBody(f *testing.F) {
	for _, seed := range []string{"", `{"a":"b"}`, `{"a":"\n"}`, "a\nb", `\`, `\"`, `\q`, "\xff"} {
		f.Add([]byte(seed), byte('j'))
		f.Add([]byte(seed), byte('s'))
	}
	f.Fuzz(func(t *testing.T, body []byte, codec byte) {
		frame := unescaped(V5, codec, string(body))
		m, err := read(frame)
		if err != nil {
			t.Fatalf("%q: %v", frame, err)
		}
		if string(m.RawBody()) == string(body) {
			return
		}
		var doc struct{ Body string }
		if err := json.Unmarshal(frame[5:], &doc); err != nil {
			t.Fatalf("%q is no JSON, and read as %q", frame, m.RawBody())
		}
		if doc.Body != strings.ToValidUTF8(string(m.RawBody()), "\ufffd") && strings.ToValidUTF8(string(body), "") == string(body) {
			t.Fatalf("%q is read as %q, want %q", frame, m.RawBody(), doc.Body)
		}
	})
}

// FuzzEscape: what is escaped is unescaped to the same, by the standard library
// too.
func FuzzEscape(f *testing.F) {
	for _, body := range bodies()[:50] {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		out := escapeTail(append([]byte(`{"body":"`), body...), 9)
		rest, _ := bytes.CutPrefix(out[8:], []byte(" "))
		got, plain, ok := unescape([]byte("head"), rest[1:len(rest)-1], strict)
		if want := "head" + string(body); !ok || string(got) != want || plain != (out[8] != ' ') {
			t.Fatalf("%q is escaped as %q, and that unescaped to %q, %v, %v", body, out, got, plain, ok)
		}
		if clean := strings.ToValidUTF8(string(body), ""); clean == string(body) {
			var doc struct{ Body string }
			if err := json.Unmarshal(append(out, '}'), &doc); err != nil || doc.Body != clean {
				t.Fatalf("%q is escaped as %q: %v", body, out, err)
			}
		}
	})
}

// FuzzUnescape: what JSON takes is read as JSON reads it.
func FuzzUnescape(f *testing.F) {
	for _, seed := range []string{``, `abc`, `\n\u00e9`, `\ud83d\ude00`, `\ud83d`, `\ud83d\ud83d\ude00x`, `\"\\\/\b\f\n\r\t`, `\x`, `a"b`, "\x01"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		got, _, ok := unescape(nil, s, strict)
		var want string
		err := json.Unmarshal(append(append([]byte{'"'}, s...), '"'), &want)
		if ok != (err == nil) {
			t.Fatalf("%q: ok = %v, and the standard library says %v", s, ok, err)
		}
		if ok && strings.ToValidUTF8(string(s), "") == string(s) && string(got) != want {
			t.Fatalf("%q = %q, want %q", s, got, want)
		}
		for _, m := range []mode{loose, golang} {
			if more, _, ok2 := unescape(nil, s, m); ok && (!ok2 || string(more) != string(got)) {
				t.Fatalf("%q in mode %d = %q, %v; want %q", s, m, more, ok2, got)
			}
		}
	})
}
