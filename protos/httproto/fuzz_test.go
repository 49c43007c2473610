package httproto

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

var requestSeeds = []string{
	"GET / HTTP/1.1\nHost: h\n\n", "\n\nGET /a?b=c HTTP/1.0\nHost: h\n\n",
	"POST /a HTTP/1.1\nHost: h\nContent-Length: 2\n\nokGET /b HTTP/1.1\nHost: h\n\n",
	"POST /a HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n2;x=y\nok\n0\nT: 1\n\nHEAD /b HTTP/1.1\nHost: h\n\n",
	"POST http://h/a HTTP/1.1\nHost: h\nX-Seq: 1\nX-Mtype: 4\nContent-Encoding: gzip\nContent-Length: 1\n\nx",
	"OPTIONS * HTTP/1.1\nHost: h\nConnection: close\nExpect: 100-continue\n\n",
	"POST /a HTTP/1.1\nHost: h\nContent-Length: 1\nTransfer-Encoding: chunked\n\n", "G /\n", "GET / HTTP/1.1\nHost: h\nA: b\n c\n\n",
	"POST  HTTP/1.1\nUser-Agent: erpc-httproto/1.1\nX-Mtype: 4\nX-Seq: 1\nContent-Length: 3\nContent-Type: text/plain\n\ntokGET / HTTP/1.1\nHost: h\n\n",
	"POST /a HTTP/1.1\nHost: h\nContent-Length: 7\nContent-Type: application/x-www-form-urlencoded\nAccept: */*\n\n{\"a\":1}",
	"POST /a HTTP/1.1\nHost: h\nContent-Length: 1\nContent-Type: image/png\nAccept: text/html;q=0.9, application/*;q=0.25, a+json;x=y;q=1\n\nx",
	"GET /a HTTP/1.1\nHost: h\n\nPOST /b HTTP/1.1\nHost: h\nContent-Length: 2\nExpect: 100-continue\n\nok",
	"GET http://u@h/a HTTP/1.1\nHost: h:1\n\n", "POST /a HTTP/1.1\nHost: a b\nExpect: 100-continue\n\n",
}

// FuzzRequest reads any bytes: without a panic, within the limit, and it finds
// no more and no other requests in them than the standard library.
func FuzzRequest(f *testing.F) {
	for _, text := range requestSeeds {
		f.Add([]byte(crlf(text)))
	}
	for name := range goldens {
		f.Add(golden(f, "v5-"+name))
	}
	f.Add(append([]byte(crlf("POST /a HTTP/1.1\nHost: h\nContent-Encoding: gzip\nTransfer-Encoding: chunked\n\n17\n")), zipped(nil)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 16
		pf := NewHTTProtoFunc()
		p := pf(sided{struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(b), io.Discard}, false}).(*httpProto)
		std := bufio.NewReader(bytes.NewReader(b))
		same := true
		for range len(b) + 2 {
			m := new(socket.Envelope)
			m.SetLimit(limit)
			err := p.Unpack(m)
			var refusal *socket.Refusal
			switch {
			case errors.As(err, &refusal):
				if m.Mtype() != socket.TypeCall || m.Seq() >= 0 || !refusal.Rerror.HasError() {
					t.Fatalf("refusal %v of type %d, seq %d", refusal, m.Mtype(), m.Seq())
				}
				frame, err := p.AppendFrame(nil, message(m.Seq(), socket.TypeReply, "", 0, "", socket.WithRerror(refusal.Rerror)))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(frame)), nil); err != nil {
					t.Fatalf("response %q: %v", frame, err)
				}
				same = false
				continue
			case errors.Is(err, socket.ErrBadMessage):
				same = false
				continue
			case err != nil:
				return
			}
			if m.Size() > limit || len(m.RawBody()) > limit {
				t.Fatalf("size %d, body of %d bytes: over the limit", m.Size(), len(m.RawBody()))
			}
			if same && m.Mtype() == socket.TypeCall && m.XferPipe().Len() == 0 {
				same = compare(t, std, m)
			}
		}
		t.Fatal("Unpack finds more messages than there are bytes")
	})
}

// compare reads the same request with the standard library. It returns false
// where that is stricter, or something else.
func compare(t *testing.T, std *bufio.Reader, m *socket.Envelope) bool {
	req, err := http.ReadRequest(std)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		return false
	}
	if req.Header.Get("Content-Encoding") == "" && !bytes.Equal(body, m.RawBody()) {
		t.Fatalf("body %q, the standard library's is %q", m.RawBody(), body)
	}
	if uri := req.RequestURI; strings.HasPrefix(uri, "/") && !strings.HasPrefix(uri, "//") && m.ServiceMethod() != uri {
		t.Fatalf("service method %q, want %q", m.ServiceMethod(), uri)
	}
	return true
}

