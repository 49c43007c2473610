package httproto

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

// Which codec reads the body of a request, and which one writes that of its
// response.

// findCodec finds the codec of a body by its Content-Type. A request that no codec
// reads goes on all the same, because its handler may want the bytes; if it does
// not, failure answers with the reason noted here.
func (p *httpProto) findCodec(h *head, l *headLines) {
	h.codec = typeCodec(l.ctype)
	switch {
	case h.length <= 0 && !h.chunked: // no body
	case l.twoTypes:
		h.wrong(400, "two Content-Types, the second %.80q", l.ctype)
	case len(p.cfg.Codecs) > 0 && !slices.Contains(p.cfg.Codecs, h.codec):
		taken := p.acceptedTypes()
		h.wrong(415, "%s is not taken: send %s", nameType(l), taken).hint = header{"Accept", taken}
	case h.sender != 0: // peers of v5 and v7 know 400, from the engine
	default:
		if _, err := codec.Get(h.codec); err != nil {
			h.noCodec = nameType(l) + ": no codec reads it"
			if h.codec != codec.NilCodecID {
				h.noCodec = nameType(l) + ": " + err.Error()
			}
		}
	}
}

func nameType(l *headLines) string {
	if !l.typed {
		return "a body without Content-Type"
	}
	return fmt.Sprintf("Content-Type %.80q", l.ctype)
}

// checkForm notes that a body is not the form it is said to be. Programs that send
// what they are given, as curl -d does, call everything a form; read as one, JSON
// would be a key of a strange name, and the argument empty.
func (h *head) checkForm(body []byte) {
	if h.codec != codec.Form || h.sender != 0 || h.noCodec != "" {
		return
	}
	if is, want := sniff(body); is != "" {
		h.codec = codec.NilCodecID
		h.noCodec = fmt.Sprintf("%s, but the body is %s: send Content-Type: %s", saysForm, is, want)
	}
}

const saysForm = "Content-Type says application/x-www-form-urlencoded, as curl -d does by itself"

// sniff finds out what a body is that cannot be meant as a form: no form begins like
// JSON or XML, since those characters are escaped there.
func sniff(body []byte) (name, contentType string) {
	b := bytes.TrimSpace(body)
	if len(b) == 0 {
		return "", ""
	}
	switch first, last := b[0], b[len(b)-1]; {
	case (first == '{' || first == '[' || first == '"') && json.Valid(b):
		return "JSON", "application/json"
	case first == '<' && last == '>':
		return "XML", "application/xml"
	}
	return "", ""
}

// acceptedTypes lists the content types of bodies that the server reads.
func (p *httpProto) acceptedTypes() string {
	var list []byte
	for _, c := range codec.All() {
		text := bareType(GetContentType(c.ID(), ""))
		if text == "" || len(p.cfg.Codecs) > 0 && !slices.Contains(p.cfg.Codecs, c.ID()) {
			continue
		}
		if len(list) > 0 {
			list = append(list, ", "...)
		}
		list = append(list, text...)
	}
	return string(list)
}

// failure returns the error that a response says, its status, and a header that
// belongs to it.
func (p *httpProto) failure(r *socket.Rerror, meta *socket.Meta, o *origin) (*socket.Rerror, int, header) {
	switch {
	case o.sender != 0:
		return r, business, header{}
	case o.status == 0 && isRedirect(r, meta):
		return r, int(r.Code), header{}
	case o.status != 0:
		return r, o.status, o.hint
	case errors.Is(r.Cause(), socket.ErrDraining):
		return r, 503, header{}
	case o.noCodec != "" && errors.Is(r.Cause(), codec.ErrUnsupported):
		return socket.NewRerror(415, statusText(415), "http: "+o.noCodec), 415, header{"Accept", p.acceptedTypes()}
	}
	if p.cfg.Status != nil {
		if s := p.cfg.Status(r.Code); s == business || s >= 400 && s <= 599 {
			return r, s, header{}
		}
	}
	return r, statusOf(r.Code), header{}
}

// encodeAsJSON encodes a reply that its codec cannot carry, such as a list after a
// request that was a form: the handler has run, and what it did should not be
// answered with an error. It returns false if that is no way out.
func (s *scratch) encodeAsJSON(m socket.Message, o *origin) (body []byte, ok bool) {
	was := m.BodyCodec()
	if o.sender != 0 || was == codec.JSON {
		return nil, false
	}
	if c, err := codec.Get(was); err == nil {
		// Then the frame may be made under the lock of the connection, where
		// code of the user, which JSON may run, has no place. It is not if the codec
		// has said before that it cannot carry the value: its size is below 0.
		if sizer, ok := c.(codec.Sizer); ok && sizer.Pure() && sizer.Size(m.Body()) >= 0 {
			return nil, false
		}
	}
	m.SetBodyCodec(codec.JSON)
	body, err := s.encode(m)
	if err != nil {
		m.SetBodyCodec(was)
		return nil, false
	}
	return body, true
}

// preference is what the Accept headers of a request ask for.
type preference struct {
	items  int  // read so far
	id     byte // 0 for any
	weight int
	named  bool // by its type, not by "*/*" and the like
	html   bool // text/html is among them
}

// maxAccepted is how many types of a request's Accept headers are looked at.
const maxAccepted = 100

// read looks for a codec in one Accept header. The highest weight counts, then a
// type before a range of types, then the first.
func (p *preference) read(list []byte) {
	eachItem(list, func(item []byte) {
		name, weight := cutWeight(item)
		if p.items++; weight == 0 || p.items > maxAccepted {
			return
		}
		id, named, ok := codecFor(name)
		if !ok {
			p.html = p.html || equalFold(name, "text/html")
			return
		}
		if weight > p.weight || weight == p.weight && named && !p.named {
			p.id, p.weight, p.named = id, weight, named
		}
	})
}

// codec returns the codec that is asked for, 0 for none. A browser that follows a
// link asks for text/html, and weighs XML and all others only by how well it can
// show them: that is no preference.
func (p *preference) codec() byte {
	if p.html {
		return codec.NilCodecID
	}
	return p.id
}

// codecFor returns the codec of a type, or of a range of types. "*/*" is any, 0;
// "type/*" is JSON if that is of the type, or the first codec that is.
func codecFor(name []byte) (id byte, named, ok bool) {
	if string(name) == "*/*" {
		return codec.NilCodecID, false, true
	}
	family, ranged := bytes.CutSuffix(name, []byte("/*"))
	if !ranged {
		id = typeCodec(name)
		_, err := codec.Get(id)
		return id, true, err == nil
	}
	all := codec.All()
	if c, err := codec.Get(codec.JSON); err == nil {
		all = append([]codec.Codec{c}, all...)
	}
	for _, c := range all {
		of, _, _ := bytes.Cut([]byte(GetContentType(c.ID(), "")), []byte("/"))
		if len(of) > 0 && bytes.EqualFold(of, family) {
			return c.ID(), false, true
		}
	}
	return codec.NilCodecID, false, false
}
