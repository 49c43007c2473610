package httproto

import (
	"fmt"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
)

const (
	jsonText = "application/json;charset=utf-8"
	formText = "application/x-www-form-urlencoded;charset=utf-8"
	formType = "application/x-www-form-urlencoded"
)

// headerLine is that of a header, if it has a value.
func headerLine(name, value string) string {
	if value == "" {
		return ""
	}
	return name + ": " + value
}

// What a body is depends on its type; one that no codec reads is for handlers of
// bytes alone.
func TestContentTypes(t *testing.T) {
	s := serve(t, tp.PeerConfig{})
	c := s.dial(t)
	const png = "\x89PNG\r\n"
	for _, test := range []struct {
		name, path, ctype, body string
		status                  int
		want                    string // the body, or a part of the error
	}{
		{"json", "/echo", "application/json", `"a"`, 200, `"a"`},
		{"problem+json", "/echo", "application/problem+json", `"a"`, 200, `"a"`},
		{"text/json", "/echo", "text/json; charset=utf-8", `"a"`, 200, `"a"`},
		{"+json in capitals", "/echo", "Application/Vnd.X+JSON", `"a"`, 200, `"a"`},
		{"+xml", "/echo", "application/vnd.x+xml", "<string>a</string>", 200, "<string>a</string>"},
		{"form", "/pairs", formType, "b=2&a=1", 200, "a=1&b=2"},

		{"none", "/echo", "", `"a"`, 415, "http: a body without Content-Type: no codec reads it"},
		{"unknown", "/echo", "image/png", png, 415, `http: Content-Type \"image/png\": no codec reads it`},
		{"not a type", "/echo", "json", `"a"`, 415, `http: Content-Type \"json\": no codec reads it`},
		{"of a codec that is not there", "/echo", "application/cbor", "a", 415, `codecs/cborcodec`},
		{"+cbor", "/echo", "application/x+cbor", "a", 415, `http: Content-Type \"application/x+cbor\": unsupported codec`},
		{"multipart", "/echo", "multipart/form-data; boundary=x", "--x--", 415, "multipart/form-data"},
		{"long", "/echo", "x/" + strings.Repeat("y", 1000), "a", 415, `y\": no codec reads it`},
		{"with quotes", "/echo", `x/"}`, "a", 415, `http: Content-Type \"x/\\\"}\": no codec reads it`},
		{"unknown, without a body", "/echo", "image/png", "", 200, `""`},
		{"unknown, for bytes", "/bytes", "image/png", png, 200, png},
		{"none, for bytes", "/bytes", "", png, 200, png},
		{"unknown, for no handler", "/nobody", "image/png", png, 404, "Not Found"},

		{"json called a form", "/pairs", formType, `{"a":"1"}`, 415, "curl -d"},
		{"a json list called a form", "/count", formType, " [1, 2]\n", 415, "the body is JSON: send Content-Type: application/json"},
		{"a json string called a form", "/echo", formType, `"a"`, 415, "JSON"},
		{"xml called a form", "/pairs", formType, "<a b='c'>d</a>\n", 415, "the body is XML: send Content-Type: application/xml"},
		{"json called a form, for bytes", "/bytes", formType, `{"a":"1"}`, 200, `{"a":"1"}`},
		{"a form that begins like json", "/pairs", formType, "[a]=1", 200, "%5Ba%5D=1"},
		{"a form for another argument", "/echo", formType, "a=1", 400, "is no form"},
		{"text for another argument", "/pairs", "text/plain", "a", 400, "is no *string"},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := c.post(t, test.path, test.body, headerLine("Content-Type", test.ctype))
			if resp.StatusCode != test.status || !strings.Contains(body, test.want) || test.status == 200 && body != test.want {
				t.Errorf("%s %q, want %d %q", resp.Status, body, test.status, test.want)
			}
			if accept := resp.Header.Get("Accept"); (accept != "") != (test.status == 415) || accept != "" && !strings.Contains(accept, "application/json") {
				t.Errorf("status %d, Accept: %q", resp.StatusCode, accept)
			}
			if test.status == 415 && !strings.HasPrefix(body, `{"code":415,"msg":"Unsupported Media Type","cause":"`) {
				t.Errorf("error %s", body)
			}
		})
	}
	t.Run("with a seq", func(t *testing.T) {
		resp, body := c.post(t, "/echo", "a", "X-Seq: 7", "Content-Type: image/png")
		if resp.StatusCode != 415 || resp.Header.Get("X-Seq") != "7" || !strings.Contains(body, "image/png") {
			t.Errorf("%s %q, X-Seq %q; want 415 to 7", resp.Status, body, resp.Header.Get("X-Seq"))
		}
	})
	t.Run("from a peer", func(t *testing.T) {
		resp, body := c.post(t, "/echo", "a", "X-Seq: 7", "Content-Type: image/png", "User-Agent: "+agentV5)
		if resp.StatusCode != 299 || !strings.Contains(body, `"code":400`) {
			t.Errorf("%s %q, want 299 with the code 400, as before", resp.Status, body)
		}
	})
	t.Run("two types", func(t *testing.T) {
		if resp, body := c.post(t, "/echo", "a", "Content-Type: text/plain", "Content-Type: application/json"); resp.StatusCode != 400 {
			t.Errorf("%s %q, want 400", resp.Status, body)
		}
	})
	t.Run("other coding", func(t *testing.T) {
		resp, _ := c.post(t, "/echo", "a", "Content-Type: text/plain", "Content-Encoding: br")
		if resp.StatusCode != 415 || resp.Header.Get("Accept-Encoding") != "gzip" {
			t.Errorf("%s, Accept-Encoding %q; want 415, gzip", resp.Status, resp.Header.Get("Accept-Encoding"))
		}
	})
}

