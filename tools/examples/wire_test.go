package examples

import (
	"bytes"
	"encoding/hex"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/tptest"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/protos/httproto"
	"github.com/teleport-go/teleport/protos/jsonproto"
	"github.com/teleport-go/teleport/protos/pbproto"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// wireProtos are the protocols of doc/wire.md, with the folder of each.
var wireProtos = map[string]struct {
	dir string
	fn  socket.ProtoFunc
}{
	"raw":      {"rawproto", rawproto.NewRawProtoFunc()},
	"json":     {"jsonproto", jsonproto.NewJSONProtoFunc()},
	"protobuf": {"pbproto", pbproto.NewPbProtoFunc()},
	"http":     {"httproto", httproto.NewHTTProtoFunc()},
}

// wireMessage is what a vector of doc/wire.md says.
type wireMessage struct {
	seq           int32
	mtype         byte
	service, meta string
	codec         byte
	body          string
	code          int32
}

var (
	wireCall  = wireMessage{1, socket.TypeCall, "/math/add", "k=v%201%2F%C3%A9", 'j', "[1,2,3]", 0}
	wireReply = wireMessage{1, socket.TypeReply, "", "who=srv%201", 'j', "6", 0}
	wirePush  = wireMessage{6, socket.TypePush, "/note/say", "", 'j', `"hi"`, 0}
)

var wireMessages = map[string]wireMessage{
	"raw seed-call":         wireCall,
	"raw v5-call":           wireCall,
	"raw v7-call":           wireCall,
	"raw seed-reply":        wireReply,
	"raw seed-404":          {3, socket.TypeReply, "", "", 0, "", 404},
	"raw v7-404":            {3, socket.TypeReply, "", "", 0, "", 404},
	"raw seed-push":         wirePush,
	"raw seed-heartbeat":    {1, socket.TypeCall, "/heartbeat", "hb_=3", 'j', "", 0},
	"raw seed-md5":          {2, socket.TypeCall, "/math/add", "", 'j', "[1,2,3]", 0},
	"raw seed-auth-call":    {1, socket.TypeAuthCall, "", "", 's', "tok", 0},
	"raw seed-hello":        {0, socket.TypeControl, "hello", "v=1&f=cancel", 0, "", 0},
	"raw seed-hello-stream": {0, socket.TypeControl, "hello", "v=1&f=cancel%2Cstream&w=16384", 0, "", 0},
	"raw seed-stream":       {5, socket.TypeCall, "/chat", "X-Stream=262144", 'j', "", 0},
	"raw seed-data":         {5, socket.TypeData, "", "", 'j', `"hi"`, 0},
	"raw seed-data-back":    {-5, socket.TypeData, "", "", 'j', `"oh"`, 0},
	"raw seed-credit":       {-5, socket.TypeControl, "credit", "n=131104&m=1928", 0, "", 0},
	"raw seed-end":          {5, socket.TypeControl, "end", "", 0, "", 0},
	"raw seed-reset":        {-5, socket.TypeControl, "reset", "code=400&reason=credit", 0, "", 0},
	"raw seed-cancel":       {3, socket.TypeControl, "cancel", "", 0, "", 0},
	"raw seed-bye":          {0, socket.TypeControl, "bye", "n=0", 0, "", 0},
	"raw seed-bye-409":      {0, socket.TypeControl, "bye", "n=7&code=409&message=Conflict&reason=id%20taken", 0, "", 0},
	"raw seed-auth-reply":   {1, socket.TypeAuthReply, "", "", 's', "pass", 0},
	"json v5-call":          wireCall,
	"json v5-push":          wirePush,
	"protobuf v5-call":      wireCall,
	"http v5-call":          {1, socket.TypeCall, "/math/add", "K=v%201%2F%C3%A9", 'j', "[1,2,3]", 0},
	"http v5-reply":         {1, socket.TypeReply, "", "Who=srv%201", 'j', "6", 0},
}

var vector = regexp.MustCompile("(?ms)^```(hex|json|http) (\\w+ [\\w-]+)\n(.*?)\n```$")

// TestWireVectors decodes the vectors of doc/wire.md, and compares them with the
// golden files of the protocols.
func TestWireVectors(t *testing.T) {
	seen := 0
	for _, m := range vector.FindAllStringSubmatch(read(t, "doc/wire.md"), -1) {
		seen++
		t.Run(m[2], func(t *testing.T) {
			frame := vectorBytes(t, m[1], m[3])
			name, file, _ := strings.Cut(m[2], " ")
			p, ok := wireProtos[name]
			if !ok {
				t.Fatalf("no protocol %q", name)
			}
			golden, err := hex.DecodeString(strings.TrimSpace(read(t, "protos/"+p.dir+"/testdata/golden/"+file+".hex")))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(frame, golden) {
				t.Fatalf("the page has\n%x\nand the golden file\n%x", frame, golden)
			}
			want, ok := wireMessages[m[2]]
			if !ok {
				t.Fatal("the test does not know what it says")
			}
			if got := decodeVector(t, p.fn, frame); got != want {
				t.Errorf("decoded %+v; want %+v", got, want)
			}
		})
	}
	if seen != len(wireMessages) {
		t.Errorf("doc/wire.md has %d vectors; want %d", seen, len(wireMessages))
	}
}

// vectorBytes is what a block stands for: hex with comments, a JSON document behind
// a head in hex, or text with lines that end in CR and LF.
func vectorBytes(t *testing.T, kind, text string) []byte {
	t.Helper()
	var tail string
	switch kind {
	case "http":
		return []byte(strings.ReplaceAll(text, "\n", "\r\n"))
	case "json":
		head, doc, _ := strings.Cut(text, "{")
		text, tail = head, "{"+doc
	}
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return append(b, tail...)
}

func decodeVector(t *testing.T, fn socket.ProtoFunc, frame []byte) wireMessage {
	t.Helper()
	a, b := tptest.Pipe()
	defer a.Close()
	if _, err := a.Write(frame); err != nil {
		t.Fatal(err)
	}
	s := socket.NewSocket(net.Conn(b), fn)
	defer s.Close()
	m := socket.NewMessage(socket.WithNewBody(func(socket.Header) any { return new([]byte) }))
	if err := s.ReadMessage(m); err != nil {
		t.Fatal(err)
	}
	body, _ := m.Body().(*[]byte)
	got := wireMessage{m.Seq(), m.Mtype(), m.ServiceMethod(), m.Meta().String(), m.BodyCodec(), "", socket.Code(m.Rerror().Err())}
	if body != nil {
		got.body = string(*body)
	}
	return got
}
