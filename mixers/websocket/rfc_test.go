package websocket

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gobwas/ws"

	"github.com/teleport-go/teleport/core/socket"
)

// This file holds the requirements of RFC 6455, sections 5 to 7, that the other side can
// violate, or this side, each as a case. Frames are built and read by gobwas/ws, which is
// another implementation.

// plain is a sub-protocol whose frames are bodies.
type plain struct{ rw io.ReadWriter }

func newPlain(rw io.ReadWriter) socket.Proto { return plain{rw} }

func (plain) Version() (byte, string)     { return 'P', "plain" }
func (plain) Text() bool                  { return true }
func (p plain) Pack(socket.Message) error { return errors.ErrUnsupported }

func (plain) AppendFrame(dst []byte, m socket.Message) ([]byte, error) { return m.AppendBody(dst) }

func (p plain) Unpack(m socket.Message) error {
	b, err := io.ReadAll(p.rw)
	m.SetMtype(socket.TypePush)
	m.SetSize(uint32(len(b)))
	return errors.Join(err, m.UnmarshalBody(b))
}

// frames for the tests. A frame of a client is masked.
type framer struct{ masked bool }

func (f framer) frame(op ws.OpCode, final bool, payload string) []byte {
	return f.raw(ws.Header{Fin: final, OpCode: op, Masked: f.masked, Length: int64(len(payload))}, payload)
}

func (f framer) raw(h ws.Header, payload string) []byte {
	b := []byte(payload)
	if h.Masked {
		h.Mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}
		ws.Cipher(b, h.Mask, 0)
	}
	var buf bytes.Buffer
	ws.WriteHeader(&buf, h)
	return append(buf.Bytes(), b...)
}

func (f framer) text(payload string) []byte   { return f.frame(ws.OpText, true, payload) }
func (f framer) binary(payload string) []byte { return f.frame(ws.OpBinary, true, payload) }
func (f framer) ping(payload string) []byte   { return f.frame(ws.OpPing, true, payload) }
func (f framer) close(body string) []byte     { return f.frame(ws.OpClose, true, body) }

// code is the body of a close frame.
func code(n int, reason string) string { return string([]byte{byte(n >> 8), byte(n)}) + reason }

// long returns the header bytes of a frame whose length is written in so many bytes.
func (f framer) long(bytesOfLength int, payload string) []byte {
	b := f.frame(ws.OpBinary, true, payload)
	n := len(payload)
	head := []byte{b[0], b[1]&0x80 | 126}
	if bytesOfLength == 8 {
		head[1]++
		head = append(head, 0, 0, 0, 0, 0, 0)
	}
	head = append(head, byte(n>>8), byte(n))
	skip := 2
	if n > 125 {
		skip = 4
	}
	return append(head, b[skip:]...)
}

type requirement struct {
	section string
	text    string
	// arrives is what the other side sends. want is what is read of it: messages in
	// quotes, CONTROL for control frames alone, EOF, or the close code of an error.
	arrives func(f framer) []byte
	want    string
	replies string // the frames that are sent
}

