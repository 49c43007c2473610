package trace

import (
	"net/netip"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	oteltrace "go.opentelemetry.io/otel/trace"

	tp "github.com/teleport-go/teleport/core"
)

// The semantic conventions that the attributes follow, and their names.
const (
	schemaURL = "https://opentelemetry.io/schemas/1.43.0"

	keySystemName  = "rpc.system.name"
	keySystem      = "rpc.system" // its former name, which many backends still use
	keyMethod      = "rpc.method"
	keyMethodAsked = "rpc.method_original"
	keyStatus      = "rpc.response.status_code"
	keyErrorType   = "error.type"
	keyTransport   = "network.transport"
	keyPeer        = "network.peer.address"
	keyPeerPort    = "network.peer.port"
	keyClient      = "client.address"
)

// maxText is the length to which texts from outside are cut, in bytes.
const maxText = 256

// describe adds what is of one message. Most spans are not recorded, so it is not
// done at their beginning.
func describe(span oteltrace.Span, ctx tp.PreCtx, r *route, path string) {
	if !span.IsRecording() {
		return
	}
	list := make([]attribute.KeyValue, 0, 6)
	if r.name != path {
		list = append(list, attribute.String(keyMethodAsked, cut(path)))
	}
	remote := ctx.Session().RemoteAddr()
	if remote != nil {
		list = append(list, attribute.String(keyTransport, transportOf(remote.Network())))
	}
	text := ctx.IP()
	if at, err := netip.ParseAddrPort(text); err == nil {
		list = append(list, attribute.String(keyPeer, at.Addr().Unmap().String()), attribute.Int(keyPeerPort, int(at.Port())))
	} else if text != "" {
		list = append(list, attribute.String(keyPeer, cut(text)))
	}
	if ip := ctx.RealIP(); ip != text {
		list = append(list, attribute.String(keyClient, cut(ip)))
	}
	span.SetAttributes(list...)
}

// transportOf is what the conventions call a network.
func transportOf(network string) string {
	for _, known := range []string{"tcp", "udp", "unix"} {
		if strings.HasPrefix(network, known) { // tcp4, unixpacket
			return known
		}
	}
	return network
}

// end ends the span, once.
func (k *mark) end(r *tp.Rerror) {
	if k.ended.Swap(true) {
		return
	}
	if r.HasError() && k.span.IsRecording() {
		code := strconv.Itoa(int(r.Code))
		k.span.SetAttributes(attribute.String(keyErrorType, code), attribute.String(keyStatus, code))
		k.span.SetStatus(codes.Error, reasonOf(r))
	}
	k.span.End()
}

func reasonOf(r *tp.Rerror) string {
	switch {
	case r.Reason != "":
		return cut(r.Reason)
	case r.Message != "":
		return cut(r.Message)
	}
	return tp.CodeText(r.Code)
}

// cut makes a text fit to be kept: short, and UTF-8.
func cut(text string) string {
	if len(text) > maxText {
		text = text[:maxText] + "…"
	}
	return strings.ToValidUTF8(text, "\ufffd")
}
