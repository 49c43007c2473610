package pbproto

import (
	"math"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/tptest"
)

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("OFF")
	m.Run()
}

func TestConformance(t *testing.T) {
	for _, named := range [][]Dialect{nil, {V7}} {
		t.Run(dialectTests.Named(named).String(), func(t *testing.T) {
			prototest.Run(t, NewPbProtoFunc(named...), dialectTests.BadFrames("fields 5 and 6 are numbers")...)
		})
	}
}

func TestSessions(t *testing.T) {
	for _, named := range [][]Dialect{nil, {V7}} {
		t.Run(dialectTests.Named(named).String(), func(t *testing.T) { tptest.RunProto(t, NewPbProtoFunc(named...)) })
	}
}

// badPayloads are no messages in either dialect.
var badPayloads = []prototest.BadPayload{
	{"tag 0", "\x00\x01", "protobuf: tag 00 01 is none"},
	{"tag cut", "\x80", "protobuf: tag 80 is none"},
	{"tag of eleven bytes", "\x88\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x01", "protobuf: tag 88 80 80 80 80 80 80 80 80 80 is none"},
	{"tag beyond 29 bits", "\x80\x80\x80\x80\x20", "protobuf: tag 80 80 80 80 20 is none"},
	{"seq cut", "\x08", "protobuf: field 1 has a varint that does not end"},
	{"seq cut in the varint", "\x08\x80", "protobuf: field 1 has a varint that does not end"},
	{"seq of eleven bytes", "\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "protobuf: field 1 has a varint that does not end"},
	{"seq beyond 32 bits", "\x08\x80\x80\x80\x80\x10", "protobuf: field 1 (sequence number) of 4294967296 is beyond 32 bits"},
	{"seq is a string", "\x0a\x011", "protobuf: field 1 is a string of bytes, want a varint"},
	{"type is four bytes", "\x15\x01\x00\x00\x00", "protobuf: field 2 is four bytes, want a varint"},
	{"type beyond a byte", "\x10\x80\x02", "protobuf: field 2 (message type) of 256 is beyond a byte"},
	{"method is a number", "\x18\x01", "protobuf: field 3 is a varint, want a string of bytes"},
	{"method over the end", "\x1a\x05abcd", "protobuf: field 3 of 5 bytes is over the frame's end"},
	{"method of 2^31 bytes", "\x1a\x80\x80\x80\x80\x08abcd", "protobuf: field 3 of 2147483648 bytes is over the frame's end"},
	{"method of 2^64-1 bytes", "\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a", "protobuf: field 3 of 18446744073709551615 bytes is over the frame's end"},
	{"field 4 is a number", "\x20\x01", "protobuf: field 4 is a varint, want a string of bytes"},
	{"field 5 is both", "\x28\x01\x2a\x011", "protobuf: field 5 is a string of bytes, want a varint"},
	{"field 6 is eight bytes", "\x3112345678", "protobuf: field 6 is eight bytes, want a varint"},
	{"fields 5 and 6 are numbers", "\x28\x01\x30\x01", "protobuf: field 6 is a varint, want a string of bytes"},
	{"field 7 is a number", "\x38\x01", "protobuf: field 7 is a varint, want a string of bytes"},
	{"a group", "\x4b\x4c", "protobuf: field 9 is of wire type 3"},
	{"groups in groups", strings.Repeat("\x4b", 10_000), "protobuf: field 9 is of wire type 3"},
	{"wire type 7", "\x0f", "protobuf: field 1 is of wire type 7"},
	{"unknown field over the end", "\x49123", "protobuf: field 9 of 8 bytes is over the frame's end"},
	{"codec beyond a byte", "\x28\x80\x02\x32\x00", "protobuf: body codec of 256 is beyond a byte"},
}

// What protobuf allows, and v5 and v7 never write.
func TestLenient(t *testing.T) {
	for _, test := range []struct {
		name, payload string
		want          socket.Message
	}{
		{"nothing", "", message(0, 0, "", 0, "")},
		{"any order", "\x32\x02hi\x28\x6a\x1a\x02/a\x10\x01\x08\x05", message(5, 1, "/a", 'j', "hi")},
		{"the last of a field twice", "\x08\x01\x08\x05\x10\x01\x1a\x02/b\x1a\x02/a\x28\x01\x28\x6a\x32\x02no\x32\x02hi", message(5, 1, "/a", 'j', "hi")},
		{"unknown fields", "\x48\x01\x51\x00\x00\x00\x00\x00\x00\x00\x00\x08\x05\x5a\x03abc\x10\x01\x1a\x02/a\x65\x00\x00\x00\x00\x28\x6a\x32\x02hi", message(5, 1, "/a", 'j', "hi")},
		{"explicit zeros", "\x08\x00\x10\x00\x1a\x00\x22\x00\x28\x00\x32\x00", message(0, 0, "", 0, "")},
		{"negative in 32 bits", "\x08\xff\xff\xff\xff\x0f\x10\x01", message(-1, 1, "", 0, "")},
		{"negative in 64 bits", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\x01", message(-1, 1, "", 0, "")},
		{"least", "\x08\x80\x80\x80\x80\xf8\xff\xff\xff\xff\x01\x10\x01", message(math.MinInt32, 1, "", 0, "")},
		{"padded varints", "\x08\x85\x00\x90\x00\x81\x80\x00", message(5, 1, "", 0, "")},
		{"method is not UTF-8", "\x10\x01\x1a\x02\xff\xfe", message(0, 1, "\xff\xfe", 0, "")},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := read(framed("", test.payload))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := picture(m), picture(test.want); got != want {
				t.Errorf("got %s\nwant %s", got, want)
			}
		})
	}
}