// all joins frames.
func all(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

// requirements hold on both sides, but those of masking.
var requirements = []requirement{
	{"5.2", "a text message", func(f framer) []byte { return f.text("Hello") }, `"Hello" EOF`, ""},
	{"5.2", "a binary message", func(f framer) []byte { return f.binary("\xff\x00") }, `"\xff\x00" EOF`, ""},
	{"5.2", "an empty message", func(f framer) []byte { return f.text("") }, `"" EOF`, ""},
	{"5.2", "RSV1 without an extension", func(f framer) []byte {
		return f.raw(ws.Header{Fin: true, Rsv: 4, OpCode: ws.OpText, Masked: f.masked, Length: 1}, "x")
	}, "1002", "close 1002"},
	{"5.2", "RSV2 without an extension", func(f framer) []byte {
		return f.raw(ws.Header{Fin: true, Rsv: 2, OpCode: ws.OpText, Masked: f.masked, Length: 1}, "x")
	}, "1002", "close 1002"},
	{"5.2", "RSV3 without an extension, on a control frame", func(f framer) []byte {
		return f.raw(ws.Header{Fin: true, Rsv: 1, OpCode: ws.OpPing, Masked: f.masked, Length: 1}, "x")
	}, "1002", "close 1002"},
	{"5.2", "RSV1 on a later fragment", func(f framer) []byte {
		return all(f.frame(ws.OpText, false, "a"), f.raw(ws.Header{Fin: true, Rsv: 4, Masked: f.masked, Length: 1}, "x"))
	}, "1002", "close 1002"},
	{"5.2", "the length is in the fewest bytes: not 125 in two", func(f framer) []byte { return f.long(2, strings.Repeat("x", 125)) }, "1002", "close 1002"},
	{"5.2", "the length is in the fewest bytes: not 0 in two", func(f framer) []byte { return f.long(2, "") }, "1002", "close 1002"},
	{"5.2", "the length is in the fewest bytes: not 65535 in eight", func(f framer) []byte { return f.long(8, strings.Repeat("x", 65535)) }, "1002", "close 1002"},
	{"5.2", "the highest bit of a length of eight bytes is 0", func(f framer) []byte {
		return append([]byte{0x82, f.text("")[1] | 127, 0x80, 0, 0, 0, 0, 0, 0, 1}, "keyx"...)
	}, "1002", "close 1002"},

	{"5.4", "a message in two fragments", func(f framer) []byte {
		return all(f.frame(ws.OpText, false, "Hel"), f.frame(ws.OpContinuation, true, "lo"))
	}, `"Hello" EOF`, ""},
	{"5.4", "a message in many fragments, some of them empty", func(f framer) []byte {
		return all(f.frame(ws.OpBinary, false, ""), f.frame(0, false, "He"), f.frame(0, false, ""), f.frame(0, false, "llo"), f.frame(0, true, ""))
	}, `"Hello" EOF`, ""},
	{"5.4", "control frames between fragments", func(f framer) []byte {
		return all(f.frame(ws.OpText, false, "Hel"), f.ping("p"), f.frame(ws.OpPong, true, "q"), f.frame(0, true, "lo"), f.text("next"))
	}, `"Hello" "next" EOF`, `pong "p"`},
	{"5.4", "a close frame between fragments", func(f framer) []byte {
		return all(f.frame(ws.OpText, false, "Hel"), f.close(code(1000, "")), f.frame(0, true, "lo"))
	}, "EOF", "close 1000"},
	{"5.4", "fragments of one message are not mixed with another", func(f framer) []byte { return all(f.frame(ws.OpText, false, "Hel"), f.text("lo")) }, "1002", "close 1002"},
	{"5.4", "a continuation continues something", func(f framer) []byte { return f.frame(0, true, "lo") }, "1002", "close 1002"},
	{"5.4", "a continuation continues something, not a message that has ended", func(f framer) []byte {
		return all(f.text("Hello"), f.frame(0, false, "lo"))
	}, `"Hello" 1002`, "close 1002"},
	{"5.4", "a first fragment after the last of the message before", func(f framer) []byte {
		return all(f.frame(ws.OpText, false, "a"), f.frame(0, true, "b"), f.frame(ws.OpText, false, "c"), f.frame(0, true, "d"))
	}, `"ab" "cd" EOF`, ""},

	{"5.5", "a control frame is not longer than 125", func(f framer) []byte { return f.ping(strings.Repeat("x", 126)) }, "1002", "close 1002"},
	{"5.5", "a control frame may be 125 long", func(f framer) []byte { return all(f.ping(strings.Repeat("x", 125)), f.text("a")) },
		`"a" EOF`, fmt.Sprintf("pong %q", strings.Repeat("x", 125))},
	{"5.5", "a control frame is not fragmented: ping", func(f framer) []byte { return f.frame(ws.OpPing, false, "") }, "1002", "close 1002"},
	{"5.5", "a control frame is not fragmented: pong", func(f framer) []byte { return f.frame(ws.OpPong, false, "") }, "1002", "close 1002"},
	{"5.5", "a control frame is not fragmented: close", func(f framer) []byte { return f.frame(ws.OpClose, false, "") }, "1002", "close 1002"},

	{"5.5.1", "a close frame is answered with its code", func(f framer) []byte { return f.close(code(1000, "bye")) }, "EOF", "close 1000"},
	{"5.5.1", "a close frame without a code is answered without one", func(f framer) []byte { return f.close("") }, "EOF", "close"},
	{"5.5.1", "half a code", func(f framer) []byte { return f.close("\x03") }, "1002", "close 1002"},
	{"5.5.1", "the reason is UTF-8", func(f framer) []byte { return f.close(code(1000, "\xff")) }, "1007", "close 1007"},
	{"5.5.1", "what comes behind a close frame is not read", func(f framer) []byte { return all(f.close(code(1000, "")), f.text("x"), f.ping("")) }, "EOF EOF", "close 1000"},
	{"5.5.2", "a ping is answered with its data", func(f framer) []byte { return all(f.ping("data"), f.text("x")) }, `"x" EOF`, `pong "data"`},
	{"5.5.2", "pings are answered in order", func(f framer) []byte { return all(f.ping(""), f.ping("2"), f.text("x")) }, `"x" EOF`, `pong "" pong "2"`},
	{"5.5.3", "a pong that nobody asked for is not answered", func(f framer) []byte { return all(f.frame(ws.OpPong, true, "a"), f.text("x")) }, `"x" EOF`, ""},

	{"5.6", "a text message is UTF-8", func(f framer) []byte { return f.text("a\xffb") }, "1007", "close 1007"},
	{"5.6", "a text message is UTF-8, not half a rune", func(f framer) []byte { return f.text("a\xe4\xb8") }, "1007", "close 1007"},
	{"5.6", "a text message is UTF-8, not a surrogate", func(f framer) []byte { return f.text("\xed\xa0\x80") }, "1007", "close 1007"},
	{"5.6", "a rune may be cut between fragments", func(f framer) []byte { return all(f.frame(ws.OpText, false, "\xe4"), f.frame(0, true, "\xb8\x96")) }, `"世" EOF`, ""},
	{"5.6", "fragments of text together are UTF-8", func(f framer) []byte { return all(f.frame(ws.OpText, false, "\xe4"), f.frame(0, true, "\xb8")) }, "1007", "close 1007"},

	{"7.4.1", "1004 has no meaning", func(f framer) []byte { return f.close(code(1004, "")) }, "1002", "close 1002"},
	{"7.4.1", "1005 is not sent", func(f framer) []byte { return f.close(code(1005, "")) }, "1002", "close 1002"},
	{"7.4.1", "1006 is not sent", func(f framer) []byte { return f.close(code(1006, "")) }, "1002", "close 1002"},
	{"7.4.1", "1015 is not sent", func(f framer) []byte { return f.close(code(1015, "")) }, "1002", "close 1002"},
	{"7.4.2", "codes below 1000 are not used", func(f framer) []byte { return f.close(code(999, "")) }, "1002", "close 1002"},
	{"7.4.2", "code 0 is not used", func(f framer) []byte { return f.close(code(0, "")) }, "1002", "close 1002"},
	{"7.4.2", "codes to 2999 are reserved", func(f framer) []byte { return f.close(code(1016, "")) }, "1002", "close 1002"},
	{"7.4.2", "codes to 2999 are reserved, the last too", func(f framer) []byte { return f.close(code(2999, "")) }, "1002", "close 1002"},
	{"7.4.2", "codes from 5000 on are none", func(f framer) []byte { return f.close(code(5000, "")) }, "1002", "close 1002"},
	{"7.4.2", "the codes of libraries", func(f framer) []byte { return f.close(code(3000, "")) }, "EOF", "close 3000"},
	{"7.4.2", "the codes of applications", func(f framer) []byte { return f.close(code(4999, "x")) }, "EOF", "close 4999"},
}

func init() {
	for _, op := range []ws.OpCode{3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf} {
		requirements = append(requirements, requirement{"5.2", fmt.Sprintf("the opcode %#x is reserved", op),
			func(f framer) []byte { return f.frame(op, true, "x") }, "1002", "close 1002"})
	}
	for _, n := range []int{125, 126, 127, 65535, 65536, 70000} {
		text := strings.Repeat("x", n)
		requirements = append(requirements, requirement{"5.2", fmt.Sprintf("a payload of %d bytes", n),
			func(f framer) []byte { return f.binary(text) }, fmt.Sprintf("%q EOF", text), ""})
	}
	for _, c := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014} {
		requirements = append(requirements, requirement{"7.4.1", fmt.Sprintf("the code %d", c),
			func(f framer) []byte { return f.close(code(c, "")) }, "EOF", fmt.Sprintf("close %d", c)})
	}
	// Masking depends on the side: see TestMasking.
}

