package pbproto

import (
	"testing"

	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
)

func init() { prototest.RegisterFilters() }

// dialectTests are the tests that this protocol shares with others.
var dialectTests = prototest.Framed[Dialect]{
	Payload: "\x08\x01\x10\x01",
	Bad:     badPayloads,
	Dialects: prototest.Dialects[Dialect]{
		Name:   Name,
		New:    NewPbProtoFunc,
		All:    []Dialect{V5, V7},
		Status: V7,
		StatusReply: func(status string) []byte {
			return framed("", "\x10\x02\x22"+string([]byte{byte(len(status))})+status)
		},
		Goldens: goldens,
	}}

var goldens = prototest.Messages()

func TestDialects(t *testing.T) { dialectTests.Run(t) }

var (
	message = prototest.Message
	picture = prototest.Picture
	pass    = prototest.Pass
	framed  = prototest.Frame
	connect = dialectTests.Connect
	current = dialectTests.Current
)

// read reads the one message of a frame.
func read(frame []byte) (socket.Message, error) {
	_, s := connect(nil, nil)
	s.Arrive(frame)
	m := socket.NewMessage()
	return m, s.Unpack(m)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
