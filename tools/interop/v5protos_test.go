package interop

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/protos/httproto"
	"github.com/teleport-go/teleport/protos/jsonproto"
	"github.com/teleport-go/teleport/protos/pbproto"
)

// v5Script is what v5 programs were seen to send and to receive, in hex where
// it is not text.
type v5Script struct {
	name          string
	detects, v5   tp.ProtoFunc
	call, reply   string // 1: /math/add with k, 6 with who
	lost, none    string // 3: /no/such, 404
	fail, failure string // 4: /fail/business, 1234 with reason
	push          string // 6: /note/say "hi"; "" for none
	auth, welcome string // 1: "tok", "pass"; "" for none
}

// sized is a frame with a size that does not count itself, without filters.
func sized(payload string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)))) + "\x00" + payload
}

func v5JSON(seq, mtype int, method, meta string, codec int, body string) string {
	return sized(fmt.Sprintf(`{"seq":%d,"mtype":%d,"serviceMethod":"%s","meta":"%s","bodyCodec":%d,"body":"%s"}`,
		seq, mtype, method, meta, codec, strings.ReplaceAll(body, `"`, `\"`)))
}

// v5PB is for fields of less than 128 bytes, apart from the metadata.
func v5PB(seq, mtype byte, method, meta string, codec byte, body string) string {
	b := []byte{8, seq, 16, mtype}
	field := func(tag byte, v string) {
		if v != "" {
			b = append(binary.AppendUvarint(append(b, tag), uint64(len(v))), v...)
		}
	}
	field(3<<3|2, method)
	field(4<<3|2, meta)
	if codec != 0 {
		b = append(b, 5<<3, codec)
	}
	field(6<<3|2, body)
	return sized(string(b))
}

func v5HTTP(first string, header ...string) string {
	body := header[len(header)-1]
	return first + "\r\n" + strings.Join(header[:len(header)-1], "\r\n") + "\r\n\r\n" + body
}

const (
	businessArg  = `{"Code":1234,"Message":"é 1","Cause":"k=v"}`
	businessJSON = `{"code":1234,"message":"é 1","reason":"k=v"}`
	notFoundJSON = `{"code":404,"message":"Not Found"}`
	jsonType     = "Content-Type: application/json;charset=utf-8"
	plainType    = "Content-Type: text/plain;charset=utf-8"
	agent        = "User-Agent: teleport-httproto/1.1"
)

func v5Scripts(t *testing.T) []v5Script {
	hex := func(s string) string { return string(unhex(t, s)) }
	kept := "kept=yes&" + v5Error(businessJSON)
	return []v5Script{
		{
			name: "json", detects: jsonproto.NewJSONProtoFunc(), v5: jsonproto.NewJSONProtoFunc(jsonproto.V5),
			call:    hex("0000006b007b22736571223a312c226d74797065223a312c22736572766963654d6574686f64223a222f6d6174682f616464222c226d657461223a226b3d7625323031253246254333254139222c22626f6479436f646563223a3130362c22626f6479223a225b312c322c335d227d"),
			reply:   v5JSON(1, 2, "", "who=srv%201", jsonID, "6"),
			lost:    v5JSON(3, 1, "/no/such", "", jsonID, ""),
			none:    v5JSON(3, 2, "", v5Error(notFoundJSON), 0, ""),
			fail:    v5JSON(4, 1, "/fail/business", "", jsonID, businessArg),
			failure: v5JSON(4, 2, "", kept, 0, ""),
			push:    v5JSON(6, 3, "/note/say", "", jsonID, `"hi"`),
			auth:    v5JSON(1, 4, "", "", plainID, "tok"),
			welcome: v5JSON(1, 5, "", "", plainID, "pass"),
		},
		{
			name: "protobuf", detects: pbproto.NewPbProtoFunc(), v5: pbproto.NewPbProtoFunc(pbproto.V5),
			call:    hex("0000002d00080110011a092f6d6174682f61646422106b3d7625323031253246254333254139286a32075b312c322c335d"),
			reply:   v5PB(1, 2, "", "who=srv%201", jsonID, "6"),
			lost:    v5PB(3, 1, "/no/such", "", jsonID, ""),
			none:    v5PB(3, 2, "", v5Error(notFoundJSON), 0, ""),
			fail:    v5PB(4, 1, "/fail/business", "", jsonID, businessArg),
			failure: v5PB(4, 2, "", kept, 0, ""),
			push:    v5PB(6, 3, "/note/say", "", jsonID, `"hi"`),
			auth:    v5PB(1, 4, "", "", plainID, "tok"),
			welcome: v5PB(1, 5, "", "", plainID, "pass"),
		},
		{
			name: "http", detects: httproto.NewHTTProtoFunc(), v5: httproto.NewHTTProtoFunc(httproto.V5),
			call: v5HTTP("POST /math/add HTTP/1.1", "Accept-Encoding: gzip", "Content-Length: 7", jsonType, "K: v 1/é", agent,
				"X-Mtype: 1", "X-Seq: 1", "[1,2,3]"),
			reply: hex("485454502f312e3120323030204f4b0d0a436f6e74656e742d4c656e6774683a20310d0a436f6e74656e742d547970653a206170706c69636174696f6e2f6a736f6e3b636861727365743d7574662d380d0a57686f3a2073727620310d0a582d4d747970653a20320d0a582d5365713a20310d0a0d0a36"),
			lost: v5HTTP("POST /no/such HTTP/1.1", "Accept-Encoding: gzip", "Content-Length: 0", jsonType, agent,
				"X-Mtype: 1", "X-Seq: 3", ""),
			none: v5HTTP("HTTP/1.1 299 Business Error", "Content-Length: 34", "Content-Type: application/json",
				"X-Mtype: 2", "X-Seq: 3", notFoundJSON),
			fail: v5HTTP("POST /fail/business HTTP/1.1", "Accept-Encoding: gzip", fmt.Sprint("Content-Length: ", len(businessArg)), jsonType, agent,
				"X-Mtype: 1", "X-Seq: 4", businessArg),
			failure: v5HTTP("HTTP/1.1 299 Business Error", fmt.Sprint("Content-Length: ", len(businessJSON)), "Content-Type: application/json",
				"Kept: yes", "X-Mtype: 2", "X-Seq: 4", businessJSON),
			auth:    v5HTTP("POST  HTTP/1.1", "Accept-Encoding: gzip", "Content-Length: 3", plainType, agent, "X-Mtype: 4", "X-Seq: 1", "tok"),
			welcome: v5HTTP("HTTP/1.1 200 OK", "Content-Length: 4", plainType, "X-Mtype: 5", "X-Seq: 1", "pass"),
		},
	}
}

