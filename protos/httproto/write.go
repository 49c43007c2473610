package httproto

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

// line is a header in scratch.head: its name up to mid, then value and CRLF.
type line struct{ start, mid, end int }

// scratch is what packing needs beside the frame.
type scratch struct {
	head   []byte
	lines  []line
	body   []byte
	packed []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// keepMax is the largest buffer that is kept for the next message.
const keepMax = 64 << 10

func (s *scratch) free() {
	s.head, s.lines = s.head[:0], s.lines[:0]
	for _, b := range []*[]byte{&s.head, &s.body, &s.packed} {
		if cap(*b) > keepMax {
			*b = nil
		}
	}
	scratches.Put(s)
}

// Pack writes the frame of m with one Write.
func (p *httpProto) Pack(m socket.Message) error {
	if p.room != nil {
		frame, err := p.AppendFrame(p.room.AvailableBuffer(), m)
		if err != nil {
			return err
		}
		_, err = p.room.Write(frame)
		return err
	}
	frame, err := p.AppendFrame(nil, m)
	if err != nil {
		return err
	}
	_, err = p.rw.Write(frame)
	return err
}

// AppendFrame appends the request or response of m to dst. It may be called
// concurrently.
func (p *httpProto) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	s := scratches.Get().(*scratch)
	defer s.free()
	switch t := m.Mtype(); t {
	case socket.TypeCall, socket.TypeAuthCall:
		return p.appendRequest(dst, m, s)
	case socket.TypeReply, socket.TypeAuthReply:
		return p.appendResponse(dst, m, s)
	case socket.TypePush:
		return dst, errors.New("http: unsupported message type: 3 (PUSH): a request has to have a response")
	default:
		return dst, fmt.Errorf("http: unsupported message type: %d (%s)", t, socket.TypeText(t))
	}
}

func (p *httpProto) appendRequest(dst []byte, m socket.Message, s *scratch) ([]byte, error) {
	d := Dialect(p.dialect.Load())
	if !d.valid() {
		return dst, fmt.Errorf("http: no such dialect: %d", d)
	}
	if m.Seq() < 0 {
		return dst, fmt.Errorf("http: seq %d is below 0", m.Seq())
	}
	filter, err := gzipOf(m.XferPipe())
	if err != nil {
		return dst, err
	}
	body, err := s.encode(m)
	if err != nil {
		return dst, err
	}
	if body, err = s.pack(m.XferPipe(), body); err != nil {
		return dst, err
	}
	out, host, err := appendTarget(append(dst, "POST "...), m.ServiceMethod())
	if err != nil {
		return dst, err
	}
	out = append(out, " HTTP/1.1\r\n"...)
	s.add("Accept-Encoding", "gzip")
	s.content(m.BodyCodec(), len(body))
	s.filter(filter, true)
	if host != "" {
		s.add("Host", host)
	}
	if d == V7 {
		s.add("User-Agent", agentV7)
	} else {
		s.add("User-Agent", agentV5)
	}
	s.number("X-Mtype", int64(m.Mtype()))
	s.number("X-Seq", int64(m.Seq()))
	if err := s.meta(m.Meta(), true, host != ""); err != nil {
		return dst, err
	}
	if out, err = s.finish(dst, out, body, m); err != nil {
		return dst, err
	}
	p.called(m.Seq())
	return out, nil
}

