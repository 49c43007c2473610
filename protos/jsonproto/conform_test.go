package jsonproto

import (
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
		t.Run(dialectTests.Named(named).String(), func(t *testing.T) { prototest.Run(t, NewJSONProtoFunc(named...), dialectTests.BadFrames()...) })
	}
}

func TestSessions(t *testing.T) {
	for _, named := range [][]Dialect{nil, {V7}} {
		t.Run(dialectTests.Named(named).String(), func(t *testing.T) { tptest.RunProto(t, NewJSONProtoFunc(named...)) })
	}
}

// badPayloads are no messages.
var badPayloads = []prototest.BadPayload{
	{"nothing", ``, "json: document ends, want { at byte 0"},
	{"space", " \n\t ", "json: document ends, want { at byte 4"},
	{"a list", `[]`, "json: document has '[', want { at byte 0"},
	{"not closed", `{"seq":1`, "json: document ends, want , or } at byte 8"},
	{"no key", `{`, `json: document ends, want " at byte 1`},
	{"key without quotes", `{seq:1}`, `json: document has 's', want " at byte 1`},
	{"key does not end", `{"seq`, `json: document has a string that does not end at byte 1`},
	{"key with a bad escape", `{"s\q":1}`, "json: document has ':', a key with an escape that is none at byte 6"},
	{"no colon", `{"seq" 1}`, "json: document has '1', want : at byte 7"},
	{"no value", `{"seq":}`, "json: seq is no number"},
	{"no comma", `{"seq":1 "mtype":1}`, `json: document has '"', want , or } at byte 9`},
	{"comma at the end", `{"seq":1,}`, `json: document has '}', want " at byte 9`},
	{"something behind", `{"seq":1}x`, "json: document has 'x', want its end at byte 9"},
	{"two documents", `{}{}`, "json: document has '{', want its end at byte 2"},
	{"seq is a string", `{"seq":"1"}`, "json: seq is no number"},
	{"seq is a fraction", `{"seq":1.5}`, `json: seq "1.5" is not a whole number`},
	{"seq is two numbers", `{"seq":1-2}`, `json: seq "1-2" is not a whole number`},
	{"seq beyond 32 bits", `{"seq":2147483648}`, "json: seq of 2147483648 is not between -2147483648 and 2147483647"},
	{"seq beyond everything", `{"seq":1e999}`, `json: seq "1e999" is not a whole number`},
	{"seq beyond 32 bits, in order", `{"seq":4294967297,"mtype":1,"serviceMethod":"","meta":"","bodyCodec":0,"body":""}`, "json: seq of 4294967297 is not between -2147483648 and 2147483647"},
	{"type beyond a byte", `{"mtype":256}`, "json: mtype of 256 is not between 0 and 255"},
	{"type is negative", `{"mtype":-1}`, "json: mtype of -1 is not between 0 and 255"},
	{"codec beyond a byte", `{"bodyCodec":1000}`, "json: bodyCodec of 1000 is not between 0 and 255"},
	{"codec is true", `{"bodyCodec":true}`, "json: bodyCodec is no number"},
	{"method is a number", `{"serviceMethod":1}`, "json: serviceMethod is no string"},
	{"method with a bad escape", `{"serviceMethod":"\q"}`, "json: serviceMethod has an escape that is none"},
	{"status with a bad escape, in order", `{"seq":1,"mtype":1,"serviceMethod":"","status":"\u12","meta":"","bodyCodec":0,"body":""}`, "json: status has an escape that is none"},
	{"metadata are an object", `{"meta":{}}`, "json: meta is no string"},
	{"metadata do not end", `{"meta":"a`, "json: document has a string that does not end at byte 8"},
	{"body is an object", `{"body":{"a":1}}`, "json: body is no string"},
	{"body is no null", `{"body":nul}`, "json: document has 'n', want null at byte 8"},
	{"body with a bad escape", `{"body":"\x00"}`, "json: body has an escape that is none"},
	{"body does not end", `{"body":"abc\"}`, "json: document has a string that does not end at byte 8"},
	{"deep nesting", `{"x":` + strings.Repeat(`[`, 100_000), "json: document is nested deeper than 64 at byte 69"},
	{"deep nesting of objects", `{"x":` + strings.Repeat(`{"a":`, 100_000), "json: document is nested deeper than 64 at byte 325"},
	{"brackets do not match", `{"x":[}]}`, "json: document has '}', want a value at byte 6"},
	{"brackets do not close", `{"x":[1,`, "json: document ends, want a value at byte 8"},
	{"unknown value is none", `{"x":?}`, "json: document has '?', want a value at byte 5"},
	{"unknown value is a comma", `{"x":,}`, "json: document has ',', want a value at byte 5"},
	{"unknown string does not end", `{"x":["a]}`, "json: document has a string that does not end at byte 6"},
}

