package httproto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/core/xfer"
)

// A peer calls the standard library's server, which knows nothing of X-Seq.
func TestNetHTTPServer(t *testing.T) {
	tptest.LeakCheck(t)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.Header().Set("x-note", r.Header.Get("X-Note")+r.URL.Query().Get("q"))
		w.Write(body) // a long one in chunks
	})
	mux.HandleFunc("/json", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(409)
		io.WriteString(w, `{"code":1409,"msg":"m","cause":"c"}`)
	})
	mux.HandleFunc("/early", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusNoContent)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	peer := tptest.NewPeer(t, tp.PeerConfig{Protocol: NewHTTProtoFunc()})
	sess, r := peer.Dial(server.Listener.Addr().String())
	if r != nil {
		t.Fatal(r)
	}
	for _, text := range []string{"hello", strings.Repeat("long ", 50_000), ""} {
		var got string
		cmd := sess.Call("http://example.org/echo?q=2", text, &got, tp.WithBodyCodec(codec.Plain), tp.WithAddMeta("x-note", "1"))
		if cmd.Rerror() != nil || got != text || string(cmd.InputMeta().Peek("X-Note")) != "12" {
			t.Errorf("call with %d bytes: %v, %d bytes, metadata %s", len(text), cmd.Rerror(), len(got), cmd.InputMeta())
		}
	}
	for method, want := range map[string]string{
		"http://h/nobody": `{"code":404,"message":"Not Found","reason":"404 page not found"}`,
		"http://h/json":   `{"code":1409,"message":"m","reason":"c"}`,
		"http://h/early":  "<nil>",
	} {
		if got := sess.Call(method, "x", nil, tp.WithBodyCodec(codec.Plain)).Rerror(); got.String() != want {
			t.Errorf("%s: %s, want %s", method, got, want)
		}
	}
	// Without a name for the host there is none in the request: as v5 and v7 write.
	if got := sess.Call("/echo", "x", nil, tp.WithBodyCodec(codec.Plain)).Rerror(); got == nil || got.Code != 400 {
		t.Errorf("a call without a host: %v, want 400", got)
	}
}

