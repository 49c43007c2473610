package websocket

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// This file holds the client's part of the opening handshake, RFC 6455 section 4.1.

// maxHead is the largest head of a request or an answer, in bytes.
const maxHead = 16 << 10

// headEnd is the end of a head.
const headEnd = "\r\n\r\n"

// parser is a bufio.Reader for heads; its buffer is larger than most of what a handshake
// needs otherwise.
type parser struct {
	head  bytes.Reader
	lines bufio.Reader
}

var parsers = sync.Pool{New: func() any { return new(parser) }}

// reader returns a reader of the head, until the parser is reused.
func (p *parser) reader(head []byte) *bufio.Reader {
	p.head.Reset(head)
	p.lines.Reset(&p.head)
	return &p.lines
}

// readHead reads the head of an HTTP message, at most maxHead bytes, and returns also what
// has been read behind it.
func readHead(r io.Reader) (head, rest []byte, err error) {
	b := make([]byte, 0, 1<<10)
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, len(b))
		}
		n, err := r.Read(b[len(b):min(cap(b), maxHead)])
		from := max(len(b)-len(headEnd)+1, 0)
		b = b[:len(b)+n]
		if end := bytes.Index(b[from:], []byte(headEnd)); end >= 0 {
			end += from + len(headEnd)
			return b[:end:end], b[end:], nil
		}
		switch {
		case len(b) == maxHead:
			return b, nil, errHead
		case err == io.EOF && len(b) > 0:
			return b, nil, io.ErrUnexpectedEOF
		case err != nil:
			return b, nil, err
		}
	}
}

var errHead = fmt.Errorf("websocket: the head of the handshake is longer than %d bytes", maxHead)

// clientHandshake asks for WebSocket on a connection to host. sub is the name of the
// sub-protocol, "" for none. rest is what was read behind the answer; control says that the
// server reads CONTROL.
func (o *Options) clientHandshake(conn io.ReadWriter, host, origin, sub string) (rest []byte, control bool, err error) {
	var nonce [16]byte
	rand.Read(nonce[:])
	key := base64.StdEncoding.EncodeToString(nonce[:])
	if _, err := conn.Write(o.appendRequest(nil, host, origin, sub, key)); err != nil {
		return nil, false, err
	}
	head, rest, err := readHead(conn)
	if err != nil {
		if len(head) > 0 {
			return nil, false, fmt.Errorf("websocket: the answer to the handshake ended after %d bytes, %.60q: %w", len(head), head, err)
		}
		return nil, false, err
	}
	b := parsers.Get().(*parser)
	defer parsers.Put(b)
	answer, err := http.ReadResponse(b.reader(head), nil)
	if err != nil {
		return nil, false, fmt.Errorf("websocket: the answer to the handshake, %.60q, is not of HTTP: %w", head, err)
	}
	return rest, sub != "" && saysControl(answer.Header), checkAnswer(answer, io.MultiReader(bytes.NewReader(rest), conn), key, sub)
}

// appendRequest appends the request of the handshake.
func (o *Options) appendRequest(dst []byte, host, origin, sub, key string) []byte {
	dst = append(dst, "GET "+o.target()+" HTTP/1.1\r\nHost: "+host+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "+key+"\r\n"...)
	if origin != "" && o.Header.Get("Origin") == "" {
		dst = append(dst, "Origin: "+origin+"\r\n"...)
	}
	dst = append(dst, "Sec-WebSocket-Version: 13\r\n"...)
	if sub != "" {
		dst = append(dst, "Sec-WebSocket-Protocol: "+sub+"\r\n"+controlLine+"\r\n"...)
	}
	buf := bytes.NewBuffer(dst)
	o.Header.WriteSubset(buf, ownHeaders)
	buf.WriteString("\r\n")
	return buf.Bytes()
}

// ownHeaders are those of the handshake itself.
var ownHeaders = map[string]bool{"Host": true, "Upgrade": true, "Connection": true, "Sec-Websocket-Key": true,
	"Sec-Websocket-Version": true, "Sec-Websocket-Protocol": true, "Sec-Websocket-Extensions": true, controlHeader: true, "Content-Length": true, "Transfer-Encoding": true}

// maxExcerpt is how much of a refusal's body an error quotes.
const maxExcerpt = 200

// checkAnswer checks the answer to a request with this key.
func checkAnswer(r *http.Response, body io.Reader, key, sub string) error {
	if r.StatusCode != http.StatusSwitchingProtocols {
		text := make([]byte, min(max(r.ContentLength, 0), maxExcerpt))
		n, _ := io.ReadFull(body, text)
		return &AnswerError{r.StatusCode, strings.TrimSpace(string(text[:n]))}
	}
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("websocket: the answer to the handshake "+format, args...)
	}
	got := tokens(r.Header, "Sec-WebSocket-Protocol")
	switch {
	case !hasToken(r.Header, "Upgrade", "websocket") || !hasToken(r.Header, "Connection", "upgrade"):
		return wrong("has no Upgrade: websocket, or no Connection: Upgrade")
	case strings.TrimSpace(r.Header.Get("Sec-WebSocket-Accept")) != acceptKey(key):
		return wrong("is not for this request: Sec-WebSocket-Accept is %.60q", r.Header.Get("Sec-WebSocket-Accept"))
	case len(r.Header.Values("Sec-WebSocket-Extensions")) > 0:
		return wrong("has an extension that was not offered: %.60q", r.Header.Get("Sec-WebSocket-Extensions"))
	case sub == "" && len(got) > 0:
		return wrong("has the sub-protocol %.60q, and none was offered", got)
	case sub != "" && (len(got) != 1 || got[0] != sub):
		return wrong("has the sub-protocol %.60q, want %s; a server of v5 or v7 knows none: dial it with NewClient", got, sub)
	}
	return nil
}

// AnswerError is the answer of a server that does not accept a WebSocket.
type AnswerError struct {
	Status int
	Text   string // the beginning of its body
}

func (e *AnswerError) Error() string {
	text := e.Text
	if text != "" {
		text = ": " + text
	}
	return fmt.Sprintf("websocket: the server answered %d %s%s", e.Status, http.StatusText(e.Status), text)
}