// A server that takes JSON alone refuses all else before anything is handled.
func TestTakenCodecs(t *testing.T) {
	codecs := []byte{codec.JSON}
	s := serve(t, tp.PeerConfig{Protocol: New(Config{Codecs: codecs})})
	codecs[0] = codec.Plain // New has its own
	c := s.dial(t)
	for _, test := range []struct {
		name, path, ctype, body string
		more                    string
		status                  int
		want                    string
	}{
		{"taken", "/echo", "application/vnd.x+json", `"a"`, "", 200, `"a"`},
		{"no body", "/echo", formType, "", "", 200, ""},
		{"form", "/pairs", formType, "a=1", "", 415, `http: Content-Type \"application/x-www-form-urlencoded\" is not taken: send application/json`},
		{"form for bytes", "/bytes", formType, "a=1", "", 415, "is not taken"},
		{"form for no handler", "/nobody", formType, "a=1", "", 415, "is not taken"},
		{"none", "/bytes", "", "a=1", "", 415, "a body without Content-Type is not taken"},
		{"with a seq", "/bytes", formType, "a=1", "X-Seq: 7", 415, "is not taken"},
		{"from a peer", "/echo", "text/plain;charset=utf-8", "a", "X-Seq: 7\nUser-Agent: " + agentV7, 299, `{"code":415,`},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := c.post(t, test.path, test.body, headerLine("Content-Type", test.ctype), test.more)
			if resp.StatusCode != test.status || !strings.Contains(body, test.want) {
				t.Errorf("%s %q, want %d %q", resp.Status, body, test.status, test.want)
			}
			if accept := resp.Header.Get("Accept"); test.status == 415 && accept != "application/json" {
				t.Errorf("Accept: %q", accept)
			}
		})
	}
	// No client has to send a large body to learn that it is not taken.
	c.send(t, "POST /echo HTTP/1.1\nHost: h\nContent-Type: text/plain\nContent-Length: 1000\nExpect: 100-continue\n\n")
	if resp, body := c.response(t, "POST"); resp.StatusCode != 415 {
		t.Errorf("before the body: %s %q, want 415", resp.Status, body)
	}
	c.ended(t)
}