func TestPackRefuses(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	many := func(m socket.Message) {
		for i := range maxHeaders + 1 {
			m.Meta().Add(fmt.Sprint("K", i), "")
		}
	}
	for _, test := range []struct {
		name  string
		mtype byte
		seq   int32
		set   socket.MessageSetting
		want  string
	}{
		{"PUSH", socket.TypePush, 1, nil, "http: unsupported message type: 3 (PUSH): a request has to have a response"},
		{"other type", 9, 1, nil, "http: unsupported message type: 9 (Undefined)"},
		{"seq", socket.TypeCall, -1, nil, "http: seq -1 is below 0"},
		{"reply to nobody", socket.TypeReply, -1, nil, "http: no request waits for a response of seq -1"},
		{"CR in metadata", socket.TypeCall, 1, socket.WithAddMeta("a", "1\r\nX-Seq: 2"), `http: metadata "a": value "1\r\nX-Seq: 2" cannot be that of a header`},
		{"LF in metadata", socket.TypeReply, 1, socket.WithAddMeta("a", "1\nb"), `http: metadata "a": value "1\nb" cannot be that of a header`},
		{"NUL in metadata", socket.TypeReply, 1, socket.WithAddMeta("a", "\x00"), `http: metadata "a": value "\x00" cannot be that of a header`},
		{"blank before a value", socket.TypeCall, 1, socket.WithAddMeta("a", " 1"), `http: metadata "a": value " 1" cannot be that of a header`},
		{"blank behind a value", socket.TypeCall, 1, socket.WithAddMeta("a", "1\t"), `http: metadata "a": value "1\t" cannot be that of a header`},
		{"no key", socket.TypeCall, 1, socket.WithAddMeta("", "1"), `http: metadata key "" cannot be the name of a header`},
		{"colon in a key", socket.TypeCall, 1, socket.WithAddMeta("a: b", "1"), `http: metadata key "a: b" cannot be the name of a header`},
		{"CR in a key", socket.TypeReply, 1, socket.WithAddMeta("a\r\nb", "1"), `http: metadata key "a\r\nb" cannot be the name of a header`},
		{"é in a key", socket.TypeReply, 1, socket.WithAddMeta("é", "1"), `http: metadata key "é" cannot be the name of a header`},
		{"much metadata", socket.TypeCall, 1, socket.WithAddMeta("a", long), "http: 7 headers of 70150 bytes: no more than 1000 of 65536 are sent"},
		{"many metadata", socket.TypeReply, 1, many, "http: 1001 headers of 7953 bytes: no more than 1000 of 65536 are sent"},
		{"long method", socket.TypeCall, 1, socket.WithServiceMethod("/" + long), "http: headers of 70164 bytes: no more than 65536 are sent"},
		{"fragment", socket.TypeCall, 1, socket.WithServiceMethod("/a#b"), `http: service method "/a#b" has a fragment, which requests have not`},
		{"host", socket.TypeCall, 1, socket.WithServiceMethod("http://a b/"), `http: service method "http://a b/": invalid host`},
		{"no host", socket.TypeCall, 1, socket.WithServiceMethod("http:///a"), `http: service method "http:///a": invalid host`},
		{"two filters", socket.TypeCall, 1, socket.WithXferPipe(xfer.Gzip, xfer.Gzip), "http: unsupported transfer filter: gzip (id 103): gzip alone, and once"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var x exchange
			err := NewHTTProtoFunc()(&x).Pack(message(test.seq, test.mtype, "/a", codec.JSON, "1", test.set))
			if err == nil || err.Error() != test.want || x.Len() > 0 {
				t.Errorf("Pack: %v, %d bytes; want %s", err, x.Len(), test.want)
			}
		})
	}
	if _, err := NewHTTProtoFunc(9)(nil).(*httpProto).AppendFrame(nil, message(1, socket.TypeCall, "/a", 0, "")); err == nil {
		t.Error("Pack in an unknown dialect succeeds")
	}
}

// In a session that is 104, and the next call succeeds.
func TestHeaderSplitting(t *testing.T) {
	s := serve(t, tp.PeerConfig{})
	peer := tptest.NewPeer(t, tp.PeerConfig{Protocol: NewHTTProtoFunc(V7)})
	sess, r := peer.Dial(s.addr)
	if r != nil {
		t.Fatal(r)
	}
	if r := sess.Call("/echo", "a", nil, tp.WithAddMeta("K", "v\r\nX-Seq: 9")).Rerror(); r == nil || r.Code != tp.CodeWriteFailed {
		t.Errorf("metadata with a CR: %v, want 104", r)
	}
	if r := sess.Push("/echo", "a"); r == nil || r.Code != tp.CodeWriteFailed || !strings.Contains(r.Reason, "PUSH") {
		t.Errorf("push: %v, want 104 that names it", r)
	}
	var got string
	if r := sess.Call("/zip", "abc", &got).Rerror(); r != nil || got != "abc" {
		t.Errorf("call: %q, %v", got, r)
	}
	if r := sess.Call("/zip", "abc", &got, tp.WithXferPipe(xfer.Gzip)).Rerror(); r == nil || r.Code != 500 {
		t.Errorf("call whose reply has two filters: %v, want 500", r)
	}
	if r := sess.Call("/echo", "def", &got, tp.WithXferPipe(xfer.Gzip), tp.WithBodyCodec(codec.Plain)).Rerror(); r != nil || got != "def" {
		t.Errorf("call through gzip: %q, %v", got, r)
	}
}

