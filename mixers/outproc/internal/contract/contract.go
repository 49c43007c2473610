// Package contract is what a host and a guest have agreed on: names of environment
// variables, the line of the handshake, routes and JSON bodies of the lane. CONTRACT.md
// of the module says the same for people who write a guest in another language.
package contract

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Version is the version of the contract that this package implements. It is the
// application version in the handshake.
const Version = 1

// What the host puts into the environment of a guest that it starts.
const (
	EnvCookie   = "TELEPORT_GUEST" // with the value Cookie: the program was started by a host
	EnvToken    = "TELEPORT_GUEST_TOKEN"
	EnvDir      = "PLUGIN_UNIX_SOCKET_DIR"   // where the guest makes its socket
	EnvVersions = "PLUGIN_PROTOCOL_VERSIONS" // versions of the contract the host has, separated by commas
)

// Cookie is the value of EnvCookie. It protects nothing; it tells a start by a host from
// one by hand.
const Cookie = "e8a1c0de-teleport-guest"

// Protocol is the word of the handshake for a lane: a session of Teleport's raw protocol.
const Protocol = "tp"

// Handshake returns the one line that a guest prints to its standard output when its
// lane listens.
func Handshake(network, addr string) string {
	return fmt.Sprintf("1|%d|%s|%s|%s", Version, network, addr, Protocol)
}

// Routes of the control plane; all are CALLs from the host to the guest.
const (
	RouteHello     = "/guest/hello"     // Hello to Welcome: the first message of a lane
	RouteDescribe  = "/guest/describe"  // nothing to Description
	RouteConfigure = "/guest/configure" // Configuration to nothing
	RoutePing      = "/guest/ping"      // nothing to Pong
	RouteDrain     = "/guest/drain"     // nothing to nothing: the guest answers what is under way, and ends
)

// Kinds of parts.
const (
	KindFilter = "filter"
	KindCodec  = "codec"
)

// Codes of the errors of a guest's parts, in the REPLY.
const (
	CodeRefused  int32 = 422 // the part refuses these bytes: a wrong sum, text that is not of its format
	CodeTooLarge int32 = 413 // the result would be larger than the limit in the request
)

// Hello is the first message on a lane.
type Hello struct {
	Contract int    `json:"contract"`
	Token    string `json:"token,omitempty"`
	Host     string `json:"host,omitempty"` // for the guest's log
}

// Welcome is the reply to Hello.
type Welcome struct {
	Contract int `json:"contract"`
}

// Pong is the reply to a ping, which may be empty.
type Pong struct {
	// Refused is how many foreign connections each gateway of the process has closed because
	// there were GatewayOpen.MaxConns already, by the names of the gateways.
	Refused map[string]uint64 `json:"refused,omitempty"`
}

// Description is what a guest says of itself, on the lane and as `BINARY describe`.
type Description struct {
	Contract int             `json:"contract"`
	Name     string          `json:"name"`
	Version  string          `json:"version"`
	Parts    []Part          `json:"parts"`
	Bundle   int             `json:"bundle,omitempty"` // the most items in a CALL of RouteBundle; 0: there is no such route
	Schema   json.RawMessage `json:"schema,omitempty"` // JSON Schema of its configuration
}

// Part is one filter, codec or other thing that a guest brings.
type Part struct {
	Kind string `json:"kind"`
	ID   byte   `json:"id,omitempty"` // on the wire, of filters and codecs
	Name string `json:"name"`
	// Unfit says why the part cannot be used from another process; the host refuses it
	// with these words.
	Unfit string `json:"unfit,omitempty"`
	// Options belong to the kind.
	Options json.RawMessage `json:"options,omitempty"`
}

// FilterOptions are the Options of a filter.
type FilterOptions struct {
	// Chains says that the guest has routes for several filters at once.
	Chains bool `json:"chains,omitempty"`
}

// Configuration is what the host says to a guest before its parts are used.
type Configuration struct {
	Host    string          `json:"host,omitempty"`
	MaxItem int             `json:"max_item"` // bytes of a request and of a reply
	Config  json.RawMessage `json:"config,omitempty"`
}

// FilterRoute is the route of a chain of filters, given outermost first: "/xfer/109/pack",
// or "/xfer/122+109/pack" for two. op is "pack" or "unpack".
func FilterRoute(op string, ids ...byte) string {
	var b strings.Builder
	b.WriteString("/xfer/")
	for i, id := range ids {
		if i > 0 {
			b.WriteByte('+')
		}
		b.WriteString(strconv.Itoa(int(id)))
	}
	b.WriteByte('/')
	b.WriteString(op)
	return b.String()
}

// QueryMax is the parameter of an unpack route with the largest result, in bytes.
const QueryMax = "max"

// CodecRoute is the route of a codec. op is "marshal", from JSON to the codec's format,
// or "unmarshal", back.
func CodecRoute(op string, id byte) string {
	return "/codec/" + strconv.Itoa(int(id)) + "/" + op
}
