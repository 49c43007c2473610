package httproto

import (
	"crypto/tls"
	"net/http"
	"strconv"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/tptest"
)

// servePages is serve with a route /page for what handlers for browsers do: the query says
// what.
func servePages(t *testing.T, cfg tp.PeerConfig) *server {
	s := serve(t, cfg)
	tp.HandleCall(s.peer, "/page", func(ctx tp.CallCtx, arg *[]byte) ([]byte, error) {
		q := ctx.Query()
		if v := q.Get("type"); v != "" {
			ctx.SetMeta("Content-Type", v)
		}
		if v := q.Get("status"); v != "" {
			n, _ := strconv.Atoi(v)
			SetStatus(ctx, n)
		}
		if v := q.Get("location"); v != "" {
			ctx.SetMeta("Location", v)
		}
		for _, v := range q["cookie"] {
			ctx.AddMeta("Set-Cookie", v)
		}
		for _, key := range []string{"content-security-policy", "content-disposition", "content-language", "content-location", "content-type", "content-md5", MetaStatus} {
			if v := q.Get(key); v != "" {
				ctx.SetMeta(key, v)
			}
		}
		if v := q.Get("code"); v != "" {
			n, _ := strconv.Atoi(v)
			return nil, tp.NewRerror(int32(n), "moved", "on purpose").Err()
		}
		return []byte("<p>hi"), nil
	})
	tp.HandleCall(s.peer, "/typed", func(ctx tp.CallCtx, arg *[]byte) (string, error) {
		ctx.SetBodyCodec(codec.Plain)
		ctx.SetMeta("Content-Type", "text/html")
		return "hi", nil
	})
	tp.HandleCall(s.peer, "/method", func(ctx tp.CallCtx, arg *[]byte) (string, error) {
		return Method(ctx) + " " + Scheme(ctx), nil
	})
	return s
}

func TestPages(t *testing.T) {
	c := servePages(t, tp.PeerConfig{}).dial(t)
	const html = "text/html; charset=utf-8"
	for _, test := range []struct {
		query  string
		status int
		header string // name=value, or a name that must be missing
		body   string
	}{
		{"", 200, "Content-Length=5", "<p>hi"},
		{"type=text/html%3b+charset=utf-8", 200, "Content-Type=" + html, "<p>hi"},
		{"type=image/png&status=404", 404, "Content-Type=image/png", "<p>hi"},
		{"type=text/a%0d%0ab", 500, "Content-Type=application/json", ""},
		{"status=201&location=/made/7", 201, "Location=/made/7", "<p>hi"},
		{"status=204", 204, "Content-Length", ""},
		{"status=204", 204, "Content-Type", ""},
		{"status=304", 304, "Content-Length", ""},
		{"status=503", 503, "Content-Length=5", "<p>hi"},
		{"status=299", 500, "Content-Type=application/json", ""},
		{"status=100", 500, "", ""},
		{"status=600", 500, "", ""},
		{"code=302&location=/there", 302, "Location=/there", ""},
		{"code=303&location=/there&type=" + html, 303, "Content-Type=application/json", ""},
		{"code=308&location=/there", 308, "Location=/there", ""},
		{"code=302", 299, "Location", ""},                       // nowhere
		{"code=304&location=/there", 299, "", ""},               // no redirect
		{"code=404&status=201", 404, "", ""},                    // an error is an error
		{"status=404&location=/x", 404, "Location=/x", "<p>hi"}, // a page may have links
		{"code=301&location=/there", 301, "Location=/there", ""},
		{"content-security-policy=default-src+'self'", 200, "Content-Security-Policy=default-src 'self'", "<p>hi"},
		{"content-disposition=attachment", 200, "Content-Disposition=attachment", "<p>hi"},
		{"content-language=de", 200, "Content-Language=de", "<p>hi"},
		{"content-location=/hi", 200, "Content-Location=/hi", "<p>hi"},
		{"content-type=text/html", 200, "Content-Type=text/html", "<p>hi"}, // whatever the case of the key
		{"content-md5=x", 200, "Content-Md5", "<p>hi"},                     // of bytes that the handler does not see
		{":status=201", 201, "", "<p>hi"},                                  // of a forwarded response, for example
		{":status=299", 200, "", "<p>hi"},
		{":status=100", 200, "", "<p>hi"},
		{":status=99999999999999999999", 200, "", "<p>hi"},
	} {
		t.Run(test.query, func(t *testing.T) {
			c.send(t, "GET /page?"+strings.ReplaceAll(test.query, " ", "+")+" HTTP/1.1\nHost: h\n\n")
			resp, body := c.response(t, "GET")
			if resp.StatusCode != test.status || test.body != "" && body != test.body {
				t.Errorf("%s, body %q; want %d, %q", resp.Status, body, test.status, test.body)
			}
			switch name, want, ok := strings.Cut(test.header, "="); {
			case ok && (len(resp.Header[name]) != 1 || resp.Header[name][0] != want):
				t.Errorf("%s: %q; want %q alone", name, resp.Header[name], want)
			case !ok && name != "" && len(resp.Header[name]) > 0:
				t.Errorf("%s: %q; want none", name, resp.Header[name])
			}
			if len(resp.Header[":status"]) > 0 || bodiless(resp.StatusCode) && body != "" {
				t.Errorf("header %v, body %q", resp.Header, body)
			}
		})
	}
}