// Names of the protocol's own are left out, and the frame has each but once.
func TestFrameworkNames(t *testing.T) {
	for _, mtype := range []byte{socket.TypeCall, socket.TypeReply} {
		m := message(1, mtype, "/a", codec.JSON, "1")
		if mtype == socket.TypeCall { // that of a response is the handler's
			m.Meta().Add("content-type", "7")
		}
		for _, k := range []string{":method", ":status", "x-seq", "X-Mtype", "Content-Length", "Content-Foo", "Content-Encoding", "X-Content-Encoding", "Transfer-Encoding",
			"Connection", "Upgrade", "Trailer", "TE", "Keep-Alive", "Expect", "X-Reply-Error", "User-Agent", "Accept-Encoding"} {
			m.Meta().Add(k, "7")
		}
		m.Meta().Add("x-other", "8")
		frame, err := NewHTTProtoFunc()(nil).(*httpProto).AppendFrame(nil, m)
		if err != nil || bytes.Contains(frame, []byte(": 7")) || !bytes.Contains(frame, []byte("X-Other: 8")) {
			t.Errorf("frame %q, %v; want X-Other alone of the metadata", frame, err)
		}
	}
	m := message(1, socket.TypeCall, "http://first/a", 0, "", socket.WithAddMeta("host", "second"))
	frame, _ := NewHTTProtoFunc()(nil).(*httpProto).AppendFrame(nil, m)
	if bytes.Count(frame, []byte("Host: ")) != 1 || !bytes.Contains(frame, []byte("Host: first\r\n")) {
		t.Errorf("frame %q, want one Host, that of the URL", frame)
	}
}