// The codec of a reply: what the caller asks for, unless the reply is none of that.
func TestReplyCodec(t *testing.T) {
	s := serve(t, tp.PeerConfig{DefaultBodyCodec: codec.NamePlain})
	c := s.dial(t)
	const (
		plain, xml = "text/plain;charset=utf-8", "text/xml;charset=utf-8"
		chrome     = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
		firefox    = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	)
	for _, test := range []struct {
		accept string // lines
		path   string
		ctype  string
		want   string
	}{
		{"", "/echo", "text/plain", plain},
		{"*/*", "/echo", "text/plain", plain},
		{"application/json", "/echo", "text/plain", jsonText},
		{"APPLICATION/JSON", "/echo", "text/plain", jsonText},
		{"application/problem+json", "/echo", "text/plain", jsonText},
		{"application/xml, application/json", "/echo", "text/plain", xml},
		{"application/xml;q=0.5, application/json", "/echo", "text/plain", jsonText},
		{"application/xml;q=0, application/json;q=0.1", "/echo", "text/plain", jsonText},
		{"application/xml;q=0.25, application/json; x=y ;Q=0.251", "/echo", "text/plain", jsonText},
		{"application/xml;q=0.1\nAccept: application/json;q=0.2", "/echo", "text/plain", jsonText},
		{"*/*, application/xml", "/echo", "text/plain", xml},
		{"*/*, application/xml;q=0.9", "/echo", "text/plain", plain},
		{"application/*", "/echo", "text/plain", jsonText},
		{"text/*", "/echo", "application/json", plain},
		{"text/*", "/echo", "text/plain", plain},
		{"image/png", "/echo", "application/json", jsonText},
		{"image/png, application/cbor, text/plain;q=0.1", "/echo", "application/json", plain},
		{strings.Repeat("image/png,", maxAccepted-1) + "application/json", "/echo", "text/plain", jsonText},
		{strings.Repeat("image/png,", maxAccepted) + "application/json", "/echo", "text/plain", plain},
		{",;q=,, ;/, */", "/echo", "application/json", jsonText},
		{"application/json\nX-Accept-Body-Codec: 120", "/echo", "text/plain", xml},
		{"application/json", "/echo?X-Accept-Body-Codec=120", "text/plain", xml},
		{"application/json\nX-Accept-Body-Codec: 99", "/echo", "text/plain", plain},
		{chrome, "/echo", "", plain},
		{firefox, "/echo", "application/json", jsonText},
		{"text/html", "/echo", "application/json", jsonText},
		{"text/html, */*", "/echo", "application/json", jsonText},

		{"", "/pairs", formType, formText},
		{"", "/count", formType, jsonText},
		{"application/x-www-form-urlencoded", "/count", "application/json", jsonText},
		{"text/xml", "/pairs", formType, jsonText}, // a map is no XML
		{"text/plain", "/count", "", jsonText},
		{"", "/count", "", jsonText},
	} {
		t.Run(test.accept+" "+test.path+" "+test.ctype, func(t *testing.T) {
			bodies := map[string]string{"": "", "text/plain": "a", "application/json": `"a"`, formType: "a=1"}
			body := bodies[test.ctype]
			if test.path == "/count" && test.ctype == "application/json" {
				body = "{}"
			}
			resp, text := c.post(t, test.path, body, headerLine("Content-Type", test.ctype), headerLine("Accept", test.accept))
			if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != test.want {
				t.Errorf("%s, Content-Type %q, %q; want %q", resp.Status, got, text, test.want)
			}
		})
	}
	t.Run("asked by a peer", func(t *testing.T) {
		resp, text := c.post(t, "/count", "a=1", "Content-Type: "+formType, "X-Seq: 7", "User-Agent: "+agentV5)
		if resp.StatusCode != 299 || !strings.Contains(text, `"code":500`) {
			t.Errorf("%s %q; want the code 500, as before", resp.Status, text)
		}
	})
	t.Run("what a codec that says sizes cannot carry", func(t *testing.T) {
		codec.Register(sizedCodec{})
		tp.HandleCall(s.peer, "/sized", func(ctx tp.CallCtx, _ *string) (any, error) {
			ctx.SetBodyCodec(sizedCodec{}.ID())
			return 7, nil
		})
		resp, text := c.post(t, "/sized", "a", "Content-Type: text/plain")
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != jsonText || text != "7" {
			t.Errorf("%s, Content-Type %q, %q; want 7 as JSON", resp.Status, got, text)
		}
	})
	t.Run("what nothing carries", func(t *testing.T) {
		tp.HandleCall(s.peer, "/chan", func(tp.CallCtx, *string) (any, error) { return make(chan int), nil })
		resp, text := c.post(t, "/chan", "a", "Content-Type: text/plain")
		if resp.StatusCode != 500 || !strings.Contains(text, "chan int is no string") {
			t.Errorf("%s %q; want 500 with the error of the codec that was asked", resp.Status, text)
		}
	})
	t.Run("metadata", func(t *testing.T) {
		_, text := c.post(t, "/meta", "", "Accept: text/xml;q=0.9,application/json", "Content-Type: application/json")
		if want := `"/meta Host=h\u0026Accept=text%2Fxml%3Bq%3D0.9%2Capplication%2Fjson"`; text != want {
			t.Errorf("%s, want %s", text, want)
		}
	})
}

