// Command authguest is a guest with a decider that allows calls and pushes by the token in
// their metadata. Its configuration has the users by their tokens: {"secret": "ada"}.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/teleport-go/teleport/mixers/outproc/guest"
)

func main() {
	a := new(auth)
	guest.Config{
		Configure: a.configure,
		Schema:    json.RawMessage(`{"type": "object", "additionalProperties": {"type": "string"}}`),
	}.Serve(a)
}

type auth struct{ users map[string]string }

func (a *auth) configure(config json.RawMessage) error {
	if config == nil {
		return nil // then nobody is allowed
	}
	if err := json.Unmarshal(config, &a.users); err != nil {
		return fmt.Errorf(`want a configuration such as {"secret": "ada"}: %w`, err)
	}
	return nil
}

func (*auth) Name() string { return "auth" }

func (*auth) Hooks() []guest.Hook { return []guest.Hook{guest.OnCall, guest.OnPush} }

// Decide replaces the token by the name of its user, which handlers can trust, since that is
// what replaces the name that a client has sent. The host asks once a minute for each token.
func (a *auth) Decide(_ context.Context, q guest.Question) guest.Decision {
	user, ok := a.users[q.Meta.Get("X-Token")]
	if !ok {
		return guest.Deny(http.StatusUnauthorized, "Unauthorized", "X-Token is missing, or nobody's")
	}
	return guest.Decision{
		Delete: []string{"X-Token"},
		Set:    map[string]string{"X-User": user},
		TTL:    time.Minute,
		Key:    []string{"meta:X-Token"},
	}
}
