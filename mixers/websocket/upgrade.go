package websocket

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
)

// This file holds the server's part of the opening handshake, RFC 6455 section 4.2, for a
// request that net/http has parsed.
//
// Neither half of the handshake is that of gobwas/ws: its Upgrader makes no *http.Request,
// which Handshake and the plugins of v7 want, and its Dialer reads ahead, so that the
// connection could not be used as it is.

// acceptKey returns the value of Sec-WebSocket-Accept for a Sec-WebSocket-Key.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// refusal is an answer other than 101.
type refusal struct {
	status int
	text   string // for people
	header [2]string
	rerr   *tp.Rerror // of Options.Handshake
}

func (r *refusal) Error() string {
	return fmt.Sprintf("websocket: %d %s: %s", r.status, http.StatusText(r.status), r.text)
}

// append appends the answer as bytes. The connection is closed behind it.
func (r *refusal) append(dst []byte) []byte {
	body := r.text + "\n"
	dst = fmt.Appendf(dst, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n",
		r.status, http.StatusText(r.status), len(body))
	if r.header[0] != "" {
		dst = fmt.Appendf(dst, "%s: %s\r\n", r.header[0], r.header[1])
	}
	return append(append(dst, "\r\n"...), body...)
}

// upgrade is a request that is in order.
type upgrade struct {
	key     string
	sub     *SubProtocol // that the client has named; nil: none
	resumes bool         // with the prefix of a stream
	control bool         // the client has said that it reads CONTROL
	values  map[any]any  // for the Swap of the session
}

// isUpgrade reports whether a request asks for WebSocket.
func isUpgrade(r *http.Request) bool { return hasToken(r.Header, "Upgrade", "websocket") }

// upgrade checks a request to the peer.
func (o *Options) upgrade(r *http.Request, peer tp.Peer) (*upgrade, *refusal) {
	key := r.Header.Get("Sec-WebSocket-Key")
	nonce, err := base64.StdEncoding.DecodeString(key)
	offered := tokens(r.Header, "Sec-WebSocket-Protocol")
	switch {
	case r.Method != http.MethodGet:
		return nil, &refusal{status: http.StatusMethodNotAllowed, text: "WebSocket begins with GET", header: [2]string{"Allow", "GET"}}
	case !isUpgrade(r):
		return nil, &refusal{status: http.StatusUpgradeRequired, text: "this is a WebSocket server: the request has no header Upgrade: websocket",
			header: [2]string{"Upgrade", "websocket"}}
	case !r.ProtoAtLeast(1, 1), !hasToken(r.Header, "Connection", "upgrade"), r.Host == "":
		return nil, bad("the request is not of HTTP/1.1, or it has no header Connection: Upgrade, or no Host; a proxy may have removed it")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return nil, &refusal{status: http.StatusUpgradeRequired, text: "this server has version 13 of WebSocket, and no other",
			header: [2]string{"Sec-WebSocket-Version", "13"}}
	case err != nil || len(nonce) != 16:
		return nil, bad("Sec-WebSocket-Key is not 16 bytes in base64")
	case r.ContentLength > 0 || len(r.TransferEncoding) > 0:
		return nil, bad("the request has a body")
	case !o.allows(r.Header.Get("Origin"), r.Host):
		return nil, &refusal{status: http.StatusForbidden, text: fmt.Sprintf("pages of the origin %.100q may not connect to %.100q", r.Header.Get("Origin"), r.Host)}
	}
	sub, resumes, ok := o.find(offered)
	if !ok {
		return nil, bad(fmt.Sprintf("none of the sub-protocols %.200q is known, but %s", offered, o.known()))
	}
	values, rerr := o.authorise(r, peer)
	if rerr.HasError() {
		return nil, refused(rerr)
	}
	return &upgrade{key, sub, resumes, sub != nil && saysControl(r.Header), values}, nil
}

func bad(text string) *refusal { return &refusal{status: http.StatusBadRequest, text: text} }

// refused is the answer for an error of a Handshake. Its text is for the client, its
// reason may not be.
func refused(rerr *tp.Rerror) *refusal {
	status := http.StatusForbidden
	if rerr.Code == tp.CodeUnauthorized {
		status = http.StatusUnauthorized
	}
	return &refusal{status: status, text: rerr.Message, rerr: rerr}
}

// appendAnswer appends the answer to the request.
func (u *upgrade) appendAnswer(dst []byte) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = append(dst, acceptKey(u.key)...)
	if u.sub != nil {
		dst = append(dst, "\r\nSec-WebSocket-Protocol: "...)
		if u.resumes {
			dst = append(dst, streamPrefix...)
		}
		dst = append(dst, u.sub.Name...)
	}
	if u.control {
		dst = append(dst, "\r\n"+controlLine...)
	}
	return append(dst, "\r\n\r\n"...)
}

// proto returns the protocol of the connection; none is that of a client that has named no
// sub-protocol, nil for the JSON layout of v5 and v7.
func (u *upgrade) proto(none socket.ProtoFunc) socket.ProtoFunc {
	if u.sub != nil {
		return newProtoFunc(link{u.sub.Name, u.control, u.resumes}, u.sub.New)
	}
	return NewWsProtoFunc(none)
}

// controlHeader says in a request that names a sub-protocol, and in the answer to it, that
// this side reads messages of the types CONTROL and DATA.
const (
	controlHeader = "Teleport-Control"
	controlLine   = controlHeader + ": 1"
)

func saysControl(h http.Header) bool { return h.Get(controlHeader) == "1" }

// tokens returns the elements of a header that is a list.
func tokens(h http.Header, name string) (list []string) {
	for _, line := range h.Values(name) {
		for t := range strings.SplitSeq(line, ",") {
			if t = strings.TrimSpace(t); t != "" {
				list = append(list, t)
			}
		}
	}
	return list
}

// hasToken reports whether a header that is a list has the element, in any case of letters.
func hasToken(h http.Header, name, token string) bool {
	return slices.ContainsFunc(tokens(h, name), func(t string) bool { return strings.EqualFold(t, token) })
}

// isToken reports whether s is a token of HTTP, RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
