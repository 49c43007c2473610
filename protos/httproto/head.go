package httproto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

// head is what the first line and the headers of a message say.
type head struct {
	size     int // in bytes
	response bool
	method   string // of a request, if the protocol has to know it
	verb     []byte // of a request: the method; refers to the head's bytes
	status   int    // of a response
	minor    int    // of the version HTTP/1

	length  int64 // of the body; -1 if it is not said
	chunked bool
	codec   byte
	noCodec string // why no codec reads the body of a request; "" if one does
	gzip    bool
	filter  xfer.XferFilter // that made the gzip, by X-Content-Encoding
	seq     int32
	hasSeq  bool
	mtype   byte // 0 if it is not said
	close   bool
	keep    bool // "Connection: keep-alive"
	expect  bool // "100-continue"
	takes   bool // gzip
	sender  Dialect
	hosts   int

	fault error // the request can be read, but not be served
}

// fault is why a message is not taken.
type fault struct {
	status int    // of the response that says so
	hint   header // of that response
	lost   bool
	text   string
	cause  error
}

func (f *fault) Error() string {
	if f.text == "" && f.cause != nil {
		return f.cause.Error()
	}
	if f.cause != nil {
		return "http: " + f.text + ": " + f.cause.Error()
	}
	return "http: " + f.text
}

func (f *fault) Unwrap() error { return f.cause }

// Is reports whether the connection can go on.
func (f *fault) Is(target error) bool { return target == socket.ErrBadMessage && !f.lost }

// lost is a fault behind which it is not known, or must not be guessed, where the
// next message begins.
func lost(status int, format string, args ...any) error {
	return &fault{status: status, lost: true, text: fmt.Sprintf(format, args...)}
}

// bad is a fault of a message that was read as a whole.
func bad(status int, format string, args ...any) error {
	return &fault{status: status, text: fmt.Sprintf(format, args...)}
}

const maxEmptyLines = 4 // before a request line

// readHead peeks at all up to the empty line.
func (p *httpProto) readHead() ([]byte, error) {
	lines, at, empty := 0, 0, 0
	for n := 1; ; {
		b, err := p.peekSome(n, maxHead)
		if err != nil {
			return nil, headError(err, len(b), empty)
		}
		if !tokenByte[b[0]] && b[0] != '\r' {
			return nil, noHTTP(b)
		}
		if b[0] == '\r' { // clients may send empty lines before a request
			if len(b) < 2 {
				n = 2
				continue
			}
			if empty++; b[1] != '\n' || empty > maxEmptyLines {
				return nil, lost(400, "no request: begins with %q", b[:min(len(b), 16)])
			}
			if _, err := p.in.Discard(2); err != nil {
				return nil, err
			}
			n = 1
			continue
		}
		for {
			i := bytes.IndexByte(b[at:], '\n')
			if i < 0 {
				break
			}
			if at == 0 && !p.heard.Load() {
				// Other protocols of text have no empty line, which would be awaited in vain.
				if !bytes.Contains(b[:i], []byte("HTTP/")) {
					return nil, noHTTP(b)
				}
				p.heard.Store(true)
			}
			if i == 0 || b[at+i-1] != '\r' {
				return nil, lost(400, "a line of the header ends without CR")
			}
			at += i + 1
			if i == 1 {
				return b[:at], nil
			}
			if lines++; lines > maxHeaders+1 {
				return nil, lost(431, "more than %d headers", maxHeaders)
			}
		}
		if len(b) >= maxHead {
			if at == 0 {
				return nil, lost(414, "a request line of more than %d bytes", maxHead)
			}
			return nil, lost(431, "headers of more than %d bytes", maxHead)
		}
		n = len(b) + 1
	}
}

// noHTTP is the fault of first bytes that are of another protocol. Its answer is for
// peers that say what they have received.
func noHTTP(b []byte) error {
	return &fault{status: 400, lost: true, cause: socket.WrongProto(Name, b)}
}

// peekSome peeks at n bytes, or at more if they are there; at most max.
func (p *httpProto) peekSome(n, max int) ([]byte, error) {
	b, err := p.in.Peek(n)
	if err != nil {
		return b, err
	}
	if more := min(p.in.Buffered(), max); more > n {
		return p.in.Peek(more)
	}
	return b, nil
}

func headError(err error, n, empty int) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	switch {
	case n > 0:
		return fmt.Errorf("http: header ended after %d bytes: %w", n, io.ErrUnexpectedEOF)
	case empty > 0:
		return bad(0, "empty lines instead of a message")
	}
	return io.EOF
}

// headLines are what parseHead collects for its end. They refer to the head's bytes.
type headLines struct {
	agent, encodings, ctype []byte
	typed, twoTypes         bool
	preferred               preference // by Accept
	lengths                 int        // headers that name the length
}