// The response to HEAD has the headers of that to GET, and no body, so that the next response
// follows.
func TestHead(t *testing.T) {
	c := servePages(t, tp.PeerConfig{}).dial(t)
	for _, query := range []string{"type=text/html", "status=404", "code=302&location=/there", "code=500"} {
		var length [2]string
		for i, method := range []string{"HEAD", "GET"} {
			c.send(t, method+" /page?"+query+" HTTP/1.1\nHost: h\n\n")
			resp, body := c.response(t, method)
			length[i] = resp.Header.Get("Content-Length")
			if method == "GET" && len(body) == 0 {
				t.Errorf("%s: no body", query)
			}
		}
		if length[0] != length[1] {
			t.Errorf("%s: Content-Length %q of HEAD, %q of GET", query, length[0], length[1])
		}
	}
}

func TestCookies(t *testing.T) {
	s := servePages(t, tp.PeerConfig{})
	c := s.dial(t)
	c.send(t, "GET /page?cookie=a=1&cookie=b=2%3b+HttpOnly HTTP/1.1\nHost: h\nCookie: c=3; d=4\n\n")
	resp, _ := c.response(t, "GET")
	if got := resp.Cookies(); len(got) != 2 || got[0].Name != "a" || got[1].Name != "b" || !got[1].HttpOnly {
		t.Errorf("cookies %v; want a and b", got)
	}
	cli := tptest.NewPeer(t, tp.PeerConfig{Protocol: NewHTTProtoFunc()})
	cmd := tptest.Dial(t, cli, s.addr).Call("/page?cookie=a=1&cookie=b=2", []byte(nil), new([]byte))
	got := 0
	for k := range cmd.InputMeta().All() {
		if string(k) == "Set-Cookie" {
			got++
		}
	}
	if got != 2 {
		t.Errorf("a peer has got %d cookies; want 2", got)
	}
}

// A peer calls the same handlers: it has the status as metadata, and redirects are errors.
func TestPagesForPeers(t *testing.T) {
	s := servePages(t, tp.PeerConfig{})
	for _, d := range []Dialect{V5, V7} {
		cli := tptest.NewPeer(t, tp.PeerConfig{Protocol: NewHTTProtoFunc(d)})
		sess := tptest.Dial(t, cli, s.addr)
		var body []byte
		cmd := sess.Call("/page?status=404&type=text/html", []byte(nil), &body)
		if r := cmd.Rerror(); r != nil || string(body) != "<p>hi" {
			t.Errorf("%v: a page with a status: %q, %s", d, body, r)
		}
		var text string
		cmd = sess.Call("/typed", []byte(nil), &text)
		if r := cmd.Rerror(); r != nil || text != "hi" || cmd.InputBodyCodec() != codec.Plain {
			t.Errorf("%v: a type beside a codec: %q, codec %c, %s", d, text, cmd.InputBodyCodec(), r)
		}
		cmd = sess.Call("/page?code=302&location=/there", []byte(nil), nil)
		if r := cmd.Rerror(); r == nil || r.Code != 302 || string(cmd.InputMeta().Peek("Location")) != "/there" {
			t.Errorf("%v: a redirect: %s, Location %q", d, r, cmd.InputMeta().Peek("Location"))
		}
		var method string
		if r := sess.Call("/method", []byte(nil), &method).Rerror(); r != nil || method != " http" {
			t.Errorf("%v: method and scheme %q, %s; a peer's request has no method", d, method, r)
		}
	}
}

