package framing

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

func TestFieldError(t *testing.T) {
	cause := errors.New("cause")
	for _, test := range []struct {
		err  *FieldError
		want string
	}{
		{&FieldError{Proto: "x", Field: "seq", Fault: "of 9 bytes"}, "x: seq of 9 bytes"},
		{&FieldError{Proto: "x", Field: "body", Err: cause, Whole: true}, "x: body: cause"},
		{&FieldError{Proto: "x", Field: "body", Fault: "of 2", Err: cause}, "x: body of 2: cause"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("Error() = %q, want %q", got, test.want)
		}
		if got := errors.Is(test.err, socket.ErrBadMessage); got != test.err.Whole {
			t.Errorf("%v matches ErrBadMessage: %v, want %v", test.err, got, test.err.Whole)
		}
		if got := errors.Is(test.err, cause); got != (test.err.Err != nil) {
			t.Errorf("%v matches its cause: %v", test.err, got)
		}
	}
}

func TestStatus(t *testing.T) {
	for _, test := range []struct {
		name  string
		mtype byte
		rerr  *socket.Rerror
		want  string
	}{
		{"call", socket.TypeCall, socket.NewRerror(1, "m", "c"), "code=0"},
		{"no error", socket.TypeReply, nil, "code=0"},
		{"error", socket.TypeReply, socket.NewRerror(404, "Not Found", ""), "code=404&msg=Not%20Found&cause="},
		{"cause", socket.TypeAuthReply, socket.NewRerror(-1, "", "a=b&"), "code=-1&cause=a%3Db%26"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := socket.NewMessage(socket.WithMtype(test.mtype), socket.WithRerror(test.rerr))
			got := string(AppendStatus([]byte("x"), m))
			if got != "x"+test.want {
				t.Errorf("AppendStatus = %q, want x%s", got, test.want)
			}
			want := "<nil>"
			if test.want != StatusOK {
				want = test.rerr.String()
			}
			if got := ParseStatus([]byte(test.want)).String(); got != want {
				t.Errorf("ParseStatus(%q) = %s, want %s", test.want, got, want)
			}
		})
	}
	for _, none := range []string{"", "code=x", "code=0&msg=z", "msg=z", "code=99999999999"} {
		if r := ParseStatus([]byte(none)); r != nil {
			t.Errorf("ParseStatus(%q) = %v, want nil", none, r)
		}
	}
}

func TestMeta(t *testing.T) {
	rerr := socket.NewRerror(404, "", "")
	const own, sent = "X-Reply-Error=%7B%22code%22%3A1%7D", "X-Reply-Error=%7B%22code%22%3A404"
	for _, test := range []struct {
		name  string
		mtype byte
		rerr  *socket.Rerror
		meta  string
		want  string // a prefix
		n     int    // how often the key is there
	}{
		{"none", socket.TypeCall, nil, "", "", 0},
		{"a call's", socket.TypeCall, rerr, "a=1&b=2", "a=1&b=2", 0},
		{"a call has no such key", socket.TypeCall, nil, "a=1&" + own + "&b=2", "a=1&b=2", 0},
		{"a reply has it from its error", socket.TypeReply, rerr, "a=1", "a=1&" + sent, 1},
		{"from nowhere else", socket.TypeAuthReply, rerr, own + "&a=1&" + own, "a=1&" + sent, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := socket.NewMessage(socket.WithMtype(test.mtype), socket.WithRerror(test.rerr))
			m.Meta().ParseBytes([]byte(test.meta))
			before := m.Meta().String()
			got := AppendMeta(nil, m)
			if !bytes.HasPrefix(got, []byte(test.want)) || bytes.Count(got, []byte("X-Reply-Error")) != test.n {
				t.Errorf("AppendMeta = %q, want %q… with the key %d times", got, test.want, test.n)
			}
			if m.Meta().String() != before {
				t.Errorf("the message's own became %s, from %s", m.Meta(), before)
			}
			into := socket.NewMessage()
			f := Fields{Mtype: test.mtype, Meta: got}
			if err := f.Fill(into); err != nil || into.Meta().Has(socket.MetaReplyError) {
				t.Errorf("Fill: %v, metadata %s", err, into.Meta())
			}
			if got := into.Rerror().HasError(); got != (test.n > 0) {
				t.Errorf("arrives with %v", into.Rerror())
			}
		})
	}
}

func TestFill(t *testing.T) {
	m := socket.NewMessage(socket.WithAddMeta("old", "1"), socket.WithRerror(socket.NewRerror(9, "", "")))
	f := Fields{Seq: -3, Mtype: socket.TypeReply, Codec: 'j', ServiceMethod: []byte("/a"), Meta: []byte("k=v&X-Reply-Error=x"),
		HasStatus: true, Status: []byte("code=7&msg=m"), Body: []byte("hi")}
	want := `-3 2 j /a k=v&X-Reply-Error=x {"code":7,"message":"m"} hi`
	for range 2 {
		if err := f.Fill(m); err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%d %d %c %s %s %v %s", m.Seq(), m.Mtype(), m.BodyCodec(), m.ServiceMethod(), m.Meta(), m.Rerror(),
			m.(*socket.Envelope).RawBody())
		if got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
		f = Fields{Mtype: socket.TypeCall, HasStatus: true, Status: []byte("code=7")}
		want = "0 1 \x00   <nil> "
	}
}
