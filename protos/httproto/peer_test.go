package httproto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/tptest"
)

// The standard library's client, over connections that are used again.
func TestNetHTTPClient(t *testing.T) {
	s := serve(t, tp.PeerConfig{})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport}
	long := strings.Repeat("0123456789", 20_000)
	quoted := func(text string) string { return `"` + text + `"` }
	zip := func(text string) io.Reader { return bytes.NewReader(zipped([]byte(text))) }
	for _, test := range []struct {
		name, method, path string
		header             string // key=value&…
		body               io.Reader
		status             int
		want               string
		wantHeader         string
	}{
		{"POST", "POST", "/echo", "Content-Type=application/json", strings.NewReader(quoted("a")), 200, quoted("a"), "Content-Type=application/json;charset=utf-8"},
		{"PUT of text", "PUT", "/echo", "Content-Type=text/plain", strings.NewReader("a"), 200, "a", "Content-Type=text/plain;charset=utf-8"},
		{"type in capitals, with parameters", "POST", "/echo", "Content-Type=TEXT/PLAIN ; charset=x", strings.NewReader("a"), 200, "a", ""},
		{"GET", "GET", "/echo", "", nil, 200, quoted(""), ""},
		{"GET of a map", "GET", "/count", "", nil, 200, "0", ""},
		{"empty JSON", "POST", "/echo", "Content-Type=application/json", strings.NewReader(""), 200, quoted(""), ""},
		{"empty XML", "POST", "/echo", "Content-Type=text/xml", strings.NewReader(""), 200, "<string></string>", ""},
		{"empty form", "POST", "/count", "Content-Type=application/x-www-form-urlencoded", strings.NewReader(""), 200, "0", ""},
		{"HEAD", "HEAD", "/echo", "", nil, 200, "", "Content-Length=2"},
		{"large", "POST", "/echo", "Content-Type=text/plain", strings.NewReader(long), 200, long, ""},
		{"chunked", "POST", "/echo", "Content-Type=text/plain", struct{ io.Reader }{strings.NewReader(long)}, 200, long, ""},
		{"chunked and empty", "POST", "/echo", "Content-Type=text/plain", struct{ io.Reader }{strings.NewReader("")}, 200, "", ""},
		{"gzip", "POST", "/echo", "Content-Type=text/plain&Content-Encoding=gzip", zip(long), 200, long, ""},
		{"gzip in chunks", "POST", "/echo", "Content-Type=text/plain&content-encoding=GZIP", struct{ io.Reader }{zip(long)}, 200, long, ""},
		{"gzip back", "POST", "/zip", "Content-Type=text/plain", strings.NewReader(long), 200, long, ""},
		{"gzip back, not taken", "POST", "/zip", "Content-Type=text/plain&Accept-Encoding=gzip;q=0", strings.NewReader("a"), 200, "a", "Content-Encoding="},
		{"other coding", "POST", "/echo", "Content-Encoding=br", strings.NewReader("a"), 415, "", ""},
		{"damaged gzip", "POST", "/echo", "Content-Type=text/plain&Content-Encoding=gzip", strings.NewReader("a"), 400, "", ""},
		{"metadata", "POST", "/echo", "Content-Type=text/plain&x-note=ü 1", strings.NewReader(""), 200, "", "X-Note=ü 1"},
		{"expect", "POST", "/echo", "Content-Type=text/plain&Expect=100-continue", strings.NewReader("a"), 200, "a", ""},
		{"unknown", "POST", "/nobody", "", nil, 404, "", "Content-Type=application/json"},
		{"undecodable", "POST", "/echo", "Content-Type=application/json", strings.NewReader("{"), 400, "", ""},
		{"OPTIONS", "OPTIONS", "/echo", "", nil, 204, "", "Allow=" + methods},
		{"error 401", "GET", "/fail?code=401", "", nil, 401, "", ""},
		{"error 102", "GET", "/fail?code=102", "", nil, 502, "", ""},
		{"error 503", "GET", "/fail?code=503", "", nil, 503, "", ""},
		{"error 1001", "GET", "/fail?code=1001", "", nil, 299, `{"code":1001,"msg":"failed","cause":"on purpose"}`, "Content-Type=application/json"},
		{"error -1", "GET", "/fail?code=-1", "", nil, 299, "", ""},
		{"error to a peer of v7", "GET", "/fail?code=404", "User-Agent=erpc-httproto/1.1", nil, 299, `{"code":404,"msg":"failed","cause":"on purpose"}`, ""},
		{"error to a peer of v5", "GET", "/fail?code=404", "User-Agent=teleport-httproto/1.1", nil, 299, `{"code":404,"message":"failed","reason":"on purpose"}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := http.NewRequest(test.method, "http://"+s.addr+test.path, test.body)
			if err != nil {
				t.Fatal(err)
			}
			for _, kv := range strings.Split(test.header, "&") {
				if k, v, ok := strings.Cut(kv, "="); ok {
					req.Header[k] = []string{v}
				}
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != test.status {
				t.Errorf("status %s, body %.80q, %v; want %d", resp.Status, body, err, test.status)
			}
			if string(body) != test.want && (test.status == 200 || test.want != "") {
				t.Errorf("body %.80q, want %.80q", body, test.want)
			}
			if k, want, ok := strings.Cut(test.wantHeader, "="); ok && resp.Header.Get(k) != want {
				t.Errorf("%s: %q, want %q", k, resp.Header.Get(k), want)
			}
			if resp.Header.Get("Date") == "" && resp.StatusCode != 299 || len(resp.Header["X-Seq"]) > 0 {
				t.Errorf("header %v; want a Date and no X-Seq", resp.Header)
			}
		})
	}
	if n := s.peer.CountSession(); n != 1 {
		t.Errorf("%d connections, want 1: they are used again", n)
	}
}

func TestTarget(t *testing.T) {
	s := serve(t, tp.PeerConfig{})
	c := s.dial(t)
	for _, test := range []struct{ request, want string }{
		{"GET /meta?a=1&a=2&b=%20x HTTP/1.1\nHost: h\n", `/meta?a=1&a=2&b=%20x Host=h&a=1&a=2&b=%20x`},
		{"GET http://other:1/meta?q HTTP/1.1\nHost: h\n", `/meta?q Host=other%3A1&q`},
		{"GET //meta HTTP/1.1\nHost: h\n", `/meta Host=h`},
		{"GET /meta?X-Real-IP=9&X-Reply-Error=8 HTTP/1.1\nHost: h\n", `/meta?X-Real-IP=9&X-Reply-Error=8 Host=h`},
		{"GET /meta?X-Real-IP=9&X-One=2 HTTP/1.1\nHost: h\nx-real-ip: 1\nx-ONE: 1\nhb_: 3\n", `/meta?X-Real-IP=9&X-One=2 Host=h&X-Real-IP=1&X-One=1&hb_=3`},
		{"GET /meta HTTP/1.1\nHost: h\nX-Reply-Error: {}\nConnection: keep-alive\nUser-Agent: u\nAccept-Encoding: x\n", `/meta Host=h&User-Agent=u&Accept-Encoding=x`},
	} {
		c.send(t, test.request+"\n")
		if _, body := c.response(t, "GET"); body != `"`+strings.ReplaceAll(test.want, "&", `\u0026`)+`"` {
			t.Errorf("%q: %s, want %q", test.request, body, test.want)
		}
	}
}

// Requests that were sent without waiting are answered in their order, and one
// is not handled before the one before it is answered.
func TestPipelined(t *testing.T) {
	s := serve(t, tp.PeerConfig{})
	c := s.dial(t)
	const head = " HTTP/1.1\nHost: h\nContent-Type: text/plain\nContent-Length: 1\n"
	c.send(t, "POST /wait"+head+"\n1POST /nobody"+head+"\n2OPTIONS *"+head+"\n3POST /echo"+head+"X-Mtype: 3\n\n4POST /wait"+head+"\n5"+
		"POST /echo"+head+"X-Seq: 77\n\n6")
	if got := receive(t, s.entered, "the first request"); got != "1" {
		t.Errorf("handled %q first", got)
	}
	// Only what says its number may come before its turn.
	if resp, body := c.response(t, "POST"); body != "6" || resp.Header.Get("X-Seq") != "77" || resp.Header.Get("X-Mtype") != "2" {
		t.Errorf("first response: %q, %v; want that of X-Seq 77", body, resp.Header)
	}
	select {
	case text := <-s.entered:
		t.Errorf("request %s is handled before the first is answered", text)
	default:
	}
	s.release <- struct{}{}
	s.release <- struct{}{}
	for i, want := range []int{200, 404, 204, 400, 200} {
		resp, body := c.response(t, "POST")
		if resp.StatusCode != want || want == 200 && body != fmt.Sprint(i+1) {
			t.Errorf("response %d: %s %q, want %d", i+1, resp.Status, body, want)
		}
	}
}

// aged runs f in a bubble, with a server whose handlers may take five seconds.
func aged(t *testing.T, f func(t *testing.T, s *server, c *client)) {
	synctest.Test(t, func(t *testing.T) {
		n := tptest.NewNetwork()
		s := serve(t, tp.PeerConfig{Network: n.Register(t), DefaultContextAge: 5 * time.Second})
		conn, err := n.Dial(t.Context(), s.addr)
		f(t, s, newClient(t, conn, err))
	})
}

// The age of a handler counts from its turn, and its 408 keeps the order.
func TestContextAge(t *testing.T) {
	aged(t, func(t *testing.T, s *server, c *client) {
		const request = " HTTP/1.1\nHost: h\nContent-Type: text/plain\nContent-Length: 1\n\n"
		c.send(t, "POST /wait"+request+"1POST /wait"+request+"2POST /echo"+request+"3")
		for i, want := range []int{408, 200, 200} {
			if resp, body := c.response(t, "POST"); resp.StatusCode != want {
				t.Fatalf("response %d: %s %s, want %d", i+1, resp.Status, body, want)
			}
			s.release <- struct{}{} // the first time for the late one, then for the one in turn
			s.release <- struct{}{}
		}
	})
}

// A connection that was to be closed ends by the answer of the age, too.
func TestContextAgeOfTheLast(t *testing.T) {
	aged(t, func(t *testing.T, s *server, c *client) {
		c.send(t, "GET /wait HTTP/1.0\n\n")
		if resp, _ := c.response(t, "GET"); resp.StatusCode != 408 {
			t.Errorf("%s, want 408", resp.Status)
		}
		s.release <- struct{}{}
		c.ended(t)
	})
}

func TestLastRequest(t *testing.T) {
	for _, test := range []struct {
		name, request string
		connection    string
		closes        bool
	}{
		{"1.1", "POST /wait HTTP/1.1\nHost: h\nContent-Length: 0\n\n", "", false},
		{"1.1 close", "POST /wait HTTP/1.1\nHost: h\nContent-Length: 0\nConnection: Close\n\n", "close", true},
		{"1.1 close, with a seq", "POST /wait HTTP/1.1\nHost: h\nX-Seq: 5\nconnection: x, close\n\n", "close", true},
		{"1.0", "POST /wait HTTP/1.0\nContent-Length: 0\n\n", "close", true},
		{"1.0 keep-alive", "POST /wait HTTP/1.0\nConnection: keep-alive\nContent-Length: 0\n\n", "keep-alive", false},
		{"refused", "POST /wait HTTP/1.1\nHost: h\nContent-Length: x\n\n", "close", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, tp.PeerConfig{})
			c := s.dial(t)
			c.send(t, test.request)
			if test.closes { // nothing behind it is read
				c.send(t, "GET /echo HTTP/1.1\nHost: h\n\n")
			}
			if test.name != "refused" {
				receive(t, s.entered, "the request")
				s.release <- struct{}{}
			}
			resp, _ := c.response(t, "POST")
			if got := resp.Header.Get("Connection"); got != test.connection && !(got == "" && resp.Close && test.closes) {
				t.Errorf("Connection: %q, close %v; want %q", got, resp.Close, test.connection)
			}
			if test.closes {
				c.ended(t)
				return
			}
			c.send(t, "GET /echo HTTP/1.1\nHost: h\n\n")
			if resp, _ := c.response(t, "GET"); resp.StatusCode != 200 {
				t.Errorf("next request: %s", resp.Status)
			}
		})
	}
}

// A port of several protocols recognises requests, and ends with them.
func TestAnyProto(t *testing.T) {
	s := serve(t, tp.PeerConfig{Protocol: socket.AnyProto("http")})
	c := s.dial(t)
	c.send(t, "GET /echo HTTP/1.1\nHost: h\n\nGET /echo HTTP/1.0\n\n")
	for range 2 {
		if resp, _ := c.response(t, "GET"); resp.StatusCode != 200 {
			t.Errorf("%s, want 200", resp.Status)
		}
	}
	c.ended(t)
}

func TestExpect(t *testing.T) {
	s := serve(t, tp.PeerConfig{MessageSizeLimit: 1000})
	const head = "POST /echo HTTP/1.1\nHost: h\nContent-Type: text/plain\n"
	c := s.dial(t)
	for range 2 {
		c.send(t, head+"Content-Length: 2\nExpect: 100-continue\n\n")
		if resp, _ := c.response(t, "POST"); resp.StatusCode != 100 {
			t.Fatalf("before the body: %s, want 100", resp.Status)
		}
		c.send(t, "ab")
		if resp, body := c.response(t, "POST"); resp.StatusCode != 200 || body != "ab" {
			t.Errorf("%s %q, want 200 and the body", resp.Status, body)
		}
	}
	for name, test := range map[string]struct {
		header string
		want   int
	}{
		"too large":     {"Content-Length: 2000\nExpect: 100-continue\n", 413},
		"unknown":       {"Content-Length: 2\nExpect: miracles\n", 417},
		"no body":       {"Content-Length: 0\nExpect: 100-continue\n", 200},
		"1.0 has it no": {"Content-Length: 0\n", 200},
	} {
		c := s.dial(t)
		c.send(t, head+test.header+"\n")
		if resp, _ := c.response(t, "POST"); resp.StatusCode != test.want {
			t.Errorf("%s: %s, want %d", name, resp.Status, test.want)
		} else if test.want >= 400 {
			c.ended(t)
		}
	}
}

// What can be understood in two ways is refused, with a response, and the
// connection closed.
func TestSmuggling(t *testing.T) {
	s := serve(t, tp.PeerConfig{MessageSizeLimit: 100 << 10})
	const get = "GET /echo HTTP/1.1\nHost: h\n"
	const chunked = "POST /echo HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n"
	for _, test := range []struct {
		name, request string
		want          int
	}{
		{"length and chunks", chunked + "Content-Length: 5\n\n0\n\n", 400},
		{"chunks and length", "POST /echo HTTP/1.1\nHost: h\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n", 400},
		{"two lengths", get + "Content-Length: 5\nContent-Length: 6\n\n", 400},
		{"two lengths in one", get + "Content-Length: 5, 6\n\n", 400},
		{"signed length", get + "Content-Length: +5\n\n", 400},
		{"negative length", get + "Content-Length: -5\n\n", 400},
		{"empty length", get + "Content-Length:\n\n", 400},
		{"huge length", get + "Content-Length: 99999999999999999999\n\n", 400},
		{"length over the limit", get + "Content-Length: 9999999999\n\n", 413},
		{"chunks twice", chunked + "Transfer-Encoding: chunked\n\n0\n\n", 400},
		{"other coding", get + "Transfer-Encoding: gzip, chunked\n\n", 501},
		{"identity", get + "Transfer-Encoding: identity\n\n", 501},
		{"chunks in 1.0", "POST /echo HTTP/1.0\nTransfer-Encoding: chunked\n\n0\n\n", 400},
		{"folded", get + "X-One: 1\n 2\n\n", 400},
		{"folded with a tab", get + "X-One: 1\n\t2\n\n", 400},
		{"folded at once", get + " X-One: 1\n\n", 400},
		{"NUL in a value", get + "X-One: 1\x002\n\n", 400},
		{"CR in a value", get + "X-One: 1\r2\n\n", 400},
		{"DEL in a value", get + "X-One: 1\x7f2\n\n", 400},
		{"NUL in a name", get + "X\x00One: 1\n\n", 400},
		{"space before the colon", get + "Content-Length : 5\n\n", 400},
		{"no name", get + ": 5\n\n", 400},
		{"no colon", get + "Content-Length\n\n", 400},
		{"two hosts", get + "Host: a\n\n", 400},
		{"no host", "GET /echo HTTP/1.1\nX-One: 1\n\n", 400},
		{"host with a path", "GET /echo HTTP/1.1\nHost: h/p\n\n", 400},
		{"host with a user", "GET /echo HTTP/1.1\nHost: u@h\n\n", 400},
		{"host with a blank", "GET /echo HTTP/1.1\nHost: a b\n\n", 400},
		{"no host in an absolute target", "GET http:///echo HTTP/1.1\nHost: h\n\n", 400},
		{"user in an absolute target", "GET http://u@h/echo HTTP/1.1\nHost: h\n\n", 400},
		{"no target", "POST  HTTP/1.1\nHost: h\n\n", 400},
		{"no target, of an AUTH_CALL from a client that is no peer", "POST  HTTP/1.1\nHost: h\nX-Mtype: 4\n\n", 400},
		{"no target, of a CALL from a peer", "POST  HTTP/1.1\nUser-Agent: erpc-httproto/1.1\nX-Mtype: 1\nX-Seq: 1\n\n", 299},
		{"Expect without a length", "POST /echo HTTP/1.1\nHost: h\nExpect: 100-continue\n\n", 411},
		{"two types", "POST /echo HTTP/1.1\nHost: h\nContent-Length: 1\nContent-Type: text/plain\nContent-Type: application/json\nExpect: 100-continue\n\n", 400},
		{"chunked behind a vertical tab", get + "Transfer-Encoding: \x0bchunked\n\n0\n\n", 400},
		{"chunked, chunked", get + "Transfer-Encoding: chunked, chunked\n\n0\n\n", 501},
		{"lengths in two headers", get + "Content-Length: 0\nContent-Length: 5\n\n", 400},
		{"version 3", "GET /echo HTTP/3.0\n\n", 505},
		{"long request line", "GET /" + strings.Repeat("x", 70_000) + " HTTP/1.1\nHost: h\n\n", 414},
		{"size of a chunk", chunked + "\nx\n\n", 400},
		{"signed size of a chunk", chunked + "\n+1\na\n0\n\n", 400},
		{"0x size of a chunk", chunked + "\n0x1\na\n0\n\n", 400},
		{"huge size of a chunk", chunked + "\nffffffffffffffff1\n", 400},
		{"size of a chunk over the limit", chunked + "\nffffffff\n", 413},
		{"chunks over the limit", chunked + "\n" + strings.Repeat("4000\n"+strings.Repeat("x", 0x4000)+"\n", 7), 413},
		{"chunk longer than said", chunked + "\n1\nab\n0\n\n", 400},
		{"long extension", chunked + "\n1;" + strings.Repeat("x", 2000) + "\na\n0\n\n", 400},
		{"NUL in an extension", chunked + "\n1;\x00\na\n0\n\n", 400},
		{"bad trailer", chunked + "\n0\nbad\n\n", 400},
		{"request line of two words", "GET HTTP/1.1\nHost: h\n\n", 400},
		{"space in the target", "GET /a b HTTP/1.1\nHost: h\n\n", 400},
		{"NUL in the target", "GET /a\x00 HTTP/1.1\nHost: h\n\n", 400},
		{"invalid method", "G(T /a HTTP/1.1\nHost: h\n\n", 400},
		{"no version", "GET /a\n\n", 400},
		{"version 2", "PRI * HTTP/2.0\n\n", 505},
		{"version 1.10", "GET /a HTTP/1.10\n\n", 400},
		{"CONNECT", "CONNECT a:1 HTTP/1.1\nHost: h\n\n", 501},
		{"headers too long", get + "X-One: " + strings.Repeat("x", 70_000) + "\n\n", 431},
		{"too many headers", get + strings.Repeat("X: 1\n", 1100) + "\n", 431},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := s.dial(t)
			go io.WriteString(c, crlf(test.request)+crlf(get)+"\r\n")
			resp, body := c.response(t, "GET")
			if resp.StatusCode != test.want || !resp.Close || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %q, close %v; want %d and the end", resp.Status, body, resp.Close, test.want)
			}
			c.ended(t)
		})
	}
	for _, bare := range []string{"GET /echo HTTP/1.1\nHost: h\n\n", "GET /echo HTTP/1.1\r\nHost: h\r\nX: 1\n\r\n", "GET /echo HTTP/1.1\r\nHost: h\r\nX: 1\r\n\n"} {
		c := s.dial(t)
		io.WriteString(c, bare)
		if resp, _ := c.response(t, "GET"); resp.StatusCode != 400 {
			t.Errorf("%q: %s, want 400", bare, resp.Status)
		}
		c.ended(t)
	}
}

// More of them than are kept in mind are the end of the connection.
func TestCrowd(t *testing.T) {
	get := "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
	post := "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 400\r\n\r\n" + strings.Repeat("x", 400)
	for _, test := range []struct {
		name, request string
		limit         uint32
		fit           int
	}{{"number", get, 1 << 20, maxOpen}, {"bytes", post, 1000, 2}} {
		t.Run(test.name, func(t *testing.T) {
			_, s := ends()
			s.in.(*peeker).r = strings.NewReader(strings.Repeat(test.request, test.fit+20))
			m := new(socket.Envelope)
			m.SetLimit(test.limit)
			unpack := func() error {
				m.Clear()
				return s.Unpack(m)
			}
			for i := range test.fit {
				if err := unpack(); err != nil || !m.InTurn() || m.Seq() >= 0 {
					t.Fatalf("request %d: %v, in turn %v, seq %d", i, err, m.InTurn(), m.Seq())
				}
			}
			// An answer makes room for one more.
			if _, err := s.AppendFrame(nil, message(m.Seq(), socket.TypeReply, "", 0, "")); err != nil {
				t.Fatal(err)
			}
			if err := unpack(); err != nil {
				t.Fatal(err)
			}
			var refusal *socket.Refusal
			if err := unpack(); !errors.As(err, &refusal) || refusal.Rerror.Code != 503 || errors.Is(err, socket.ErrBadMessage) {
				t.Fatalf("one more: %v, want a refusal of code 503", err)
			}
			frame, err := s.AppendFrame(nil, message(m.Seq(), socket.TypeReply, "", 0, "", socket.WithRerror(refusal.Rerror)))
			if err != nil || !bytes.HasPrefix(frame, []byte("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n")) || !s.Ended() {
				t.Errorf("response: %q, %v, ended %v", frame, err, s.Ended())
			}
			if err := unpack(); !errors.Is(err, socket.ErrBadMessage) {
				t.Errorf("after the last: %v, want what is left dropped", err)
			}
			if err := unpack(); err != io.EOF {
				t.Errorf("at the end: %v, want io.EOF", err)
			}
		})
	}
}

func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		return // the tests beside this one ask for the same
	}
	s := serve(t, tp.PeerConfig{})
	base := "http://" + s.addr
	long := strings.Repeat("x", 3000)
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"post", []string{"-H", "content-type: text/plain", "-d", "hello", base + "/echo"}, "hello"},
		{"twice over one connection", []string{"-H", "content-type: text/plain", "-d", "hello", base + "/echo", base + "/echo"}, "hellohello"},
		{"1.0", []string{"-0", "-H", "content-type: text/plain", "-d", "hello", base + "/echo"}, "hello"},
		{"expect", []string{"-H", "Expect: 100-continue", "-H", "content-type: text/plain", "-d", long, base + "/echo"}, long},
		{"chunked", []string{"-H", "Transfer-Encoding: chunked", "-H", "content-type: text/plain", "-d", long, base + "/echo"}, long},
		{"compressed", []string{"--compressed", "-H", "content-type: text/plain", "-d", long, base + "/zip"}, long},
		{"status", []string{"-w", "%{http_code}", "-o", "/dev/null", base + "/nobody"}, "404"},
		{"head", []string{"-I", "-w", "%{http_code}", "-o", "/dev/null", base + "/echo"}, "200"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), curl, append([]string{"-s", "-S", "-m", "20"}, test.args...)...).CombinedOutput()
			if err != nil || string(out) != test.want {
				t.Errorf("curl: %q, %v; want %.80q", out, err, test.want)
			}
		})
	}
}

// The last response of a server that ends says that no further request is taken.
func TestLastResponseWhileDraining(t *testing.T) {
	s := serve(t, tp.PeerConfig{})
	c := s.dial(t)
	c.send(t, "POST /wait HTTP/1.1\nHost: h\nContent-Length: 0\n\n")
	receive(t, s.entered, "the request")
	closed := make(chan error, 1)
	go func() { closed <- s.peer.Close() }()
	s.sessions(t, 0) // the session drains
	s.release <- struct{}{}
	if resp, _ := c.response(t, "POST"); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("%s, closes: %v; want 200, and Connection: close", resp.Status, resp.Close)
	}
	c.ended(t)
	c.Close()
	if err := receive(t, closed, "the end"); err != nil {
		t.Error(err)
	}
}

// A request that comes while the server drains is refused, and the refusal says that its
// handler has not run.
func TestRefusedWhileDraining(t *testing.T) {
	s := serve(t, tp.PeerConfig{})
	c := s.dial(t)
	c.send(t, "POST /wait HTTP/1.1\nHost: h\nX-Seq: 1\nContent-Length: 0\n\n")
	receive(t, s.entered, "the request")
	closed := make(chan error, 1)
	go func() { closed <- s.peer.Close() }()
	s.sessions(t, 0)
	c.send(t, "POST /echo HTTP/1.1\nHost: h\nX-Seq: 2\nContent-Length: 0\n\n")
	if resp, body := c.response(t, "POST"); resp.StatusCode != 503 || resp.Header.Get("X-Not-Run") == "" || !strings.Contains(body, "draining") {
		t.Errorf("%s, %v, %s; want 503, X-Not-Run, and draining", resp.Status, resp.Header, body)
	}
	s.release <- struct{}{}
	if resp, _ := c.response(t, "POST"); resp.StatusCode != 200 {
		t.Errorf("%s, want 200", resp.Status)
	}
	c.Close()
	receive(t, closed, "the end")
}
