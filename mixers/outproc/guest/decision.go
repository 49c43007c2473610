package guest

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// Hook is a moment at which a Decider is asked.
type Hook string

// The hooks of a Decider.
const (
	OnAccept Hook = "accept" // a connection was accepted
	OnCall   Hook = "call"   // the header of a CALL was read
	OnPush   Hook = "push"   // the header of a PUSH was read
)

// Decider is a part that allows or denies connections, calls and pushes, changes their
// metadata, and reroutes them.
type Decider interface {
	// Name has up to 64 letters, digits, - and _.
	Name() string
	// Hooks returns the hooks at which the Decider is asked, at least one.
	Hooks() []Hook
	// Decide answers one question. It is called concurrently. ctx ends when the host waits
	// no longer: at the deadline of the call, after 50 ms unless it says otherwise, or when
	// the session is cut off. The host's session is not read while it waits for the answer
	// about a message: that the caller itself has given up is not known until then.
	Decide(ctx context.Context, q Question) Decision
}

// Question is what a Decider knows of a connection or a message.
type Question struct {
	Hook     Hook   `json:"hook"`
	Method   string `json:"method,omitempty"` // service method with its query; "" for OnAccept
	Session  string `json:"session"`          // id
	Remote   string `json:"remote"`           // address with port
	RealIP   string `json:"real_ip,omitempty"`
	TLS      bool   `json:"tls,omitempty"`
	TLSName  string `json:"tls_name,omitempty"` // the name of the server that the client asked for
	TLSPeer  string `json:"tls_peer,omitempty"` // the subject of the client's certificate
	Verified bool   `json:"verified,omitempty"` // that certificate was verified
	// Meta is the metadata of a message.
	Meta url.Values `json:"meta,omitempty"`
}

// Decision is the answer to a Question. The zero value allows.
type Decision struct {
	// Code denies, if it is not 0, with Message and Reason: a CALL gets them as its error,
	// a PUSH is dropped, a connection closed.
	Code    int32  `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	Reason  string `json:"reason,omitempty"`

	// Set and Delete change the metadata of a message: first Delete, then Set.
	Delete []string          `json:"delete,omitempty"`
	Set    map[string]string `json:"set,omitempty"`
	// Route replaces the service method of a message, if it is not "".
	Route string `json:"route,omitempty"`

	// TTL is how long the host may use the decision, in at most a day, for other questions
	// of the same hook with the same Key. 0 is not at all. A host asks a new process of the
	// guest anew.
	TTL time.Duration `json:"ttl_ns,omitempty"`
	// Key names what the decision depends on: "method", "session", "remote" (the address
	// without its port), "tls_peer", or "meta:" and a key of the metadata. Without a Key
	// the decision is for all questions of the hook.
	Key []string `json:"key,omitempty"`
}

// Deny returns a Decision that denies.
func Deny(code int32, message, reason string) Decision {
	return Decision{Code: code, Message: message, Reason: reason}
}

var decisionKind = kind{
	word:  contract.KindDecision,
	value: "guest.Decider",
	describe: func(part any) (contract.Part, bool) {
		d, ok := part.(Decider)
		if !ok {
			return contract.Part{}, false
		}
		var options contract.DecisionOptions
		for _, hook := range d.Hooks() {
			options.Hooks = append(options.Hooks, string(hook))
		}
		return named(d.Name(), options), true
	},
	serve: func(s *server, parts []any) {
		for _, part := range parts {
			d := part.(Decider)
			s.handleItem(contract.DecisionRoute(d.Name()), func(ctx tp.CallCtx, item []byte) ([]byte, error) {
				var q Question
				if err := json.Unmarshal(item, &q); err != nil {
					return nil, err
				}
				return json.Marshal(d.Decide(ctx.Context(), q))
			})
		}
	},
}
