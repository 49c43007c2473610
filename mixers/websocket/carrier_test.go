package websocket

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// scripted is a connection with what arrives on it, and what was written.
type scripted struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (s *scripted) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *scripted) Write(b []byte) (int, error) { return s.out.Write(b) }

// carry reads all that arrives at a carrier, in pieces of so many bytes, and describes the
// control frames that it has sent.
func carry(t testing.TB, b []byte, client bool, size int) (read []byte, replies string, err error) {
	s := &scripted{in: bytes.NewReader(b)}
	if size < 16 {
		s.in = iotest.HalfReader(s.in)
	}
	c := newCarrier(s, b[:0], client)
	for piece := make([]byte, size); err == nil; {
		var n int
		n, err = c.Read(piece)
		read = append(read, piece[:n]...)
	}
	_, again := c.Read(make([]byte, 1))
	require.Error(t, again, "a Read after %v", err)
	return read, sent(t, s.out.Bytes(), client), err
}

// sent describes control frames.
func sent(t testing.TB, b []byte, client bool) string {
	var list []string
	for r := bytes.NewReader(b); r.Len() > 0; {
		h, err := ws.ReadHeader(r)
		require.NoError(t, err)
		require.Equal(t, client, h.Masked)
		payload := make([]byte, h.Length)
		_, err = io.ReadFull(r, payload)
		require.NoError(t, err)
		ws.Cipher(payload, h.Mask, 0)
		list = append(list, fmt.Sprintf("%d %q", h.OpCode, payload))
	}
	return strings.Join(list, " ")
}

// carried is what carry returns, by the reader of gobwas/ws.
func carried(b []byte, client bool) (read []byte, replies string) {
	state := ws.StateServerSide
	if client {
		state = ws.StateClientSide
	}
	var list []string
	reply := func(op ws.OpCode, payload string) { list = append(list, fmt.Sprintf("%d %q", op, payload)) }
	end := func() ([]byte, string) { return read, strings.Join(list, " ") }
	fail := func(n int) ([]byte, string) { reply(ws.OpClose, code(n, "")); return end() }
	for r := bytes.NewReader(b); ; {
		before := r.Len()
		h, err := ws.ReadHeader(r)
		switch {
		case errors.Is(err, ws.ErrHeaderLengthMSB):
			return fail(1002)
		case err != nil:
			return end()
		case ws.CheckHeader(h, state) != nil || before-r.Len() != ws.HeaderSize(h):
			return fail(1002)
		case h.OpCode == ws.OpText:
			return fail(1003)
		}
		p := make([]byte, min(h.Length, int64(r.Len())))
		io.ReadFull(r, p)
		if h.Masked {
			ws.Cipher(p, h.Mask, 0)
		}
		whole := int64(len(p)) == h.Length
		switch {
		case !h.OpCode.IsControl():
			read = append(read, p...)
			state = state.Set(ws.StateFragmented)
			if h.Fin {
				state = state.Clear(ws.StateFragmented)
			}
		case whole && h.OpCode == ws.OpPing:
			reply(ws.OpPong, string(p))
		case whole && h.OpCode == ws.OpClose:
			if _, _, err := parseClose(p); err != nil {
				return fail(int(codeOf(err)))
			}
			reply(ws.OpClose, string(p))
			return end()
		}
		if !whole {
			return end()
		}
	}
}

// TestCarrier reads messages, fragments and control frames.
func TestCarrier(t *testing.T) {
	for _, client := range []bool{false, true} {
		f := framer{!client}
		for _, test := range []struct {
			name       string
			in         []byte
			read, sent string
			err        string
		}{
			{"two messages", all(f.binary("ab"), f.binary("c")), "abc", "", "EOF"},
			{"fragments with a ping between", all(f.frame(ws.OpBinary, false, "ab"), f.ping("?"), f.frame(ws.OpContinuation, false, ""), f.frame(ws.OpContinuation, true, "c")), "abc", `10 "?"`, "EOF"},
			{"a close", all(f.binary("ab"), f.close(code(1001, "bye"))), "ab", fmt.Sprintf("8 %q", code(1001, "bye")), "with the code 1001 bye: EOF"},
			{"cut within a message", f.binary("abc")[:len(f.binary("abc"))-1], "ab", "", "unexpected EOF"},
			{"cut within a header", f.binary(strings.Repeat("x", 200))[:3], "", "", "unexpected EOF"},
			{"text", f.text("ab"), "", fmt.Sprintf("8 %q", code(1003, "")), "travels in binary messages"},
			{"a continuation of nothing", f.frame(ws.OpContinuation, true, "a"), "", fmt.Sprintf("8 %q", code(1002, "")), "out of order"},
			{"two beginnings", all(f.frame(ws.OpBinary, false, "a"), f.binary("b")), "a", fmt.Sprintf("8 %q", code(1002, "")), "out of order"},
			{"the wrong mask", framer{client}.binary("ab"), "", fmt.Sprintf("8 %q", code(1002, "")), "wrong for its side"},
		} {
			t.Run(fmt.Sprintf("%s, client %v", test.name, client), func(t *testing.T) {
				for _, size := range []int{1, 3, 100} {
					read, sent, err := carry(t, test.in, client, size)
					require.Equal(t, test.read, string(read))
					require.Equal(t, test.sent, sent)
					require.ErrorContains(t, err, test.err)
				}
			})
		}
	}
}

// TestCarrierWrites: large writes are several messages, and what is written is not changed.
func TestCarrierWrites(t *testing.T) {
	for _, client := range []bool{false, true} {
		s := new(scripted)
		b := bytes.Repeat([]byte("0123456789"), 5000)
		n, err := newCarrier(s, nil, client).Write(b)
		require.NoError(t, err)
		require.Equal(t, len(b), n)
		require.Equal(t, bytes.Repeat([]byte("0123456789"), 5000), b)
		for r := bytes.NewReader(s.out.Bytes()); r.Len() > 0; {
			h, err := ws.ReadHeader(r)
			require.NoError(t, err)
			require.LessOrEqual(t, h.Length, int64(carrierMessage))
			require.True(t, h.Fin && h.OpCode == ws.OpBinary && h.Masked == client)
			r.Seek(h.Length, io.SeekCurrent)
		}
		read, _, _ := carry(t, s.out.Bytes(), !client, 777)
		require.Equal(t, b, read)
	}
}

// FuzzCarrier reads any bytes as gobwas/ws reads them, whatever the pieces.
func FuzzCarrier(f *testing.F) {
	for _, r := range requirements {
		for _, client := range []bool{false, true} {
			if b := r.arrives(framer{!client}); len(b) < 300 {
				f.Add(b, client, 7)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, client bool, size int) {
		if size < 1 || size > 1<<10 {
			return
		}
		want, wantReplies := carried(b, client)
		got, replies, _ := carry(t, b, client, size)
		require.Equal(t, string(want), string(got))
		require.Equal(t, wantReplies, replies)
	})
}