// parseHead takes the head apart, and fills m as far as it can. b is not kept.
func (p *httpProto) parseHead(h *head, b []byte, m socket.Message) error {
	*h = head{size: len(b), length: -1}
	first, rest := cutLine(b)
	var target []byte
	var err error
	if h.response = bytes.HasPrefix(first, []byte("HTTP/")); h.response {
		err = h.parseStatus(first)
	} else {
		target, err = h.parseRequest(first)
	}
	if err != nil {
		return err
	}
	m.Meta().Reset()
	var l headLines
	for len(rest) > 2 {
		var text []byte
		text, rest = cutLine(rest)
		value, err := p.cutField(text)
		if err == nil {
			err = h.take(&l, p.name, value, m.Meta())
		}
		if err != nil {
			return err
		}
	}
	switch {
	case h.chunked && (h.length >= 0 || l.lengths > 1):
		return lost(400, "Transfer-Encoding beside Content-Length, or twice")
	case h.chunked && h.minor == 0:
		return lost(400, "Transfer-Encoding in HTTP/1.0")
	}
	h.sender = ofAgent(l.agent)
	if h.response {
		h.codec = typeCodec(l.ctype)
		return nil
	}
	return p.endRequest(h, &l, target, m)
}

// take looks at one header.
func (h *head) take(l *headLines, name, value []byte, meta *socket.Meta) error {
	switch f := fieldOf(name); f {
	case fieldNone:
		meta.AddBytesKV(metaKey(name), value)
	case fieldHost:
		if h.hosts++; h.hosts > 1 {
			return lost(400, "more than one Host")
		}
		if !h.response && !validHost(value) {
			return lost(400, "invalid Host: %.40q", value)
		}
		meta.AddBytesKV(name, value)
	case fieldAgent:
		l.agent = value
	case fieldEncodings:
		l.encodings = value
		h.takes = h.takes || acceptsGzip(value)
	case fieldAccept:
		l.preferred.read(value)
		meta.AddBytesKV(name, value)
	case fieldType:
		l.twoTypes = l.twoTypes || l.typed && !bytes.Equal(l.ctype, value)
		l.typed, l.ctype = true, value
	case fieldLength, fieldTransfer:
		l.lengths++
		return h.framing(f, value)
	default:
		h.field(f, value)
	}
	return nil
}

// endRequest does what takes the head of a request as a whole.
func (p *httpProto) endRequest(h *head, l *headLines, target []byte, m socket.Message) error {
	if h.minor > 0 && h.hosts == 0 && h.sender == 0 { // peers of v5 and v7 send none
		return lost(400, "HTTP/1.1 without Host")
	}
	if len(target) == 0 && (h.sender == 0 || h.mtype != socket.TypeAuthCall) {
		return lost(400, "a request without a target") // but the AUTH_CALL of v5 and v7 has none
	}
	meta := m.Meta()
	if h.sender == 0 {
		if l.agent != nil {
			meta.AddBytesV("User-Agent", l.agent)
		}
		if l.encodings != nil {
			meta.AddBytesV("Accept-Encoding", l.encodings)
		}
		meta.AddBytesV(MetaMethod, h.verb)
	}
	p.findCodec(h, l)
	if err := p.setTarget(h, target, m); err != nil {
		return err
	}
	if id := l.preferred.codec(); id != codec.NilCodecID && id != h.codec && len(meta.Peek(socket.MetaAcceptBodyCodec)) == 0 {
		meta.SetBytesV(socket.MetaAcceptBodyCodec, strconv.AppendUint(nil, uint64(id), 10))
	}
	return nil
}

// cutLine cuts behind the first CRLF, which is there.
func cutLine(b []byte) (text, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	return b[:i-1], b[i+1:]
}

// cutField makes p.name the canonical name of a header, and returns its value.
func (p *httpProto) cutField(text []byte) (value []byte, err error) {
	if isBlank(text[0]) {
		return nil, lost(400, "a header goes on in the next line")
	}
	i := bytes.IndexByte(text, ':')
	if i < 0 || !validToken(text[:i]) {
		return nil, lost(400, "invalid name of a header: %.40q", text)
	}
	value = trimBlank(text[i+1:])
	if !validValue(value) {
		return nil, lost(400, "invalid value of header %.40q", text[:i])
	}
	p.name = appendCanonical(p.name[:0], text[:i])
	return value, nil
}

