package outproctest

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
)

// rules is a decider that changes calls and denies pushes.
type rules struct{}

func (rules) Name() string        { return "rules" }
func (rules) Hooks() []guest.Hook { return []guest.Hook{guest.OnCall, guest.OnPush} }

func (rules) Decide(_ context.Context, q guest.Question) guest.Decision {
	if q.Hook == guest.OnPush {
		return guest.Deny(403, "Forbidden", "")
	}
	return guest.Decision{Set: map[string]string{"X-User": "eve"}, Route: "/other"}
}

// door is a decider that lets no connection in.
type door struct{}

func (door) Name() string        { return "door" }
func (door) Hooks() []guest.Hook { return []guest.Hook{guest.OnAccept} }

func (door) Decide(context.Context, guest.Question) guest.Decision {
	return guest.Deny(403, "Forbidden", "")
}

type audit struct{}

func (audit) Name() string        { return "audit" }
func (audit) Observe(guest.Batch) {}

// echo is a gateway.
type echo struct{ secure bool }

func (echo) Name() string { return "echo" }

func (e echo) Listen() (net.Listener, error) {
	if e.secure {
		return tls.Listen("tcp", "127.0.0.1:0", tp.GenerateTLSConfigForServer())
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

func (echo) Routes(tp.Router) {}

func (echo) Serve(conn net.Conn, _ tp.Session) { io.Copy(conn, conn) }

// badRoute is a decider whose decision cannot be carried out.
type badRoute struct{}

func (badRoute) Name() string        { return "badroute" }
func (badRoute) Hooks() []guest.Hook { return []guest.Hook{guest.OnCall} }

func (badRoute) Decide(_ context.Context, q guest.Question) guest.Decision {
	if q.Session == "self-test" {
		return guest.Decision{}
	}
	return guest.Decision{Route: "other"}
}

// picky is an observer that ends with a kind that it does not know.
type picky struct{}

func (picky) Name() string { return "picky" }

func (picky) Observe(b guest.Batch) {
	for _, e := range b.Events {
		if e.Kind != "call" && e.Kind != "push" {
			os.Exit(3)
		}
	}
}

// fragile is a gateway that ends with its first byte.
type fragile struct{ echo }

func (fragile) Name() string { return "fragile" }

func (fragile) Serve(conn net.Conn, _ tp.Session) {
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		os.Exit(3)
	}
}