func TestStatus(t *testing.T) {
	s := serve(t, tp.PeerConfig{Protocol: New(Config{Dialect: V7, Status: func(code int32) int {
		switch code {
		case 1001:
			return 422
		case 1002:
			return 418
		case 1003:
			return 200 // is no error
		case 1004:
			return 302
		case 1005:
			return 600
		case 503:
			return 299
		}
		return 0
	}})})
	c := s.dial(t)
	for _, test := range []struct {
		code int
		want string
	}{
		{1001, "422 Unprocessable Content"}, {1002, "418 "}, {1003, "299 Business Error"}, {1004, "299 Business Error"}, {1005, "299 Business Error"},
		{503, "299 Business Error"}, {404, "404 Not Found"}, {102, "502 Bad Gateway"}, {-1, "299 Business Error"},
	} {
		for _, agent := range []string{"curl/8", agentV5, agentV7} {
			want := test.want
			if agent != "curl/8" {
				want = "299 Business Error"
			}
			resp, body := c.post(t, fmt.Sprintf("/fail?code=%d", test.code), "", "User-Agent: "+agent)
			if resp.Status != want || !strings.HasPrefix(body, fmt.Sprintf(`{"code":%d,`, test.code)) {
				t.Errorf("code %d to %s: %s %q, want %s", test.code, agent, resp.Status, body, want)
			}
		}
	}
	if resp, _ := c.post(t, "/echo", "x", "X-Mtype: 9"); resp.StatusCode != 400 {
		t.Errorf("a refusal of the protocol: %s, want 400", resp.Status)
	}
}

func TestCutWeight(t *testing.T) {
	for _, test := range []struct {
		item, name string
		weight     int
	}{
		{"a/b", "a/b", 1000}, {"a/b ; q=0.5", "a/b", 500}, {"a;x=1;q=0", "a", 0}, {"a;q=0.000", "a", 0}, {"a;q=0.001", "a", 1},
		{"a;q=0.0009", "a", 0}, {"a;q=1.000", "a", 1000}, {"a;q=", "a", 1000}, {"a;q", "a", 1000}, {"a;q=x", "a", 1000},
		{"a;q=.5", "a", 1000}, {"a;q=0.1x", "a", 100}, {"a;q=0,5", "a", 0}, {";", "", 1000}, {"", "", 1000},
	} {
		if name, weight := cutWeight([]byte(test.item)); string(name) != test.name || weight != test.weight {
			t.Errorf("cutWeight(%q) = %q, %d; want %q, %d", test.item, name, weight, test.name, test.weight)
		}
	}
}

// sizedCodec carries strings alone. As that for protobuf, it says that of other values.
type sizedCodec struct{ plainCodec }

func (sizedCodec) ID() byte     { return 201 }
func (sizedCodec) Name() string { return "sized" }
func (sizedCodec) Pure() bool   { return true }

func (sizedCodec) Append(dst []byte, v any) ([]byte, error) {
	b, err := plainCodec{}.Marshal(v)
	return append(dst, b...), err
}

func (sizedCodec) Size(v any) int {
	if s, ok := v.(string); ok {
		return len(s)
	}
	return -1
}
