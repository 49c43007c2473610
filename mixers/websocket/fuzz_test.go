package websocket

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
)

// reference reads what arrives at a side by the reader of gobwas/ws, as converse does. It
// stops at the first error that is not of a requirement.
func reference(b []byte, client bool) (read, replies string) {
	state := ws.StateServerSide
	if client {
		state = ws.StateClientSide
	}
	var events, sent []string
	fail := func(code int) (string, string) {
		return strings.Join(append(events, fmt.Sprint(code)), " "), strings.Join(append(sent, fmt.Sprint("close ", code)), " ")
	}
	var joined []byte
	var op ws.OpCode
	r := bytes.NewReader(b)
	for {
		before := r.Len()
		h, err := ws.ReadHeader(r)
		switch {
		case errors.Is(err, ws.ErrHeaderLengthMSB):
			return fail(1002)
		case err != nil:
			end := "cut"
			if before == 0 && !state.Fragmented() {
				end = "EOF"
			}
			return strings.Join(append(events, end), " "), strings.Join(sent, " ")
		}
		if ws.CheckHeader(h, state) != nil || before-r.Len() != ws.HeaderSize(h) {
			return fail(1002)
		}
		if h.Length > math.MaxUint32-maxHeader {
			return fail(1009)
		}
		if h.Length > int64(r.Len()) {
			return strings.Join(append(events, "cut"), " "), strings.Join(sent, " ")
		}
		p := make([]byte, h.Length)
		io.ReadFull(r, p)
		if h.Masked {
			ws.Cipher(p, h.Mask, 0)
		}
		switch h.OpCode {
		case ws.OpPing:
			sent = append(sent, fmt.Sprintf("pong %q", p))
			continue
		case ws.OpPong:
			continue
		case ws.OpClose:
			switch code, _ := ws.ParseCloseFrameData(p); {
			case len(p) == 0:
				sent = append(sent, "close")
			case len(p) == 1, !sendable(uint16(code)):
				return fail(1002)
			case !utf8.Valid(p[2:]):
				return fail(1007)
			default:
				sent = append(sent, fmt.Sprint("close ", uint16(code)))
			}
			return strings.Join(append(events, "EOF"), " "), strings.Join(sent, " ")
		case ws.OpContinuation:
			joined = append(joined, p...)
		default:
			joined, op = p, h.OpCode
		}
		state = state.Set(ws.StateFragmented)
		if h.Fin {
			state = state.Clear(ws.StateFragmented)
			if op == ws.OpText && !utf8.Valid(joined) {
				return fail(1007)
			}
			events = append(events, fmt.Sprintf("%q", joined))
		}
	}
}

// FuzzFrames reads any bytes as gobwas/ws reads them.
func FuzzFrames(f *testing.F) {
	for _, r := range requirements {
		for _, client := range []bool{false, true} {
			if b := r.arrives(framer{!client}); len(b) < 300 {
				f.Add(b, client)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, client bool) {
		if len(b) > 1<<16 {
			return
		}
		want, wantReplies := reference(b, client)
		for _, inPlace := range []bool{false, true} {
			got, replies := converse(t, bytes.NewReader(b), client, inPlace, 1)
			cut := strings.Contains(got, "unexpected EOF") || strings.Contains(got, bufio.ErrBufferFull.Error()) // of a test's buffer
			if rest, ok := strings.CutSuffix(want, "cut"); ok && strings.HasPrefix(got, rest) && cut {
				got = want
			}
			if got != want || replies != wantReplies {
				t.Errorf("in place %v: read %s, replied %s; gobwas/ws: %s, %s", inPlace, got, replies, want, wantReplies)
			}
		}
	})
}

// FuzzHeader compares the header that is written, and read, with that of gobwas/ws.
func FuzzHeader(f *testing.F) {
	f.Add(byte(1), 0, uint32(0))
	f.Add(byte(2), 65536, uint32(7))
	f.Fuzz(func(t *testing.T, op byte, length int, key uint32) {
		if length < 0 || op > 15 {
			return
		}
		var b [maxHeader]byte
		n := putHeader(b[:], op, length, key)
		if n != putSize(length, key != 0) || n != headerSize(b[:2]) {
			t.Errorf("putHeader = %d, putSize = %d, headerSize = %d", n, putSize(length, key != 0), headerSize(b[:2]))
		}
		h, err := ws.ReadHeader(bytes.NewReader(b[:n]))
		if err != nil || !h.Fin || byte(h.OpCode) != op || h.Length != int64(length) || h.Masked != (key != 0) {
			t.Errorf("gobwas/ws reads %+v, %v", h, err)
		}
		own, err := parseHeader(b[:n])
		if bad := h.OpCode.IsReserved() || h.OpCode.IsControl() && length > maxControl; bad != (err != nil) {
			t.Errorf("parseHeader: %v", err)
		} else if err == nil && (own.length != uint64(length) || own.key != key) {
			t.Errorf("parseHeader = %+v", own)
		}
	})
}

// FuzzMask compares masks with those of gobwas/ws, and masks twice.
func FuzzMask(f *testing.F) {
	for _, n := range []int{0, 1, 7, 8, 31, 33, vectorFrom - 1, vectorFrom, vectorFrom + 17} {
		f.Add(bytes.Repeat([]byte("x"), n), uint32(0x01020304))
	}
	f.Fuzz(func(t *testing.T, b []byte, key uint32) {
		got, want := bytes.Clone(b), bytes.Clone(b)
		mask(got, key)
		ws.Cipher(want, [4]byte{byte(key), byte(key >> 8), byte(key >> 16), byte(key >> 24)}, 0)
		if !bytes.Equal(got, want) {
			t.Errorf("mask(%x, %x) = %x, want %x", b, key, got, want)
		}
		if mask(got, key); !bytes.Equal(got, b) {
			t.Error("to mask twice is not to mask")
		}
	})
}

// FuzzRequest reads any bytes as a request: what is accepted has all that RFC 6455, section
// 4.2.1, wants.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nrest"))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c, WebSocket\r\nConnection: keep-alive, upgrade\r\nOrigin: http://a\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: x,teleport.json\r\nSec-WebSocket-Version: 13\r\n\r\n"))
	f.Add([]byte("\x16\x03\x01\x00\x05"))
	f.Add([]byte("POST / HTTP/1.0\r\n\r\n"))
	peer := newPeer(f, tp.PeerConfig{})
	f.Fuzz(func(t *testing.T, b []byte) {
		head, rest, err := readHead(&requestReader{r: bytes.NewReader(b)})
		if err != nil {
			return
		}
		if got := append(bytes.Clone(head), rest...); !bytes.HasPrefix(b, got) {
			t.Fatalf("of %q were read %q and %q", b, head, rest)
		}
		r, err := parseRequest(head)
		if err != nil {
			return
		}
		u, no := new(Options).upgrade(r, peer)
		if no != nil {
			if a := no.append(nil); !bytes.HasPrefix(a, []byte("HTTP/1.1 4")) {
				t.Errorf("refused with %q", a)
			}
			return
		}
		if r.Method != "GET" || r.Host == "" || !r.ProtoAtLeast(1, 1) || len(u.key) != 24 {
			t.Errorf("accepted: %q", head)
		}
		answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(u.appendAnswer(nil))), nil)
		if err != nil {
			t.Fatal(err)
		}
		sub := ""
		if u.sub != nil {
			sub = u.sub.Name
		}
		if err := checkAnswer(answer, strings.NewReader(""), u.key, sub); err != nil {
			t.Errorf("a client refuses the answer: %v", err)
		}
	})
}

