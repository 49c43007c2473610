package jsonproto

import (
	"errors"
	"fmt"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

// A dialled connection of a named dialect writes no other, and reads both.
func TestNamedDialect(t *testing.T) {
	for _, d := range []Dialect{V5, V7} {
		for _, other := range []Dialect{V5, V7} {
			t.Run(fmt.Sprintf("%v receives %v", d, other), func(t *testing.T) {
				c, s := connect([]Dialect{d}, []Dialect{other})
				for _, name := range []string{"call", "reply", "404"} {
					pass(t, s, c, goldens[name]())
				}
				if current(c) != d {
					t.Errorf("writes %v afterwards, want %v", current(c), d)
				}
			})
		}
	}
}

// What a connection takes the first frame for.
func TestFirstFrame(t *testing.T) {
	for _, test := range []struct {
		name, payload string
		want          Dialect
	}{
		{"v5", `{"seq":1,"mtype":1,"serviceMethod":"/a","meta":"","bodyCodec":106,"body":"1"}`, V5},
		{"v5, metadata like a status", `{"seq":1,"mtype":1,"serviceMethod":"/a","meta":"code=0","bodyCodec":106,"body":"1"}`, V5},
		{"v5, error", `{"seq":1,"mtype":2,"serviceMethod":"","meta":"X-Reply-Error=%7B%22code%22%3A404%7D","bodyCodec":0,"body":""}`, V5},
		{"v7", `{"seq":1,"mtype":1,"serviceMethod":"/a","status":"code=0","meta":"","bodyCodec":106,"body":"1"}`, V7},
		{"v7, empty status", `{"seq":1,"mtype":1,"serviceMethod":"/a","status":"","meta":"","bodyCodec":106,"body":"1"}`, V7},
		{"v7, null status", `{"seq":1,"mtype":1,"serviceMethod":"/a","status":null,"meta":"","bodyCodec":106,"body":"1"}`, V7},
		{"v7, last", `{"mtype":1,"body":"1","status":"code=0"}`, V7},
		{"v5, status inside", `{"mtype":1,"x":{"status":"code=0"},"body":"\"status\":1"}`, V5},
		{"nothing", "{}", V5},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, s := connect(nil, nil)
			s.Arrive(framed("", test.payload))
			must(s.Unpack(socket.NewMessage()))
			if got := current(s); got != test.want {
				t.Errorf("taken for %v, want %v", got, test.want)
			}
			pass(t, s, c, goldens["404"]())
		})
	}
}

// What cannot be read settles nothing.
func TestBadFirstFrame(t *testing.T) {
	c, s := connect([]Dialect{V7}, nil)
	s.Arrive(framed("", `{"mtype":1,`))
	s.Arrive(framed("\x01", `{}`))
	s.Arrive(framed("", `{"seq":"x"}`))
	for range 3 {
		if err := s.Unpack(socket.NewMessage()); !errors.Is(err, socket.ErrBadMessage) {
			t.Fatalf("unpack: %v, want ErrBadMessage", err)
		}
	}
	pass(t, c, s, goldens["call"]())
	pass(t, s, c, goldens["404"]())
}

func TestVersion(t *testing.T) {
	for _, named := range dialectTests.Arguments() {
		c, _ := connect(named, nil)
		if id, name := c.Version(); id != 'j' || name != "json" {
			t.Errorf("%v: Version = %d, %q; want j, json", named, id, name)
		}
	}
}

func TestRecognise(t *testing.T) {
	dialectTests.Recognise(t, "{", map[string]bool{"\x00\x00\x00\x6b\x00\x08": false})
}
