package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/protos/httproto"
	"github.com/teleport-go/teleport/protos/jsonproto"
	"github.com/teleport-go/teleport/protos/pbproto"
	"github.com/teleport-go/teleport/protos/rawproto"
	"github.com/teleport-go/teleport/protos/thriftproto"
)

// speakers are clients and servers of one protocol each, and what the first bytes of
// the client look like to others.
var speakers = []struct {
	name  string
	proto tp.ProtoFunc
	like  string
}{
	{"raw", rawproto.NewRawProtoFunc(), "a raw frame"},
	{"raw v5", rawproto.NewRawProtoFunc(rawproto.V5), "a raw frame of v5 or v7"},
	{"raw v7", rawproto.NewRawProtoFunc(rawproto.V7), "a raw frame of v5 or v7"},
	{"json", jsonproto.NewJSONProtoFunc(), "a json frame"},
	{"protobuf", pbproto.NewPbProtoFunc(), "a protobuf frame"},
	{"protobuf v7", pbproto.NewPbProtoFunc(pbproto.V7), "a protobuf frame"},
	{"thrift-binary", thriftproto.NewBinaryProtoFunc(), "a thrift frame"},
	{"http", httproto.NewHTTProtoFunc(), "an HTTP request"},
}

// family is the protocol without its dialect.
func family(name string) string {
	name, _, _ = strings.Cut(name, " ")
	return name
}

// A client of another protocol than the server's is refused at its first frame, with
// words at both sides, whichever two they are.
func TestWrongProtocol(t *testing.T) {
	for _, srv := range speakers {
		for _, cli := range speakers {
			if family(srv.name) == family(cli.name) {
				continue
			}
			t.Run(cli.name+" at "+srv.name, func(t *testing.T) {
				log, logger := logged(t)
				p := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Logger: logger})
				defer p.Close()
				addr := tptest.Listen(t, p, srv.proto)
				c := tp.NewPeer(tp.PeerConfig{Logger: logger})
				defer c.Close()
				s, r := c.Dial(addr, cli.proto)
				if r != nil {
					t.Fatal(r)
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				r = s.Call("/echo", "x", nil, tp.WithContext(ctx)).Rerror()
				if r == nil || r.Code != tp.CodeConnClosed || !strings.Contains(r.Reason, "protocol") && !strings.Contains(r.Reason, "looks like") {
					t.Errorf("the call: %v, want %d and words about the protocol", r, tp.CodeConnClosed)
				}
				select {
				case <-s.CloseNotify():
				case <-ctx.Done():
					t.Error("the session lives")
				}
				log.with(t, "WARN", "refused what "+s.LocalAddr().String()+" sent first", cli.like)
			})
		}
	}
}

// Clients of other protocols of text are answered and refused, in whatever pieces
// their first line comes.
func TestTextAtHTTP(t *testing.T) {
	for name, first := range map[string]string{
		"ssh": "SSH-2.0-OpenSSH_9.6\r\n", "smtp": "EHLO example.com\r\n", "redis": "*1\r\n$4\r\nPING\r\n", "redis inline": "PING\r\n",
		"without CR": "HELLO\n", "binary": "\x00\x01\x02\x03\x04\x05\x06\x07",
	} {
		t.Run(name, func(t *testing.T) {
			log, logger := logged(t)
			p := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Logger: logger})
			defer p.Close()
			c, err := net.Dial("tcp", tptest.Listen(t, p, httproto.NewHTTProtoFunc()))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			for _, piece := range []string{first[:3], first[3:]} {
				if _, err := io.WriteString(c, piece); err != nil {
					break // refused by the first piece
				}
			}
			answer, _ := io.ReadAll(c)
			if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
				t.Errorf("answered %q, want 400", answer)
			}
			log.with(t, "WARN", "refused what "+c.LocalAddr().String()+" sent first")
		})
	}
}

// A client that has dialled a server of something else ends with words, whether that
// speaks first or answers.
func TestOtherServers(t *testing.T) {
	for name, greeting := range map[string]string{
		"ssh": "SSH-2.0-OpenSSH_9.6\r\n", "smtp": "220 mail.example.com ESMTP\r\n", "redis": "-ERR unknown command\r\n", "http": "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
	} {
		for _, cli := range speakers {
			if name == cli.name {
				continue
			}
			t.Run(cli.name+" at "+name, func(t *testing.T) {
				lis, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer lis.Close()
				go func() {
					c, err := lis.Accept()
					if err != nil {
						return
					}
					defer c.Close()
					io.WriteString(c, greeting)
					io.Copy(io.Discard, bufio.NewReader(c)) // it waits for more
				}()
				_, logger := logged(t)
				p := tp.NewPeer(tp.PeerConfig{Logger: logger})
				defer p.Close()
				s, r := p.Dial(lis.Addr().String(), cli.proto)
				if r != nil {
					t.Fatal(r)
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				r = s.Call("/echo", "x", nil, tp.WithContext(ctx)).Rerror()
				if r == nil || r.Code != tp.CodeConnClosed || !strings.Contains(r.Reason, strings.TrimSpace(greeting[:4])) && cli.name != "thrift-binary" {
					t.Errorf("the call: %v, want %d and the greeting", r, tp.CodeConnClosed)
				}
			})
		}
	}
}

// A name that no import has registered is an error of Listen.
func TestUnknownName(t *testing.T) {
	p := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"})
	defer p.Close()
	if err := p.Listen(tp.AnyProto("raw", "nosuch")); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("Listen = %v, want an error that names it", err)
	}
}