// FuzzAnswer reads any bytes as the answer to a request.
func FuzzAnswer(f *testing.F) {
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	f.Add([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n"))
	f.Add([]byte("HTTP/1.1 403 Forbidden\r\nContent-Length: 9999999999999\r\n\r\nno\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		head, rest, err := readHead(bytes.NewReader(b))
		if err != nil {
			return
		}
		answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), nil)
		if err != nil {
			return
		}
		if err := checkAnswer(answer, bytes.NewReader(rest), key, ""); err == nil && answer.Header.Get("Sec-WebSocket-Accept") != acceptKey(key) {
			t.Errorf("accepted: %q", head)
		}
	})
}

// FuzzSubProtocols reads any bytes as a message of each sub-protocol: it is a message or an
// error, and what is a message can be written, and read again.
func FuzzSubProtocols(f *testing.F) {
	prototest.RegisterFilters()
	for _, s := range []string{
		`{"seq":7,"serviceMethod":"/math/add","body":[1,2,3]}`, `{"serviceMethod":"/a","meta":{"k":"v","l":[1,"2",true]},"body":"x"}`,
		`{"seq":7,"error":{"code":404,"message":"Not Found"}}`, `{"seq":-1,"mtype":2,"bodyCodec":115,"body":"a\nb","xferPipe":[]}`,
		`{"seq":1,"mtype":1,"serviceMethod":"/a","meta":"k=v","bodyCodec":106,"body":"[1,\"2\"]","xferPipe":[109]}`,
		`{"bodyBase64":"AAEC","bodyCodec":112}`, "\x08\x01\x10\x01\x1a\x02/a(j2\x011", "\x00\x00\x00\x0fr\x00\x011\x01\x02/a\x00\x00j1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, sub := range subProtos {
			c, s := prototest.Pair(NewWsProtoFunc(sub.pf), NewWsProtoFunc(sub.pf))
			s.Arrive(appendFrame(b, opBinary, true))
			m := new(socket.Envelope)
			m.SetLimit(1 << 20)
			switch err := s.Unpack(m); {
			case errors.Is(err, socket.ErrUnsupportedProto), errors.Is(err, socket.ErrBadMessage):
				continue
			case err != nil:
				t.Fatalf("%s: %v", sub.name, err)
			}
			m.KeepBody()
			before := prototest.Picture(m)
			if m.XferPipe().Len() > 0 {
				continue // they need not be able to pack
			}
			m.SetBody(m.RawBody())
			if c.Pack(m) != nil {
				continue
			}
			again := new(socket.Envelope)
			if err := s.Unpack(again); err != nil {
				t.Fatalf("%s: what was written of %s: %v", sub.name, before, err)
			}
			if got := prototest.Picture(again); got != before {
				t.Errorf("%s: read\n%s\nthen\n%s", sub.name, before, got)
			}
		}
	})
}

// appendFrame returns a frame.
func appendFrame(b []byte, op byte, client bool) []byte {
	key := uint32(0)
	if client {
		key = newKey()
	}
	var head [maxHeader]byte
	frame := append(head[:putHeader(head[:], op, len(b), key):maxHeader], b...)
	mask(frame[len(frame)-len(b):], key)
	return frame
}
