package socket_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

func TestTLSRecord(t *testing.T) {
	for _, test := range []struct{ name, prefix, want string }{
		{"fatal alert", "\x15\x03\x03\x00\x02\x02\x0a", "alert"},
		{"warning, the bytes that are needed", "\x15\x03\x01\x00\x02\x01", "alert"},
		{"client hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "handshake"},
		{"server hello", "\x16\x03\x03\x00\x7a\x02", "handshake"},
		{"nothing", "", ""},
		{"too few bytes", "\x15\x03\x03\x00\x02", ""},
		{"an alert of another length", "\x15\x03\x03\x00\x03\x02", ""},
		{"an alert of no level", "\x15\x03\x03\x00\x02\x03", ""},
		{"another version", "\x15\x02\x03\x00\x02\x02", ""},
		{"application data", "\x17\x03\x03\x00\x20\x01", ""},
		{"a raw frame of 352 MB", "\x15\x03\x03\x00r\x00", ""},
		{"a JSON frame of 369 MB", "\x16\x03\x01\x02\x00{", ""},
		{"a short raw frame", "\x00\x00\x00\x2dr\x00", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := socket.TLSRecord([]byte(test.prefix))
			if (err == nil) != (test.want == "") || err != nil && (!errors.Is(err, socket.ErrTLS) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("TLSRecord = %v, want the %s", err, test.want)
			}
		})
	}
}

// A plain peer of a TLS server gets an alert, and the server's error says what the
// peer has sent.
func TestRefusePlain(t *testing.T) {
	for _, test := range []struct{ name, sends, want string }{
		{"a frame", "\x00\x00\x00\x2dr\x00\x011\x01", `a frame without encryption ("\x00\x00\x00-r")`},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", `an HTTP request ("GET /")`},
		{"anything else", "hello world", `it sent "hello"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, server := net.Pipe()
			defer client.Close()
			answer := make(chan string, 1)
			go func() {
				io.WriteString(client, test.sends)
				b, _ := io.ReadAll(client)
				answer <- string(b)
			}()
			err := tls.Server(server, &tls.Config{}).Handshake()
			if err == nil {
				t.Fatal("the handshake succeeds")
			}
			err = socket.RefusePlain(err)
			server.Close()
			var record tls.RecordHeaderError
			if !strings.Contains(err.Error(), test.want) || !errors.As(err, &record) {
				t.Errorf("error %v, want %s", err, test.want)
			}
			if got := <-answer; socket.TLSRecord([]byte(got)) == nil {
				t.Errorf("the peer is sent %q, want a TLS alert", got)
			}
		})
	}
	t.Run("TLS, but not as it should be", func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		go func() {
			// A hello that is none.
			client.Write(append([]byte("\x16\x03\x01\x00\x08\x01\x00\x00\x04"), bytes.Repeat([]byte{9}, 4)...))
			io.Copy(io.Discard, client)
		}()
		err := tls.Server(server, &tls.Config{}).Handshake()
		if got := socket.RefusePlain(err); got != err || err == nil {
			t.Errorf("RefusePlain(%v) = %v, want the same", err, got)
		}
		server.Close()
	})
}