// parseStatus reads "HTTP/1.1 200 OK".
func (h *head) parseStatus(text []byte) error {
	minor, rest, ok := cutVersion(text)
	if !ok || len(rest) < 4 || rest[0] != ' ' || len(rest) > 4 && rest[4] != ' ' || !validValue(rest) {
		return lost(0, "invalid status line: %.40q", text)
	}
	status, ok := number(rest[1:4], 999)
	if !ok || status < 100 {
		return lost(0, "invalid status: %.40q", text)
	}
	h.minor, h.status = minor, int(status)
	return nil
}

// cutVersion cuts "HTTP/1." and a digit off.
func cutVersion(text []byte) (minor int, rest []byte, ok bool) {
	const version = "HTTP/1."
	if len(text) <= len(version) || string(text[:len(version)]) != version {
		return 0, nil, false
	}
	c := text[len(version)]
	return int(c - '0'), text[len(version)+1:], c >= '0' && c <= '9'
}

// parseRequest reads "POST /path?query HTTP/1.1".
func (h *head) parseRequest(text []byte) (target []byte, err error) {
	i, j := bytes.IndexByte(text, ' '), bytes.LastIndexByte(text, ' ')
	if i < 0 || i == j {
		return nil, lost(400, "invalid request line: %.80q", text)
	}
	method, target, version := text[:i], text[i+1:j], text[j+1:]
	minor, rest, ok := cutVersion(version)
	switch {
	case !validToken(method):
		return nil, lost(400, "invalid method: %.40q", method)
	case !ok && bytes.HasPrefix(version, []byte("HTTP/")):
		return nil, lost(505, "version %.40q is not HTTP/1.1", version)
	case !ok || len(rest) > 0:
		return nil, lost(400, "invalid version: %.40q", version)
	case !validTarget(target):
		return nil, lost(400, "invalid target: %.80q", target)
	}
	h.minor, h.verb = minor, method
	switch string(method) {
	case "CONNECT":
		return nil, lost(501, "method CONNECT")
	case "HEAD", "OPTIONS", "TRACE":
		h.method = string(method)
	}
	return target, nil
}

// number reads decimal digits, and nothing else.
func number(b []byte, most uint64) (uint64, bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, n <= most
}

// framing reads the headers that say where the body ends.
func (h *head) framing(f field, value []byte) error {
	if f == fieldTransfer {
		if !equalFold(value, "chunked") {
			return lost(501, "Transfer-Encoding %.40q is not chunked", value)
		}
		h.chunked = true
		return nil
	}
	n, ok := number(value, 1<<62)
	if !ok {
		return lost(400, "invalid Content-Length: %.40q", value)
	}
	if h.length >= 0 && h.length != int64(n) {
		return lost(400, "two Content-Lengths: %d and %d", h.length, n)
	}
	h.length = int64(n)
	return nil
}

// field reads the protocol's other headers. What is wrong in them does not touch
// where the message ends.
func (h *head) field(f field, value []byte) {
	switch f {
	case fieldEncoding:
		eachItem(value, func(coding []byte) {
			switch {
			case equalFold(coding, "identity"):
			case !h.gzip && (equalFold(coding, "gzip") || equalFold(coding, "x-gzip")):
				h.gzip = true
			default:
				h.wrong(415, "Content-Encoding %.40q is not gzip", value).hint = header{"Accept-Encoding", "gzip"}
			}
		})
	case fieldFilter:
		filter, err := xfer.GetByName(string(value))
		switch {
		case err == nil && isGzip(filter):
			h.filter = filter
		case err == nil || !strings.HasPrefix(string(value), xfer.NameGzip):
			h.wrong(415, "X-Content-Encoding %.40q is no gzip filter", value)
		}
	case fieldSeq:
		n, err := strconv.ParseInt(string(value), 10, 32)
		if err != nil || n < 0 || h.hasSeq && h.seq != int32(n) {
			h.wrong(400, "invalid X-Seq: %.40q", value)
			return
		}
		h.seq, h.hasSeq = int32(n), true
	case fieldMtype:
		n, ok := number(value, 255)
		if !ok || n == 0 || h.mtype != 0 && h.mtype != byte(n) {
			h.wrong(400, "invalid X-Mtype: %.40q", value)
			return
		}
		h.mtype = byte(n)
	case fieldConnection:
		eachItem(value, func(option []byte) {
			h.close = h.close || equalFold(option, "close")
			h.keep = h.keep || equalFold(option, "keep-alive")
		})
	case fieldExpect:
		if h.expect = equalFold(value, "100-continue"); !h.expect {
			h.fault = lost(417, "Expect %.40q is not 100-continue", value)
		}
	}
}

// wrong notes the first thing that is wrong, and returns the fault.
func (h *head) wrong(status int, format string, args ...any) *fault {
	f := &fault{status: status, text: fmt.Sprintf(format, args...)}
	if h.fault == nil {
		h.fault = f
	}
	return f
}
