package thriftproto

import (
	"testing"

	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/tptest"
)

// badFrames are what either form says of frames that are damaged.
func badFrames(f form) []prototest.Option {
	opts := []prototest.Option{
		prototest.LostFrame("size of nothing", make([]byte, 20)),
		prototest.LostFrame("size below the header", []byte("\x00\x00\x00\x09\x0f\xff\x00\x00\x00\x00\x00\x01\x00")),
		prototest.LostFrame("size over THeader's", []byte("\x40\x00\x00\x00\x0f\xff\x00\x00\x00\x00\x00\x01\x00\x00")),
		prototest.LostFrame("size of 2^31", []byte("\x80\x00\x00\x00\x0f\xff\x00\x00\x00\x00\x00\x01\x00\x00")),
		prototest.LostFrame("another magic", []byte("\x00\x00\x00\x0a\x0f\xfe\x00\x00\x00\x00\x00\x01\x00\x00")),
		prototest.LostFrame("framed, no headers", []byte("\x00\x00\x00\x12\x80\x01\x00\x01\x00\x00\x00\x01a\x00\x00\x00\x01\x00")),
		prototest.LostFrame("not framed", []byte("\x80\x01\x00\x01\x00\x00\x00\x01a\x00\x00\x00\x01\x00")),
		prototest.LostFrame("text", []byte("GET / HTTP/1.1\r\n\r\n")),
		prototest.LostFrame("compact protocol", framed("\x02\x00\x00\x00", begin(thriftCall)+"\x00\x00\x00\x00")),
		prototest.LostFrame("transform", framed("\x00\x01\x01\x00", begin(thriftCall)+"\x00\x00\x00\x00")),
		prototest.LostFrame("2^31 transforms", framed("\x00\x80\x80\x80\x80\x08\x00\x00", begin(thriftCall)+"\x00\x00\x00\x00")),
		prototest.BadFrame("no headers at all", framed("", "")),
		prototest.BadFrame("headers over the end", []byte("\x00\x00\x00\x0a\x0f\xff\x00\x00\x00\x00\x00\x01\xff\xff")),
	}
	bad := func(name, headers, message string) {
		opts = append(opts, prototest.BadFrame(name, framed(headers, message)))
	}
	good := goodHeaders(f)
	begin := begin(thriftCall)
	for name, headers := range map[string]string{
		"protocol without an end":           "\xff\xff\xff\xff",
		"protocol of more than 32 bits":     "\xff\xff\xff\xff\x1f\x00\x00\x00",
		"protocol of many bytes":            "\x80\x80\x80\x80\x80\x80\x80\x00",
		"transforms without an end":         "\x00\x80\x80\x80",
		"kind of block without an end":      "\x00\x00\xff\xff",
		"number of keys without an end":     "\x00\x00\x01\x80",
		"2^32 keys":                         "\x00\x00\x01\xff\xff\xff\xff\x0f",
		"key over the end":                  "\x00\x00\x01\x01\x05ab",
		"key of 2^32 bytes":                 "\x00\x00\x01\x01\xff\xff\xff\xff\x0fa",
		"value is not there":                "\x00\x00\x01\x01\x03abc",
		"value over the end":                "\x00\x00\x01\x01\x01a\x09bcd",
		"a second block that is cut":        "\x00\x00\x01\x00\x01\x01\x01a",
		"message type of a header":          headerText("Tp-Mtype", "1") + "\x00\x00",
		"message type that is not the call": headerText("Tp-Mtype", "5") + "\x00\x00",
		"message type of no number":         headerText("Tp-Mtype", ""),
	} {
		bad(name, headers, begin+"\x00\x00\x00\x00")
	}
	for name, message := range map[string]string{
		"no message":           "",
		"version is cut":       "\x80\x01\x00",
		"another version":      "\x80\x02\x00\x01\x00\x00\x00\x01a\x00\x00\x00\x01\x00",
		"no version":           "\x00\x00\x00\x01a\x01\x00\x00\x00\x01\x00\x00\x00\x00",
		"name over the end":    "\x80\x01\x00\x01\x00\x00\x00\xc8a\x00\x00\x00\x01\x00",
		"name of 2^31 bytes":   "\x80\x01\x00\x01\x80\x00\x00\x00a\x00\x00\x00\x01\x00",
		"name of 2^32-1 bytes": "\x80\x01\x00\x01\xff\xff\xff\xffa\x00\x00\x00\x01\x00",
		"seq is cut":           "\x80\x01\x00\x01\x00\x00\x00\x01a\x00\x00\x00",
		"unknown type":         "\x80\x01\x00\x05\x00\x00\x00\x01a\x00\x00\x00\x01\x00\x00\x00\x00",
	} {
		bad(name, good, message)
	}
	if f == structForm {
		return append(opts,
			prototest.LostFrame("the other form", framed(goodHeaders(binaryForm), begin+"\x00\x00\x00\x00")),
			prototest.Without(prototest.Pipe, prototest.AnyCodec),
			prototest.Base(socket.WithBodyCodec('t')))
	}
	for name, body := range map[string]string{
		"no length of the body":  "\x00\x00\x00",
		"body over the end":      "\x00\x00\x00\x05body",
		"body of 2^31 bytes":     "\x80\x00\x00\x00body",
		"bytes behind the body":  "\x00\x00\x00\x03body",
		"body of 2^32 - 1 bytes": "\xff\xff\xff\xff",
	} {
		bad(name, good, begin+body)
	}
	for name, ids := range map[string]string{"unknown filter": "\x01", "filter 0": "\x00", "filter that fails": "m", "nine filters": "mmmmmmmmm"} {
		bad(name, headerText("Tp-BodyCodec", "j", "Tp-XferPipe", ids), begin+"\x00\x00\x00\x04body")
	}
	return append(opts, prototest.LostFrame("the other form", framed(goodHeaders(structForm), begin+"\x00")))
}