// What JSON allows, and v5 and v7 never write.
func TestLenient(t *testing.T) {
	want := message(5, 1, "/a", 'j', "hi")
	for _, test := range []struct {
		name, payload string
		want          socket.Message
	}{
		{"nothing", `{}`, message(0, 0, "", 0, "")},
		{"nulls", `{"seq":null,"mtype":null,"serviceMethod":null,"status":null,"meta":null,"bodyCodec":null,"body":null}`, message(0, 0, "", 0, "")},
		{"any order", `{"body":"hi","bodyCodec":106,"serviceMethod":"/a","mtype":1,"seq":5}`, want},
		{"white space", " {\n\t\"seq\" : 5 , \"mtype\":1,\r\n\"serviceMethod\":\"/a\",\"bodyCodec\":106,\"body\" : \"hi\" } \n", want},
		{"unknown keys", `{"x":[1,{"body":"no"},[]],"seq":5,"mtype":1,"y":null,"serviceMethod":"/a","bodyCodec":106,"body":"hi","z":"\"}"}`, want},
		{"the first of a key twice", `{"seq":5,"seq":6,"mtype":1,"serviceMethod":"/a","serviceMethod":"/b","bodyCodec":106,"body":"hi","body":["no"]}`, want},
		{"keys with escapes", `{"\u0073eq":5,"mtype":1,"service\u004dethod":"/a","bodyCodec":106,"body":"hi"}`, want},
		{"keys of another case are others", `{"seq":5,"Seq":6,"mtype":1,"serviceMethod":"/a","bodyCodec":106,"body":"hi","BODY":1}`, want},
		{"numbers in other forms", `{"seq":5e0,"mtype":1.0,"serviceMethod":"/a","bodyCodec":1.06e2,"body":"hi"}`, want},
		{"escapes", `{"seq":5,"mtype":1,"serviceMethod":"\/\u0061","bodyCodec":106,"body":"\u0068\u0069"}`, want},
		{"escapes of Go", `{"seq":-1,"mtype":1,"serviceMethod":"\a\b\f\n\r\t\v\\\'\"\x00\xff\u2028\U0001f600","meta":"","bodyCodec":115,"body":"hi"}`, message(-1, 1, "\a\b\f\n\r\t\v\\'\"\x00\xff\u2028\U0001f600", 's', "hi")},
		{"surrogates", `{"mtype":1,"body":"\ud83d\ude00 \ud83d \ude00\ud83d\u0041 \ud83d\ud83d\ude00"}`, message(0, 1, "", 0, "\U0001f600 \ufffd \ufffd\ufffdA \ufffd\U0001f600")},
		{"control characters as they are", "{\"mtype\":1,\"body\":\"\n\x00\", \"serviceMethod\":\"\t\"}", message(0, 1, "\t", 0, "\n\x00")},
		{"no UTF-8", "{\"mtype\":1,\"body\":\"\xff\xfe\", \"serviceMethod\":\"\xc3\"}", message(0, 1, "\xc3", 0, "\xff\xfe")},
		{"nested as deep as may be", `{"seq":5,"mtype":1,"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `,"serviceMethod":"/a","bodyCodec":106,"body":"hi"}`, want},
		{"behind the body, in order", `{"seq":5,"mtype":1,"serviceMethod":"/a","meta":"","bodyCodec":106,"body":"hi","x":"y"}`, want},
		{"behind a body of escapes, in order", `{"seq":5,"mtype":1,"serviceMethod":"/a","meta":"","bodyCodec":106,"body":"\u0068i","x":"\"}","y":"\\"}`, want},
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