// TestRequirements: each of them, on a server and a client, whatever pieces the bytes
// arrive in.
func TestRequirements(t *testing.T) {
	for _, r := range requirements {
		t.Run(r.section+" "+r.text, func(t *testing.T) {
			for _, client := range []bool{false, true} {
				arrives := r.arrives(framer{masked: !client})
				for name, in := range map[string]io.Reader{
					"at once": bytes.NewReader(arrives), "byte by byte": iotest.OneByteReader(bytes.NewReader(arrives)),
				} {
					for _, inPlace := range []bool{false, true} {
						got, replies := converse(t, in, client, inPlace, strings.Count(r.want, "EOF"))
						if got != r.want || replies != r.replies {
							t.Errorf("client %v, %s, in place %v:\nread    %.200s\nwant    %.200s\nreplied %s\nwant    %s",
								client, name, inPlace, got, r.want, replies, r.replies)
						}
						if s, ok := in.(io.Seeker); ok {
							s.Seek(0, io.SeekStart)
						} else {
							in = iotest.OneByteReader(bytes.NewReader(arrives))
						}
					}
				}
			}
		})
	}
}

// end is one end of a connection; in place it is a socket.PeekReader.
type end struct {
	io.Reader
	out    bytes.Buffer
	dialed bool
}

func (e *end) Write(b []byte) (int, error) { return e.out.Write(b) }
func (e *end) Dialed() bool                { return e.dialed }

