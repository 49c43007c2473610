package socket_test

import (
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

func TestRoutes(t *testing.T) {
	for _, test := range []struct {
		text, key string
		reachable bool
	}{
		{"/a/b", "/a/b", true},
		{"a", "a", true},
		{"Home.Test", "Home.Test", true},
		{"/", "/", true},
		{"/a b", "/a b", true},
		{"/é/世界", "/é/世界", true},
		{"/a/", "/a/", true},
		{"/a//b", "/a//b", true},
		{"/a:b", "/a:b", true},
		{"/a+b&c=d;e@f", "/a+b&c=d;e@f", true},
		{"", "", false}, // with a query, a message without a service method
		{"/a#b", "/a", false},
		{"#", "", false},
		{"//a", "", false},
		{"//a/b", "/b", false},
		{"/%41", "/A", false},
		{"/a%2Fb", "/a/b", false},
		{"/a%20b", "/a b", false},
		{"/a%zz", "/a%zz", false}, // not with a query
		{"/100%", "/100%", false}, // nor this
		{"/a?b", "/a", false},
		{"/a?", "/a", false},
		{"?", "", false},
		{"a:b", "", false},
		{"1:b", "1:b", false},
		{"http://host/a", "/a", false},
		{"mailto:a@b", "", false},
		{"/a\nb", "/a\nb", false},
		{"/a\x7f", "/a\x7f", false},
	} {
		if got := socket.RouteKeyOf(test.text); got != test.key {
			t.Errorf("RouteKeyOf(%q) = %q, want %q", test.text, got, test.key)
		}
		if got := socket.RouteReachable(test.text); got != test.reachable {
			t.Errorf("RouteReachable(%q) = %v, want %v", test.text, got, test.reachable)
		}
		m := new(socket.Envelope)
		m.SetServiceMethod(test.text)
		if got := m.RouteKey(); got != test.key {
			t.Errorf("the RouteKey of a message for %q is %q, want %q", test.text, got, test.key)
		}
	}
}
