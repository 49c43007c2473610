package websocket

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/protos/jsonproto"
	"github.com/teleport-go/teleport/protos/pbproto"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// Names of sub-protocols, as Sec-WebSocket-Protocol has them.
const (
	SubJSON = "teleport.json" // jsonproto.NewScriptProtoFunc, for scripts that people write by hand
	SubPb   = "teleport.pb"   // pbproto.NewUnframedProtoFunc
	SubRaw  = "teleport.raw"  // rawproto.NewRawProtoFunc
)

// SubProtocol is a sub-protocol by its name.
type SubProtocol struct {
	Name string
	New  socket.ProtoFunc
}

// subProtocols are those that every server knows.
var subProtocols = []SubProtocol{
	{SubJSON, jsonproto.NewScriptProtoFunc()},
	{SubPb, pbproto.NewUnframedProtoFunc()},
	{SubRaw, rawproto.NewRawProtoFunc(rawproto.Seed)},
}

// Handshake examines the request of a client before it is answered, on the goroutine of
// that connection. An error refuses the connection: with the HTTP status 401 or 403 for
// these codes, else 403. The values are in the session's Swap before the PostAccept hooks.
type Handshake func(r *http.Request) (values map[any]any, rerr *tp.Rerror)

// Options are those of a server, and some of them of a client. The zero value is usable.
type Options struct {
	// Path is that of the URL: a client asks for it, and a network answers 404 to any
	// other. It is cleaned, and begins with a slash; "" is "/". For a client it may have a
	// query: "/ws?token=x". An http.Handler does not use it: where it is mounted decides.
	Path string

	// Proto is the sub-protocol of clients that name none. For a server nil is the JSON
	// layout of v5 and v7. A network uses the protocol of the peer instead.
	Proto socket.ProtoFunc

	// SubProtocols are known beside teleport.json, teleport.pb and teleport.raw, and
	// replace those of the same name. The first that a client names and the server knows
	// is used; if the server knows none of them, it refuses the client.
	SubProtocols []SubProtocol

	// Origins are patterns of the pages that may connect, beside those from the host that
	// the request names. A pattern is a host, or scheme://host, with its port if it is not
	// the usual one; in the host, * stands for any number of characters, as in path.Match.
	// "*" allows every page, "null" those without an origin, such as files. Clients that
	// send no Origin, as all but browsers, are not restricted, nor are those of v5 and v7,
	// which send one with the scheme ws.
	Origins []string

	// Handshake, if not nil, is called for each request that is otherwise in order.
	Handshake Handshake

	// TrustedProxies are networks (CIDR) or addresses whose X-Forwarded-For is believed:
	// RealIP of a context is then the last address in it. They are for an http.Handler; a
	// network uses PeerConfig.TrustedProxies.
	TrustedProxies []string

	// Resume, if not nil, makes sessions outlive their connections: it is the Streams of
	// package mixers/resume. A server serves clients with streams and without; a client
	// then needs a server that has them, and a protocol with a name.
	//
	// Each connection shakes hands as the first one did. It resumes a session only if
	// Handshake, and the plugins, have stored values that are equal to those of the first
	// one by ==, or none: store what says who the client is, and make what is new for a
	// session in PostAccept.
	Resume Resumer

	// Header is sent by a client, with its request.
	Header http.Header
}

// cleanPath returns the path of a URL, which begins with a slash.
func cleanPath(p string) string { return path.Join("/", p) }

// path is the Path, cleaned, without its query.
func (o *Options) path() string {
	p, _, _ := strings.Cut(o.Path, "?")
	return cleanPath(p)
}

// target is what a client asks for.
func (o *Options) target() string {
	_, query, _ := strings.Cut(o.Path, "?")
	return (&url.URL{Path: o.path(), RawQuery: query}).RequestURI()
}

// find returns the sub-protocol for the names that a client offers, and whether it is the
// one for a stream. ok is false if none of them is known; without names the sub-protocol is
// nil, and ok is true.
func (o *Options) find(offered []string) (sub *SubProtocol, resumes, ok bool) {
	for _, name := range offered {
		if o.Resume != nil {
			name, resumes = strings.CutPrefix(name, streamPrefix)
		}
		for _, list := range [][]SubProtocol{o.SubProtocols, subProtocols} {
			if i := slices.IndexFunc(list, func(s SubProtocol) bool { return s.Name == name }); i >= 0 {
				return &list[i], resumes, true
			}
		}
	}
	return nil, false, len(offered) == 0
}

// known are the names of all sub-protocols.
func (o *Options) known() string {
	var names []string
	for _, list := range [][]SubProtocol{subProtocols, o.SubProtocols} {
		for _, s := range list {
			if !slices.Contains(names, s.Name) {
				names = append(names, s.Name)
			}
		}
	}
	return strings.Join(names, ", ")
}

// check returns an error for options that cannot work.
func (o *Options) check() error {
	if strings.ContainsFunc(o.target(), func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("websocket: Options.Path %q: its query has a space or a control character, which must be escaped", o.Path)
	}
	for _, pattern := range o.Origins {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("websocket: Options.Origins %q: %w", pattern, err)
		}
	}
	for _, s := range o.SubProtocols {
		if !isToken(s.Name) || s.New == nil {
			return fmt.Errorf("websocket: Options.SubProtocols: %q has no function, or its name is not a token of HTTP", s.Name)
		}
	}
	_, err := parseProxies(o.TrustedProxies)
	return err
}

// allows reports whether a page of this origin may connect to a server that the request
// calls host.
func (o *Options) allows(origin, host string) bool {
	if origin == "" || slices.Contains(o.Origins, "*") || slices.Contains(o.Origins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" { // "null" for example, of a page without an origin
		return false
	}
	if u.Scheme == "ws" || u.Scheme == "wss" {
		return true // no browser sends it
	}
	if strings.EqualFold(u.Host, host) {
		return true
	}
	from := strings.ToLower(u.Host)
	for _, pattern := range o.Origins {
		target := from
		if strings.Contains(pattern, "://") {
			target = strings.ToLower(u.Scheme) + "://" + from
		}
		if ok, _ := path.Match(strings.ToLower(pattern), target); ok {
			return true
		}
	}
	return false
}

func parseProxies(texts []string) (list []netip.Prefix, err error) {
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err2 := netip.ParseAddr(text)
			if err2 != nil {
				return nil, fmt.Errorf("websocket: Options.TrustedProxies %q: %w", text, err)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		list = append(list, prefix.Masked())
	}
	return list, nil
}

// contains reports whether the address is in one of the networks.
func contains(list []netip.Prefix, a net.Addr) bool {
	if a == nil || len(list) == 0 {
		return false
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return false
	}
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ap.Addr().Unmap()) })
}

// forwardedFor returns the address for which the nearest proxy has forwarded the request,
// "" if it names none.
func forwardedFor(r *http.Request) string {
	list := r.Header.Values("X-Forwarded-For")
	if len(list) == 0 {
		return ""
	}
	last := list[len(list)-1]
	last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	if addr, err := netip.ParseAddr(strings.Trim(last, "[]")); err == nil {
		return addr.String()
	}
	if ap, err := netip.ParseAddrPort(last); err == nil {
		return ap.Addr().String()
	}
	return ""
}