type peekEnd struct {
	*bufio.Reader
	*end
}

func (e peekEnd) Read(b []byte) (int, error) { return e.Reader.Read(b) }

// converse reads what arrives at a side until it ends, and so many times io.EOF. Messages of
// control frames alone are left out.
func converse(t *testing.T, in io.Reader, client, inPlace bool, ends int) (read, replies string) {
	t.Helper()
	e := &end{Reader: in, dialed: client}
	var rw io.ReadWriter = e
	if inPlace {
		rw = peekEnd{bufio.NewReaderSize(in, 1<<17), e}
	}
	p := NewWsProtoFunc(newPlain)(rw)
	var events []string
	for ended := 0; ended < max(ends, 1); {
		m := socket.NewMessage()
		err := p.Unpack(m)
		var c *CloseError
		switch {
		case err == nil && m.Mtype() == socket.TypeControl:
		case err == nil:
			events = append(events, fmt.Sprintf("%q", m.RawBody()))
		case errors.Is(err, io.EOF):
			events = append(events, "EOF")
			ended++
		case errors.As(err, &c):
			events = append(events, fmt.Sprint(c.Code))
			ended = ends + 1
		default:
			events = append(events, err.Error())
			if errors.Is(err, socket.ErrSizeLimit) {
				events[len(events)-1] = "1009"
			}
			ended = ends + 1
		}
	}
	return strings.Join(events, " "), describe(t, e.out.Bytes(), client)
}

// describe returns the frames that a side has sent, and checks their headers.
func describe(t *testing.T, b []byte, client bool) string {
	t.Helper()
	state := ws.StateClientSide // of the reader
	if client {
		state = ws.StateServerSide
	}
	var list []string
	for r := bytes.NewReader(b); r.Len() > 0; {
		h, err := ws.ReadHeader(r)
		if err != nil || h.Length > int64(r.Len()) {
			t.Fatalf("the frames sent, % x: %v", b, err)
		}
		if err := ws.CheckHeader(h, state); err != nil {
			t.Errorf("a frame sent by client %v: %v", client, err)
		}
		payload := make([]byte, h.Length)
		io.ReadFull(r, payload)
		if h.Masked {
			ws.Cipher(payload, h.Mask, 0)
		}
		switch h.OpCode {
		case ws.OpPong:
			list = append(list, fmt.Sprintf("pong %q", payload))
		case ws.OpClose:
			if len(payload) == 0 {
				list = append(list, "close")
				break
			}
			code, reason := ws.ParseCloseFrameData(payload)
			list = append(list, strings.TrimSpace(fmt.Sprintf("close %d %s", code, reason)))
		default:
			list = append(list, fmt.Sprintf("%x %q", h.OpCode, payload))
		}
	}
	return strings.Join(list, " ")
}

// TestMasking: section 5.1. A server refuses frames without a mask, a client those with one.
func TestMasking(t *testing.T) {
	for _, client := range []bool{false, true} {
		for name, b := range map[string][]byte{
			"text":    framer{client}.text("x"),
			"ping":    framer{client}.ping("x"),
			"close":   framer{client}.close(""),
			"a later": all(framer{!client}.frame(ws.OpText, false, "x"), framer{client}.frame(0, true, "x")),
		} {
			got, replies := converse(t, bytes.NewReader(b), client, false, 1)
			if got != "1002" || replies != "close 1002" {
				t.Errorf("client %v, %s: read %s, replied %s; want 1002, close 1002", client, name, got, replies)
			}
		}
	}
}