// exactly reads as much as want has, and wants it to be that.
func (c v5Conn) exactly(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		c.t.Fatalf("got %v\n%q, want\n%q", err, got[:n], want)
	}
}

// A v5 client calls our server, by each of its protocols. Each exchange is also
// the first of a connection, and has to be told from the other dialect.
func TestV5ProtoClient(t *testing.T) {
	for _, s := range v5Scripts(t) {
		for name, pf := range map[string]tp.ProtoFunc{
			"detects": s.detects, "begins with V5": s.v5, "knows several": tp.AnyProto("raw", "protobuf", "json", "http"),
		} {
			t.Run(s.name+", "+name, func(t *testing.T) {
				o := newOurs(t, tp.PeerConfig{})
				addr := o.listen(t, pf)
				all := dialV5(t, addr)
				for what, x := range map[string][2]string{
					"call": {s.call, s.reply}, "not found": {s.lost, s.none}, "business error": {s.fail, s.failure},
				} {
					t.Run(what, func(t *testing.T) {
						for _, c := range []v5Conn{dialV5(t, addr), all} {
							c.t = t
							c.send([]byte(x[0]))
							c.exactly(x[1])
						}
					})
				}
				if s.push == "" {
					return
				}
				c := dialV5(t, addr)
				c.send([]byte(s.push))
				if n := receive(t, "push", o.heard); n.text != "hi" || len(n.meta) > 0 {
					t.Errorf("got %q", n)
				}
				c.send([]byte(s.call)) // nothing was sent for the push
				c.exactly(s.reply)
			})
		}
		if s.auth == "" {
			continue
		}
		t.Run(s.name+", authentication", func(t *testing.T) {
			o := newOurs(t, tp.PeerConfig{}, ourCheckerOf("tok"))
			c := dialV5(t, o.listen(t, s.detects))
			c.send([]byte(s.auth))
			c.exactly(s.welcome)
			c.send([]byte(s.call))
			c.exactly(s.reply)
		})
	}
}

// Our client, told to speak V5, calls a v5 server by each of its protocols.
func TestV5ProtoServer(t *testing.T) {
	for _, s := range v5Scripts(t) {
		t.Run(s.name, func(t *testing.T) {
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer lis.Close()
			o := newOurs(t, tp.PeerConfig{})
			o.dial(t, lis.Addr().String(), s.v5)
			conn, err := lis.Accept()
			if err != nil {
				t.Fatal(err)
			}
			c := newV5Conn(t, conn)
			sum := 0
			for _, step := range []struct {
				method         string
				arg, result    any
				expect, answer string
				want           fault
			}{
				{"/math/add", []int{1, 2, 3}, &sum, s.call, s.reply, fault{}},
				{"/skipped", nil, nil, "", "", fault{}},
				{"/no/such", nil, nil, s.lost, s.none, fault{404, "Not Found", ""}},
				{"/fail/business", &ErrorArg{1234, "é 1", "k=v"}, nil, s.fail, s.failure, fault{1234, "é 1", "k=v"}},
			} {
				var set []tp.MessageSetting
				if step.method == "/math/add" {
					set = append(set, tp.WithSetMeta("k", "v 1/é"))
				}
				if step.expect == "" { // a number is used up by a call that is not sent
					o.sess.AsyncCall(step.method, make(chan int), nil, nil)
					continue
				}
				cmd := o.sess.AsyncCall(step.method, step.arg, step.result, nil, set...)
				c.exactly(step.expect)
				c.send([]byte(step.answer))
				receive(t, "reply", cmd.Done())
				if got := ourFault(cmd.Rerror()); got != step.want {
					t.Errorf("%s: got %v, want %v", step.method, got, step.want)
				}
			}
			if sum != 6 {
				t.Errorf("got %d, want 6", sum)
			}
			if s.push == "" {
				return
			}
			c.send([]byte(s.push))
			if n := receive(t, "push", o.heard); n.text != "hi" {
				t.Errorf("got %q", n)
			}
			o.sess.AsyncCall("/skipped", make(chan int), nil, nil)
			if f := o.push(exchange{method: "/note/say", arg: "hi"}); f.code != 0 {
				t.Error(f)
			}
			c.exactly(s.push)
		})
	}
}