// Responses of all kinds, to one call of seq 5.
func TestResponses(t *testing.T) {
	limited := func(n int) string { return strings.Repeat("x", n) }
	const ok = "HTTP/1.1 200 OK\n"
	for _, test := range []struct {
		name, response string
		rerr           string // of the message
		body           string
		err            string // of Unpack
	}{
		{"plain", ok + "Content-Length: 2\n\nok", "<nil>", "ok", ""},
		{"small letters", "HTTP/1.1 200\ncontent-length: 2\nx-seq: 5\n\nok", "<nil>", "ok", ""},
		{"1.0, until the end", "HTTP/1.0 200 OK\n\n" + limited(100_000), "<nil>", limited(100_000), ""},
		{"chunks", ok + "Transfer-Encoding: Chunked\n\n1;a=b\no\n01 \nk\n0\nX-Trailer: 1\n\n", "<nil>", "ok", ""},
		{"gzip", ok + "Content-Encoding: gzip\n\n" + string(zipped([]byte("ok"))), "<nil>", "ok", ""},
		{"interim", "HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Early\nLink: x\n\n" + ok + "Content-Length: 0\n\n", "<nil>", "", ""},
		{"204", "HTTP/1.1 204 No Content\nContent-Length: 5\n\n", "<nil>", "", ""},
		{"201 with what looks like an error", "HTTP/1.1 201 X\nContent-Length: 10\n\n{\"code\":1}", "<nil>", `{"code":1}`, ""},
		{"299 of v5", "HTTP/1.1 299 Business Error\nContent-Length: 36\n\n{\"code\":1,\"message\":\"m\",\"reason\":\"\"}", `{"code":1,"message":"m"}`, "", ""},
		{"500 of v7", "HTTP/1.1 500 X\nContent-Length: 32\n\n{\"code\":-1,\"msg\":\"\",\"cause\":\"c\"}", `{"code":-1,"reason":"c"}`, "", ""},
		{"299 without an error", "HTTP/1.1 299 Business Error\nContent-Length: 2\n\n{}", `{"code":299,"message":"Business Error","reason":"{}"}`, "", ""},
		{"404 of text", "HTTP/1.1 404 X\nContent-Length: 7\n\n nope\n ", `{"code":404,"message":"Not Found","reason":"nope"}`, "", ""},
		{"302", "HTTP/1.1 302 X\nContent-Length: 0\n\n", `{"code":302,"message":"Found"}`, "", ""},
		{"long text", "HTTP/1.1 500 X\n\n" + limited(5000), `{"code":500,"message":"Internal Server Error","reason":"` + limited(1024) + `"}`, "", ""},
		{"other coding", ok + "Content-Encoding: br\nContent-Length: 1\n\nx", `{"code":400,"message":"Bad Message","reason":"http: Content-Encoding \"br\" is not gzip"}`, "", ""},
		{"damaged gzip", ok + "X-Content-Encoding: gzip\nContent-Length: 1\n\nx", "400", "", ""},
		{"type of a request", ok + "X-Mtype: 1\nContent-Length: 0\n\n", "", "", "http: a response of type 1 (CALL)"},
		{"switch", "HTTP/1.1 101 X\n\n", "", "", "http: the server switches to another protocol"},
		{"endless interim", strings.Repeat("HTTP/1.1 102 X\n\n", 200), "", "", "http: more than 100 interim responses"},
		{"no status", "HTTP/1.1 OK\n\n", "", "", `http: invalid status line: "HTTP/1.1 OK"`},
		{"status 42", "HTTP/1.1 042 OK\n\n", "", "", `http: invalid status: "HTTP/1.1 042 OK"`},
		{"version", "HTTP/2 200 OK\n\n", "", "", `http: invalid status line: "HTTP/2 200 OK"`},
		{"both", ok + "Transfer-Encoding: chunked\nContent-Length: 1\n\n", "", "", "http: Transfer-Encoding beside Content-Length, or twice"},
		{"too long", ok + "Content-Length: 300000\n\n", "", "", "http: a body of 300000 bytes: socket: message of 300043 bytes is over the limit of 200000"},
		{"too long until the end", ok + "\n" + limited(300_000), "", "", "http: a body of 200"},
		{"too long once it is unpacked", ok + "Content-Encoding: gzip\n\n" + string(zipped(make([]byte, 300_000))), "400", "", ""},
		{"cut", ok + "Content-Length: 3\n\nok", "", "", "http: body ended after 2 bytes: unexpected EOF"},
		{"no HTTP", "\x00\x00\x00\x20r", "", "", `http: the peer's first bytes "\x00\x00\x00 r\r\n\r\n" look like a raw frame: unsupported protocol`},
		{"greeting", "220 mail.example.com ESMTP\n", "", "", `http: the peer's first bytes "220 mail.example.com ESMTP\r\n\r\n\r\n" look like text: unsupported protocol`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _ := ends()
			head, body, _ := strings.Cut(test.response, "\n\n")
			if !strings.Contains(body, "HTTP/1.1") && !strings.Contains(test.response, "hunked") {
				c.in.(*peeker).r = strings.NewReader(crlf(head+"\n\n") + body)
			} else {
				c.in.(*peeker).r = strings.NewReader(crlf(test.response))
			}
			if err := c.Pack(message(5, socket.TypeCall, "/a", 0, "")); err != nil {
				t.Fatal(err)
			}
			m := new(socket.Envelope)
			m.SetLimit(200_000)
			err := c.Unpack(m)
			if test.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), test.err) {
					t.Errorf("Unpack: %v, want %s", err, test.err)
				}
				var refusal *socket.Refusal
				if errors.As(err, &refusal) {
					t.Error("a response is answered")
				}
				return
			}
			if err != nil || m.Seq() != 5 || m.Mtype() != socket.TypeReply || string(m.RawBody()) != test.body {
				t.Errorf("Unpack: %v, seq %d, body %.40q; want seq 5, body %.40q", err, m.Seq(), m.RawBody(), test.body)
			}
			if got := m.Rerror().String(); got != test.rerr && (len(test.rerr) != 3 || !strings.HasPrefix(got, `{"code":`+test.rerr)) {
				t.Errorf("error %s, want %s", got, test.rerr)
			}
		})
	}
}