// TestWritten: sections 5.1 to 5.3 and 6.1 for what is written.
func TestWritten(t *testing.T) {
	for _, client := range []bool{false, true} {
		keys := map[[4]byte]bool{}
		for _, n := range []int{0, 1, 125, 126, 65535, 65536, 70000} {
			e := &end{dialed: client}
			body := strings.Repeat("ä", n/2) + strings.Repeat("x", n%2)
			m := socket.NewMessage(socket.WithBody([]byte(body)))
			if err := NewWsProtoFunc(newPlain)(e).Pack(m); err != nil {
				t.Fatal(err)
			}
			if got := int(m.Size()); got != e.out.Len() {
				t.Errorf("%d bytes: Size = %d, want %d", n, got, e.out.Len())
			}
			h, err := ws.ReadHeader(bytes.NewReader(e.out.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			if want := ws.HeaderSize(h); e.out.Len() != want+n {
				t.Errorf("%d bytes: a frame of %d, want %d", n, e.out.Len(), want+n)
			}
			if h.Masked != client || !h.Fin || h.Rsv != 0 || h.OpCode != ws.OpText {
				t.Errorf("client %v: header %+v", client, h)
			}
			keys[h.Mask] = true
			if got, want := describe(t, e.out.Bytes(), client), fmt.Sprintf("1 %q", body); got != want {
				t.Errorf("client %v writes %.100s, want %.100s", client, got, want)
			}
		}
		if client && len(keys) < 7 {
			t.Errorf("%d different keys of 7 frames", len(keys))
		}
	}
}

// TestNotUTF8: a text message that is not UTF-8 is refused before it is sent: section 5.6.
func TestNotUTF8(t *testing.T) {
	e := &end{}
	err := NewWsProtoFunc(newPlain)(e).Pack(socket.NewMessage(socket.WithBody([]byte("\xff"))))
	if err == nil || e.out.Len() > 0 {
		t.Errorf("Pack = %v, and wrote %d bytes; want an error, and none", err, e.out.Len())
	}
}

// TestNothingKept: no memory of a fragmented message stays with the connection.
func TestNothingKept(t *testing.T) {
	p := NewWsProtoFunc(newPlain)(&end{Reader: strings.NewReader("\x02\x01a\x80\x01b"), dialed: true})
	m := socket.NewMessage()
	if err := p.Unpack(m); err != nil || string(m.RawBody()) != "ab" {
		t.Fatalf("body %q, %v; want ab", m.RawBody(), err)
	}
	if joined := p.(*appender).joined; joined != nil {
		t.Errorf("%d bytes are kept", cap(joined))
	}
}

// TestNothingAfterClose: section 5.5.1. After its close frame a side sends nothing.
func TestNothingAfterClose(t *testing.T) {
	f := framer{masked: true}
	e := &end{Reader: bytes.NewReader(f.close(code(1000, "")))}
	p := NewWsProtoFunc(newPlain)(e)
	if err := p.Unpack(socket.NewMessage()); err != io.EOF {
		t.Fatal(err)
	}
	before := e.out.Len()
	if err := p.Pack(socket.NewMessage(socket.WithBody([]byte("x")))); err == nil || e.out.Len() != before {
		t.Errorf("Pack = %v, and wrote %d bytes; want an error, and none", err, e.out.Len()-before)
	}
}

// TestExamples: the bytes of section 5.7.
func TestExamples(t *testing.T) {
	large, larger := strings.Repeat("b", 256), strings.Repeat("b", 65536)
	for _, test := range []struct {
		name, bytes string
		client      bool // which reads
		want        string
	}{
		{"unmasked text", "\x81\x05\x48\x65\x6c\x6c\x6f", true, `"Hello" EOF`},
		{"masked text", "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", false, `"Hello" EOF`},
		{"fragmented unmasked text", "\x01\x03\x48\x65\x6c\x80\x02\x6c\x6f", true, `"Hello" EOF`},
		{"unmasked ping", "\x89\x05\x48\x65\x6c\x6c\x6f\x81\x00", true, `"" EOF`},
		{"masked pong", "\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", false, "EOF"},
		{"256 bytes", "\x82\x7e\x01\x00" + large, true, fmt.Sprintf("%q EOF", large)},
		{"64 KiB", "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + larger, true, fmt.Sprintf("%q EOF", larger)},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, _ := converse(t, strings.NewReader(test.bytes), test.client, true, 1)
			if got != test.want {
				t.Errorf("read %.100s, want %.100s", got, test.want)
			}
		})
	}
}