func goodHeaders(f form) string {
	if f == structForm {
		return headerText("Tp-Meta", "")
	}
	return headerText("Tp-BodyCodec", "j")
}

// headerText is headers as they are on the wire, padded.
func headerText(kv ...string) string {
	b := []byte{0, 0, keyValue, byte(len(kv) / 2)}
	for _, s := range kv {
		b = append(append(b, byte(len(s))), s...)
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return string(b)
}

// framed makes a frame; headers that are no whole words are padded.
func framed(headers, message string) []byte {
	for len(headers)%4 != 0 {
		headers += "\x00"
	}
	n := start - 4 + len(headers) + len(message)
	b := []byte{0, 0, byte(n >> 8), byte(n), 0x0f, 0xff, 0, 0, 0, 0, 0, 1, byte(len(headers) / 4 >> 8), byte(len(headers) / 4)}
	return append(append(b, headers...), message...)
}

func TestConformance(t *testing.T) {
	for _, f := range []form{binaryForm, structForm} {
		for _, d := range [][]Dialect{nil, {V7}} {
			_, name := newFunc(f, d)(nil).Version()
			for _, d := range d {
				name += "-" + d.String()
			}
			t.Run(name, func(t *testing.T) { prototest.Run(t, newFunc(f, d), badFrames(f)...) })
		}
	}
}

func TestSessions(t *testing.T) {
	for _, d := range []Dialect{V5, V7} {
		t.Run("binary "+d.String(), func(t *testing.T) { tptest.RunProto(t, NewBinaryProtoFunc(d)) })
		t.Run("struct "+d.String(), func(t *testing.T) {
			tptest.RunProto(t, NewStructProtoFunc(d), tptest.Without(prototest.Pipe),
				tptest.Bodies("thrift", func(s string) *text { return &text{s} }, func(v *text) string { return v.s }))
		})
		t.Run("struct without fields "+d.String(), func(t *testing.T) {
			tptest.RunProto(t, NewStructProtoFunc(d), tptest.Without(prototest.Pipe),
				tptest.Bodies("thrift", func(s string) *optional { return &optional{text{s}} }, func(v *optional) string { return v.s }))
		})
	}
}
