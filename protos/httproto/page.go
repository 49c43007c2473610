package httproto

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strconv"

	"github.com/teleport-go/teleport/core/socket"
)

// What handlers for browsers need: the method and the scheme of a request; the type and
// the status of a response.

// Metadata of these keys, which no header can have, is what HTTP says outside of the
// headers. It is not written as headers, so a peer that forwards metadata may pass it on.
const (
	MetaMethod = ":method" // of a request of a client that is no peer: "GET"
	MetaStatus = ":status" // of a response, unless it is 200
)

// Method returns the method of the request, such as "GET"; "" for a message that came by
// another protocol, or from a peer.
func Method(ctx interface{ PeekMeta(key string) []byte }) string {
	return string(ctx.PeekMeta(MetaMethod))
}

// SchemeCtx is the part of a handler's context that Scheme needs.
type SchemeCtx interface {
	PeekMeta(key string) []byte
	ConnectionState() *tls.ConnectionState
	IP() string
	RealIP() string
}

// Scheme returns "https" for a request that came over TLS, else "http". A proxy in front
// that is one of PeerConfig.TrustedProxies, and sends X-Real-IP, is believed what it says
// in X-Forwarded-Proto.
func Scheme(ctx SchemeCtx) string {
	if ctx.RealIP() != ctx.IP() { // a trusted proxy
		if p := string(ctx.PeekMeta("X-Forwarded-Proto")); p == "https" || p == "http" {
			return p
		}
	}
	if ctx.ConnectionState() != nil {
		return "https"
	}
	return "http"
}

// SetStatus sets the status of the response, from 200 to 599, if the handler returns no
// error: 201 beside metadata Location, 204 (no body is sent then), or 404 for a page that
// says so. Peers get 200, and the status as metadata MetaStatus. It panics for another
// status, and for 299, which is that of errors.
func SetStatus(ctx interface{ SetMeta(key, value string) }, status int) {
	if !settable(status) {
		panic(fmt.Sprintf("httproto: SetStatus(%d): want 200 to 599, and not 299", status))
	}
	ctx.SetMeta(MetaStatus, strconv.Itoa(status))
}

func settable(status int) bool { return status >= 200 && status <= 599 && status != business }

// chosen returns the status and the Content-Type that the handler has set in the metadata
// of its reply; 200 and nil if it has set none.
func chosen(m *socket.Meta, sender Dialect) (status int, contentType []byte) {
	status = 200
	if m.Len() == 0 || sender != 0 { // peers know 200 and 299, and read the codec from the type
		return status, nil
	}
	for k, v := range m.All() {
		switch {
		case equalFold(k, "content-type"):
			contentType = v
		case string(k) == MetaStatus:
			if n, ok := number(v, 599); ok && settable(int(n)) {
				status = int(n)
			}
		}
	}
	return status, contentType // scratch.meta refuses one that cannot be the value of a header
}

// bodiless reports whether responses of this status have no body (RFC 9110, sections
// 15.3.5 and 15.4.5).
func bodiless(status int) bool { return status == 204 || status == 304 }

var redirects = []int32{301, 302, 303, 307, 308}

// isRedirect reports whether the error sends the client to another place: its code is that
// of a redirect, and the metadata of the reply names the place.
func isRedirect(r *socket.Rerror, m *socket.Meta) bool {
	return slices.Contains(redirects, r.Code) && m.Len() > 0 && len(m.Peek("Location")) > 0
}

// isPseudo reports whether metadata of this key is no header.
func isPseudo[T string | []byte](key T) bool {
	return string(key) == MetaMethod || string(key) == MetaStatus
}