func (p *httpProto) appendResponse(dst []byte, m socket.Message, s *scratch) ([]byte, error) {
	o, ok := p.origin(m.Seq())
	if !ok {
		return dst, fmt.Errorf("http: no request waits for a response of seq %d", m.Seq())
	}
	bye := isBye(m)
	if l, ok := m.(interface{ Last() bool }); ok && l.Last() && p.onlyOpen(m.Seq()) || bye {
		o.close, o.keep = true, false
	}
	filter, err := gzipOf(m.XferPipe())
	if err != nil {
		return dst, err
	}
	var body []byte
	status, hint := 200, header{}
	switch rerr := m.Rerror(); {
	case o.status == 204:
		status, hint = o.status, o.hint
	case bye && o.sender == 0:
		status = 408
	case rerr.HasError():
		if o.sender == 0 && m.Seq() < 0 && errors.Is(rerr.Cause(), socket.ErrDraining) {
			o.close, o.keep = true, false // all requests before it have been answered
		}
		rerr, status, hint = p.failure(rerr, m.Meta(), &o)
		s.body = appendError(s.body[:0], rerr, o.sender)
		body = s.body
		s.add("Content-Type", "application/json")
	default:
		var ctype []byte
		status, ctype = chosen(m.Meta(), o.sender)
		if bodiless(status) {
			break
		}
		if body, err = s.encode(m); err != nil {
			var ok bool
			if body, ok = s.encodeAsJSON(m, &o); !ok {
				return dst, err
			}
		}
		if ctype != nil {
			s.add("Content-Type", string(ctype))
		} else {
			s.contentType(m.BodyCodec())
		}
	}
	if !bodiless(status) {
		if o.gzip {
			if body, err = s.pack(m.XferPipe(), body); err != nil {
				return dst, err
			}
			s.filter(filter, o.hasSeq)
		}
		s.number("Content-Length", int64(len(body)))
	}
	if hint.name != "" {
		s.add(hint.name, hint.value)
	}
	p.aboutConnection(s, m, &o)
	if err := s.meta(m.Meta(), false, false); err != nil {
		return dst, err
	}
	if o.head {
		body = nil
	}
	out := append(dst, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(status), 10)
	out = append(out, ' ')
	out = append(append(out, statusText(status)...), "\r\n"...)
	if out, err = s.finish(dst, out, body, m); err != nil {
		return dst, err
	}
	return p.answered(out, m.Seq(), &o), nil
}

// isBye reports whether the reply, which answers no request, is the end of the connection.
func isBye(m socket.Message) bool {
	return m.Seq() == 0 && m.Meta().Len() > 0 && m.Meta().Has(socket.MetaBye)
}

// aboutConnection adds the headers that are the same whatever the response is.
func (p *httpProto) aboutConnection(s *scratch, m socket.Message, o *origin) {
	if o.hasSeq {
		s.number("X-Mtype", int64(m.Mtype()))
		s.number("X-Seq", int64(o.seq))
	}
	switch {
	case o.close:
		s.add("Connection", "close")
	case o.keep:
		s.add("Connection", "keep-alive")
	}
	if o.sender == 0 && m.Seq() < 0 {
		s.begin("Date")
		s.head = time.Now().UTC().AppendFormat(s.head, "Mon, 02 Jan 2006 15:04:05 GMT")
		s.end()
	}
}

// gzipOf returns the one filter that HTTP knows, nil for none. All others are
// refused.
func gzipOf(pipe *xfer.XferPipe) (filter xfer.XferFilter, err error) {
	pipe.Range(func(i int, f xfer.XferFilter) bool {
		if i > 0 || !isGzip(f) {
			err = fmt.Errorf("http: unsupported transfer filter: %s (id %d): gzip alone, and once", f.Name(), f.ID())
			return false
		}
		filter = f
		return true
	})
	return filter, err
}

// isGzip reports whether a filter writes gzip: it is named so, as "gzip-9" is.
func isGzip(f xfer.XferFilter) bool {
	return f.ID() == xfer.Gzip || strings.HasPrefix(f.Name(), xfer.NameGzip)
}

// encode returns the body of m, which is valid until the scratch is freed.
func (s *scratch) encode(m socket.Message) (body []byte, err error) {
	switch m.Body().(type) {
	case nil, []byte, *[]byte:
		return m.MarshalBody()
	}
	s.body, err = m.AppendBody(s.body[:0])
	return s.body, err
}

func (s *scratch) pack(pipe *xfer.XferPipe, body []byte) (packed []byte, err error) {
	if pipe.Len() == 0 {
		return body, nil
	}
	s.packed, err = pipe.AppendPack(s.packed[:0], body)
	return s.packed, err
}