// FuzzResponse reads any bytes as responses to calls.
func FuzzResponse(f *testing.F) {
	for _, text := range []string{
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "HTTP/1.0 404 X\n\nnope", "HTTP/1.1 100 Continue\n\nHTTP/1.1 204 X\nX-Seq: 1\n\n",
		"HTTP/1.1 299 X\nTransfer-Encoding: chunked\n\na\n{\"code\":1}\n0\n\n", "HTTP/1.1 101 X\n\n", "HTTP/1.1 20 OK\n\n",
	} {
		f.Add([]byte(crlf(text)))
	}
	for name := range goldens {
		f.Add(golden(f, "v7-"+name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 16
		c, _ := ends()
		c.in.(*peeker).r = bytes.NewReader(b)
		for range len(b) + 2 {
			if err := c.Pack(message(1, socket.TypeCall, "/a", 0, "")); err != nil {
				t.Fatal(err)
			}
			m := new(socket.Envelope)
			m.SetLimit(limit)
			err := c.Unpack(m)
			if errors.Is(err, socket.ErrBadMessage) {
				continue
			}
			if err != nil {
				return
			}
			if len(m.RawBody()) > limit {
				t.Fatalf("body of %d bytes: over the limit", len(m.RawBody()))
			}
		}
		t.Fatal("Unpack finds more messages than there are bytes")
	})
}

// FuzzMeta packs any metadata and any method: refused, or one request with
// exactly that.
func FuzzMeta(f *testing.F) {
	f.Add("/a", "K", "v")
	f.Add("http://h/a?b", "x-seq", "1")
	f.Add("/a\r\nX-Seq: 2", "k", "v\r\n\r\nGET / HTTP/1.1")
	f.Add("Math.Add", "a:b", " v")
	f.Fuzz(func(t *testing.T, method, key, value string) {
		frame, err := NewHTTProtoFunc()(nil).(*httpProto).AppendFrame(nil,
			message(7, socket.TypeCall, method, 'j', "body", socket.WithAddMeta(key, value)))
		if err != nil {
			return
		}
		_, s := ends()
		r := bytes.NewReader(frame)
		s.in.(*peeker).r = r
		m := socket.NewMessage()
		if err := s.Unpack(m); err != nil {
			t.Fatalf("%q: %v", frame, err)
		}
		if m.Seq() != 7 || string(m.RawBody()) != "body" || r.Len() > 0 || s.in.Buffered() > 0 {
			t.Fatalf("%q: seq %d, body %q, and %d bytes left", frame, m.Seq(), m.RawBody(), s.in.Buffered()+r.Len())
		}
		name := metaKey(appendCanonical(nil, key))
		if fromMeta(appendCanonical(nil, key), true) && string(name) != "Host" && string(m.Meta().PeekBytes(name)) != value {
			t.Fatalf("%q: metadata %s, want %q=%q", frame, m.Meta(), name, value)
		}
	})
}

// FuzzNegotiate reads a request with any types: they decide about codecs alone,
// never about where the request ends.
func FuzzNegotiate(f *testing.F) {
	f.Add("application/json", "*/*", []byte(`"a"`))
	f.Add("application/x-www-form-urlencoded;charset=utf-8", "text/html, a/*;q=0.123, */*;q=0", []byte(`{"a":1}`))
	f.Add("x/y+xml", "application/x-teleport-codec-106 ; q=0.9;q=1,text/*", []byte(" <a></a>\n"))
	f.Add("+json", ",,;q=,q=0.;/*;*/,", []byte{})
	f.Fuzz(func(t *testing.T, contentType, accept string, body []byte) {
		if !validValue([]byte(contentType)) || !validValue([]byte(accept)) || len(contentType)+len(accept) > maxHead/2 {
			return
		}
		eachItem([]byte(accept), func(item []byte) {
			if name, weight := cutWeight(item); weight < 0 || weight > fullWeight || !bytes.Contains(item, name) {
				t.Fatalf("cutWeight(%q) = %q, %d", item, name, weight)
			}
		})
		_, s := ends()
		s.in.(*peeker).r = io.MultiReader(
			strings.NewReader(fmt.Sprintf("POST /a HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nAccept: %s\r\nContent-Length: %d\r\n\r\n", contentType, accept, len(body))),
			bytes.NewReader(body), strings.NewReader("GET /next HTTP/1.1\r\nHost: h\r\n\r\n"))
		m := socket.NewMessage()
		if err := s.Unpack(m); err != nil || !bytes.Equal(m.RawBody(), body) {
			t.Fatalf("%v, body %q, want %q", err, m.RawBody(), body)
		}
		if id, ok := socket.GetAcceptBodyCodec(m.Meta()); ok {
			if _, err := codec.Get(id); err != nil {
				t.Fatalf("Accept %q asks for the codec %d", accept, id)
			}
		}
		if err := s.Unpack(m); err != nil || m.ServiceMethod() != "/next" {
			t.Fatalf("behind it: %v, %q", err, m.ServiceMethod())
		}
	})
}
