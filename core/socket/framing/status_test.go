package framing

import (
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

func TestIsStatus(t *testing.T) {
	for _, test := range []struct {
		status      string
		reply, call bool // in a message of that type
	}{
		{"", false, false},
		{"code=0", true, true},
		{"code=0&a=b", false, false},
		{"code=0&msg=", true, false},
		{"code=404&msg=Not%20Found&cause=", true, false},
		{"code=404", true, false},
		{"code=-1&cause=x", true, false},
		{"code=7&msg=x", true, false},
		{"code=x", false, false},
		{"code=99999999999", false, false},
		{"code=4&msg=a&cause=b&c=d", false, false},
		{"code=4&k=v", false, false},
		{"msg=a&code=4", false, false},
		{"code=4&cause=a&msg=b", false, false},
		{"code=4&msg=a b", false, false},
		{"code=4&msg=a%3d", false, false},
		{"code=4&msg=%41", false, false},
		{"code=4&msg=%2", false, false},
		{"code=4&msg=%C3%A9", true, false},
	} {
		for mtype, want := range map[byte]bool{socket.TypeReply: test.reply, socket.TypeAuthReply: test.reply,
			socket.TypeCall: test.call, socket.TypePush: test.call} {
			if got := IsStatus(mtype, []byte(test.status)); got != want {
				t.Errorf("IsStatus(%s, %q) = %v, want %v", socket.TypeText(mtype), test.status, got, want)
			}
		}
	}
}

// What AppendStatus writes is a status.
func TestIsStatusOfWritten(t *testing.T) {
	for _, text := range []string{"", "plain", "a b&c=d%", "\x00\xff", "é世界~'()"} {
		m := socket.NewMessage(socket.WithMtype(socket.TypeReply), socket.WithRerror(socket.NewRerror(-7, text, text)))
		if b := AppendStatus(nil, m); !IsStatus(socket.TypeReply, b) {
			t.Errorf("IsStatus(%q) = false, want true", b)
		}
	}
}