func (s *scratch) content(codec byte, size int) {
	s.number("Content-Length", int64(size))
	s.contentType(codec)
}

func (s *scratch) contentType(codec byte) {
	s.begin("Content-Type")
	mark := len(s.head)
	if s.head = appendType(s.head, codec); len(s.head) > mark {
		s.end()
		return
	}
	s.lines = s.lines[:len(s.lines)-1]
}

// filter writes that the body is compressed, and for peers by which filter.
func (s *scratch) filter(f xfer.XferFilter, named bool) {
	if f == nil {
		return
	}
	s.add("Content-Encoding", "gzip")
	if named {
		s.add("X-Content-Encoding", f.Name())
	}
}

// begin starts a header whose value is then appended to s.head, until end.
func (s *scratch) begin(name string) {
	start := len(s.head)
	s.head = append(s.head, name...)
	s.lines = append(s.lines, line{start: start, mid: len(s.head)})
	s.head = append(s.head, ": "...)
}

func (s *scratch) end() {
	s.head = append(s.head, "\r\n"...)
	s.lines[len(s.lines)-1].end = len(s.head)
}

func (s *scratch) add(name, value string) {
	s.begin(name)
	s.head = append(s.head, value...)
	s.end()
}

func (s *scratch) number(name string, n int64) {
	s.begin(name)
	s.head = strconv.AppendInt(s.head, n, 10)
	s.end()
}

// meta adds the metadata. What would break out of its line is refused.
func (s *scratch) meta(m *socket.Meta, request, hasHost bool) error {
	if m.Len() == 0 {
		return nil
	}
	for k, v := range m.All() {
		if isPseudo(k) {
			continue
		}
		if !validToken(k) {
			return fmt.Errorf("http: metadata key %.40q cannot be the name of a header", k)
		}
		if !validValue(v) || len(v) > 0 && (isBlank(v[0]) || isBlank(v[len(v)-1])) {
			return fmt.Errorf("http: metadata %.40q: value %.40q cannot be that of a header", k, v)
		}
		start := len(s.head)
		s.head = appendCanonical(s.head, k)
		name := s.head[start:]
		if !fromMeta(name, request) || hasHost && string(name) == "Host" {
			s.head = s.head[:start]
			continue
		}
		hasHost = hasHost || string(name) == "Host"
		s.lines = append(s.lines, line{start: start, mid: len(s.head)})
		s.head = append(append(s.head, ": "...), v...)
		if s.end(); len(s.lines) > maxHeaders || len(s.head) > maxHead {
			return nil // finish refuses it
		}
	}
	return nil
}

// finish appends the headers, sorted by name, and the body to out, which begins
// with dst, and gives the message its size.
func (s *scratch) finish(dst, out, body []byte, m socket.Message) ([]byte, error) {
	if len(s.lines) > maxHeaders || len(s.head) > maxHead {
		return dst, fmt.Errorf("http: %d headers of %d bytes: no more than %d of %d are sent", len(s.lines), len(s.head), maxHeaders, maxHead)
	}
	slices.SortStableFunc(s.lines, func(a, b line) int {
		return bytes.Compare(s.head[a.start:a.mid], s.head[b.start:b.mid])
	})
	for _, l := range s.lines {
		out = append(out, s.head[l.start:l.end]...)
	}
	out = append(out, "\r\n"...)
	if n := len(out) - len(dst); n > maxHead {
		return dst, fmt.Errorf("http: headers of %d bytes: no more than %d are sent", n, maxHead)
	}
	size := uint64(len(out)-len(dst)) + uint64(len(body))
	if size > math.MaxUint32 {
		return dst, fmt.Errorf("http: message of %d bytes: %w", size, socket.ErrSizeLimit)
	}
	if err := m.SetSize(uint32(size)); err != nil {
		return dst, err
	}
	return append(out, body...), nil
}