// Responses without X-Seq are only taken while it is clear whose they are.
func TestNoSeq(t *testing.T) {
	const response = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	for _, test := range []struct {
		name  string
		calls int
		bad   bool
	}{{"nobody waits", 0, true}, {"two wait", 2, false}} {
		c, _ := ends()
		c.in.(*peeker).r = strings.NewReader(response)
		for i := range test.calls {
			if err := c.Pack(message(int32(i), socket.TypeCall, "/a", 0, "")); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Unpack(socket.NewMessage()); err == nil || errors.Is(err, socket.ErrBadMessage) != test.bad {
			t.Errorf("%s: %v; want ErrBadMessage %v", test.name, err, test.bad)
		}
	}
	// A server that has sent X-Seq once sends it always.
	c, _ := ends()
	c.in.(*peeker).r = strings.NewReader("HTTP/1.1 200 OK\r\nX-Seq: 0\r\nContent-Length: 0\r\n\r\n" + response)
	for i, bad := range []bool{false, true} {
		if err := c.Pack(message(int32(i), socket.TypeCall, "/a", 0, "")); err != nil {
			t.Fatal(err)
		}
		if err := c.Unpack(socket.NewMessage()); errors.Is(err, socket.ErrBadMessage) != bad {
			t.Errorf("response %d: %v; want ErrBadMessage %v", i, err, bad)
		}
	}
}

func TestTypes(t *testing.T) {
	for _, test := range []struct {
		text string
		id   byte
	}{
		{"application/json", 'j'}, {"Application/JSON; charset=x", 'j'}, {"application/x-protobuf;charset=utf-8", 'p'},
		{"application/x-www-form-urlencoded", 'f'}, {"text/plain", 's'}, {"text/xml", 'x'}, {"application/xml", 'x'},
		{"application/cbor", 'c'}, {"application/vnd.apache.thrift.binary", 't'},
		{otherType + "250", 250}, {otherType + "256", 1}, {"image/png", 1}, {"", 1},
	} {
		if got := GetBodyCodec(test.text, 1); got != test.id {
			t.Errorf("GetBodyCodec(%q) = %d, want %d", test.text, got, test.id)
		}
	}
	if got, want := GetContentType('j', ""), "application/json;charset=utf-8"; got != want {
		t.Errorf("GetContentType('j') = %q, want %q", got, want)
	}
	if got := GetContentType(1, "none"); got != "none" {
		t.Errorf("GetContentType of an unknown codec = %q, want the default", got)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { RegBodyCodec("Image/X-Test; q=1", 200); GetBodyCodec("image/x-test", 0) })
	}
	wg.Wait()
	if id, text := GetBodyCodec("image/x-TEST", 0), GetContentType(200, ""); id != 200 || text != "Image/X-Test; q=1" {
		t.Errorf("after RegBodyCodec: %d, %q", id, text)
	}
	RegBodyCodec("image/x-test", 202)
	if id := typeCodec([]byte("Image/X-Test; q=1")); id != 202 {
		t.Errorf("after a second RegBodyCodec: %d, want 202", id)
	}
	defer func() {
		if recover() == nil {
			t.Error("RegBodyCodec takes a text that splits headers")
		}
	}()
	RegBodyCodec("a\r\nb", 201)
}

func TestRecognise(t *testing.T) {
	for _, test := range []struct {
		text  string
		match bool
		need  int
	}{
		{"", false, 1}, {"P", false, 2}, {"POST", false, 5}, {"POST ", true, 0}, {"GET /", true, 0}, {"OPTIONS * HTTP/1.1", true, 0},
		{"HTTP/", false, 7}, {"HTTP/1", false, 7}, {"HTTP/1.1 200", true, 0}, {"HTTP/2", false, 0}, {"HTTP", false, 5},
		{"post ", false, 0}, {"\x00\x00\x00\x20r", false, 0}, {"\x16\x03\x01", false, 0}, {"AB ", false, 0},
		{"ABCDEFGHIJKLMNOPQ", false, 0}, {"ABCDEFGHIJKLMNOP", false, 17},
	} {
		if match, need := recognise([]byte(test.text)); match != test.match || need != test.need {
			t.Errorf("recognise(%q) = %v, %d; want %v, %d", test.text, match, need, test.match, test.need)
		}
	}
	p, err := socket.LookupProto("http")
	if err != nil || p.Recognise == nil {
		t.Fatalf("LookupProto: %v", err)
	}
	if id, name := p.New(new(exchange)).Version(); id != 'h' || name != "http" {
		t.Errorf("Version = %c %q", id, name)
	}
}