// A status that another server has sent is in the metadata, and may be forwarded.
func TestStatusOfResponse(t *testing.T) {
	c, _ := ends()
	c.in.(*peeker).r = strings.NewReader(crlf("HTTP/1.1 201 Created\nLocation: /7\nContent-Length: 0\nX-Seq: 5\n\n"))
	if err := c.Pack(message(5, socket.TypeCall, "/a", 0, "")); err != nil {
		t.Fatal(err)
	}
	m := new(socket.Envelope)
	if err := c.Unpack(m); err != nil || string(m.Meta().Peek(MetaStatus)) != "201" {
		t.Errorf("%v, status %q; want 201", err, m.Meta().Peek(MetaStatus))
	}
	m.SetMtype(socket.TypeCall)
	m.SetServiceMethod("/b")
	frame, err := NewHTTProtoFunc()(nil).(*httpProto).AppendFrame(nil, m)
	if err != nil || !strings.Contains(string(frame), "Location: /7\r\n") || strings.Contains(string(frame), ":status") {
		t.Errorf("forwarded: %q, %v", frame, err)
	}
}

func TestMethod(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		c := servePages(t, tp.PeerConfig{}).dial(t)
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "REPORT"} {
			c.send(t, method+" /method?:method=FORGED HTTP/1.1\nHost: h\nContent-Length: 0\nX-Forwarded-Proto: https\n\n")
			if _, body := c.response(t, method); body != `"`+method+` http"` {
				t.Errorf("%s: %s", method, body)
			}
		}
	})
	t.Run("TLS", func(t *testing.T) {
		s := servePagesTLS(t)
		conn, err := tls.Dial("tcp", s.addr, tp.GenerateTLSConfigForClient())
		c := newClient(t, conn, err)
		c.send(t, "GET /method HTTP/1.1\nHost: h\nX-Forwarded-Proto: http\n\n")
		if _, body := c.response(t, "GET"); body != `"GET https"` {
			t.Errorf("%s", body)
		}
	})
	t.Run("trusted proxy", func(t *testing.T) {
		c := servePages(t, tp.PeerConfig{TrustedProxies: []string{"127.0.0.0/8"}}).dial(t)
		for _, test := range []struct{ headers, want string }{
			{"X-Real-IP: 192.0.2.7\nX-Forwarded-Proto: https\n", "GET https"},
			{"X-Real-IP: 192.0.2.7\nX-Forwarded-Proto: gopher\n", "GET http"},
			{"X-Real-IP: 192.0.2.7\n", "GET http"},
		} {
			c.send(t, "GET /method HTTP/1.1\nHost: h\n"+test.headers+"\n")
			if _, body := c.response(t, "GET"); body != `"`+test.want+`"` {
				t.Errorf("%q: %s, want %s", test.headers, body, test.want)
			}
		}
	})
}

func servePagesTLS(t *testing.T) *server {
	p := tptest.NewPeer(t, tp.PeerConfig{Protocol: NewHTTProtoFunc()})
	if err := p.SetTLSConfig(tp.GenerateTLSConfigForServer()); err != nil {
		t.Fatal(err)
	}
	tp.HandleCall(p, "/method", func(ctx tp.CallCtx, arg *[]byte) (string, error) {
		ctx.SetBodyCodec(codec.JSON)
		return Method(ctx) + " " + Scheme(ctx), nil
	})
	return &server{peer: p, addr: tptest.Listen(t, p)}
}

// net/http follows redirects, and keeps cookies.
func TestBrowserLike(t *testing.T) {
	s := servePages(t, tp.PeerConfig{})
	resp, err := http.Get("http://" + s.addr + "/page?code=303&location=/page%3ftype=text/html")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/html" || resp.Request.URL.Path != "/page" {
		t.Errorf("%s of %s, Content-Type %q", resp.Status, resp.Request.URL, resp.Header.Get("Content-Type"))
	}
	http.DefaultClient.CloseIdleConnections()
}
