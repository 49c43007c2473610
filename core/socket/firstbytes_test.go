package socket_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

func TestLooksLike(t *testing.T) {
	for _, test := range []struct{ prefix, want string }{
		{"", ""},
		{"\x00\x00\x00\x10", ""},
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"},
		{"GET / HTTP/1.1\r\nHost: x\r\n", "an HTTP request"},
		{"HTTP/1.1 200 OK\r\n", "an HTTP response"},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2"},
		{"SSH-2.0-OpenSSH_9.6\r\n\x00\x01", "SSH"},
		{"220 mail ESMTP\r\n", "text"},
		{"EHLO", "text"},
		{"EHL", ""},
		{"text \x1b[31m", ""},
		{"\x00\x00\x00\x10r\x00\x010", "a raw frame"},
		{"\x00\x00\x00\x10\x0f\xff\x00\x00", "a thrift frame"},
		{"\x00\x00\x00\x10\x00{\"seq\"", "a json frame"},
		{"\x00\x00\x00\x10\x00\x08\x01", "a protobuf frame"},
		{"\x00\x00\x00\x10\x00\x10\x01", "a protobuf frame"},
		{"\x00\x00\x00\x10\x00\x011", "a raw frame of v5 or v7"},
		{"\x00\x00\x00\x10\x00\xfe", ""},
		{"\x00\x00\x00\x10\x01g\x1f\x8b", ""},
	} {
		if got := socket.LooksLike([]byte(test.prefix)); got != test.want {
			t.Errorf("LooksLike(%q) = %q, want %q", test.prefix, got, test.want)
		}
	}
}

func FuzzLooksLike(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add([]byte("\x00\x00\x00\x10\x00{"))
	f.Fuzz(func(t *testing.T, prefix []byte) {
		err := socket.WrongProto("json", prefix)
		if !errors.Is(err, socket.ErrUnsupportedProto) && !errors.Is(err, socket.ErrTLS) {
			t.Errorf("%v matches neither error", err)
		}
		if text := err.Error(); len(text) > 300 || strings.ContainsAny(text, "\n\x1b") {
			t.Errorf("the text is not for a log: %q", text)
		}
	})
}

func TestCheckProto(t *testing.T) {
	if err := socket.CheckProto(socket.AnyProto("test-one:", "nosuch")); !errors.Is(err, socket.ErrUnsupportedProto) || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("an unknown name: %v, want one that names it", err)
	}
	for name, pf := range map[string]socket.ProtoFunc{"known names": socket.AnyProto("test-one:", "test-three:"), "one protocol": testwire.New} {
		if err := socket.CheckProto(pf); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := socket.CheckProto(socket.AnyProto()); err == nil {
		t.Error("AnyProto without names passes")
	}
}

// Where the protocol has no hint, a peer that closes soon on the first frame may use
// another one.
func TestDefaultHint(t *testing.T) {
	for _, test := range []struct {
		name   string
		dialed bool
		pause  time.Duration
		want   string
	}{
		{"soon", true, time.Second, "another protocol than"},
		{"late", true, 3 * time.Second, ""},
		{"accepted", false, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer near.Close()
				defer far.Close()
				c := socket.NewConn(near, testwire.New, socket.Options{Dialed: test.dialed})
				if hint := c.Hint(); hint != "" {
					t.Errorf("nothing was sent, and Hint = %q", hint)
				}
				if err := c.Enqueue(t.Context(), push(1)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(test.pause)
				if hint := c.Hint(); !strings.Contains(hint, test.want) || test.want == "" && hint != "" {
					t.Errorf("Hint = %q, want %q in it", hint, test.want)
				}
			})
		})
	}
}
