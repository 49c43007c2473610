package tptest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/prototest"
)

// named is a plugin whose name the function returns.
type named func() string

func (f named) Name() string { return f() }

// fixed is a plugin with a fixed name, to be embedded.
type fixed string

func (f fixed) Name() string { return string(f) }

func TestRunPlugin(t *testing.T) {
	RunPlugin(t, func() tp.Plugin { return fixed("nothing") })
}

func refusal() *tp.Rerror { return tp.NewRerror(tp.CodeTooManyRequests, "", "not you") }

// refusing refuses messages after a number of calls and pushes.
type refusing struct {
	fixed
	after int32
	code  int32
	n     atomic.Int32
}

func (p *refusing) PostReadCallHeader(tp.ReadCtx) *tp.Rerror {
	if p.n.Add(1) <= p.after {
		return nil
	}
	return tp.NewRerror(p.code, "", "not you")
}

func (p *refusing) PostReadPushHeader(c tp.ReadCtx) *tp.Rerror { return p.PostReadCallHeader(c) }

func gate(after, code int32) func() tp.Plugin {
	return func() tp.Plugin { return &refusing{fixed: "gate", after: after, code: code} }
}

func TestRunPluginGate(t *testing.T) {
	for _, after := range []int32{0, 3, 1000} {
		t.Run(fmt.Sprint(after), func(t *testing.T) { RunPlugin(t, gate(after, tp.CodeTooManyRequests), Gate()) })
	}
}

// knocking works only if the other side has it too.
type knocking struct{ fixed }

func (knocking) PostDial(sess tp.PreSession) *tp.Rerror {
	return sess.RawPush("/knock", "knock")
}

func (knocking) PostAccept(sess tp.PreSession) *tp.Rerror {
	m := sess.PreReceive(func(tp.Header) any { return new(string) })
	return m.Rerror()
}

type dialKnocking struct{ fixed }

func (dialKnocking) PostDial(sess tp.PreSession) *tp.Rerror { return knocking{}.PostDial(sess) }

type acceptKnocking struct{ fixed }

func (acceptKnocking) PostAccept(sess tp.PreSession) *tp.Rerror { return knocking{}.PostAccept(sess) }

func TestRunPluginPaired(t *testing.T) {
	t.Run("same", func(t *testing.T) {
		RunPlugin(t, func() tp.Plugin { return knocking{"knock"} }, Paired())
	})
	t.Run("two parts", func(t *testing.T) {
		RunPlugin(t, func() tp.Plugin { return acceptKnocking{"accept"} },
			DialSide(func() tp.Plugin { return dialKnocking{"dial"} }))
	})
}

// changing changes the results of replies.
type changing struct{ fixed }

func (changing) PostReadReplyBody(c tp.ReadCtx) *tp.Rerror {
	if s, ok := c.Input().Body().(*string); ok {
		*s += "!"
	}
	return nil
}

// forgiving removes errors.
type forgiving struct{ fixed }

func (forgiving) PreWriteReply(c tp.WriteCtx) *tp.Rerror {
	c.Output().SetRerror(nil)
	return nil
}

// dropping drops pushes.
type dropping struct{ fixed }

func (dropping) PostReadPushHeader(tp.ReadCtx) *tp.Rerror { return refusal() }

// fickle works for one peer only.
type fickle struct {
	fixed
	used atomic.Bool
}

func (p *fickle) PostAccept(tp.PreSession) *tp.Rerror {
	if p.used.Swap(true) {
		return refusal()
	}
	return nil
}

// haughty refuses to be the plugin of a handler.
type haughty struct{ fixed }

func (haughty) PostReg(h *tp.Handler) error {
	if len(h.PluginContainer().GetAllMiddle()) > 0 {
		return errors.New("I serve whole peers only")
	}
	return nil
}

// faithful refuses redials.
type faithful struct{ fixed }

func (faithful) PostRedial(tp.PreSession) *tp.Rerror { return refusal() }

// leaking starts a goroutine that it does not end.
type leaking struct{ fixed }

func (leaking) PostNewPeer(tp.EarlyPeer) error {
	never := make(chan struct{})
	go func() { <-never }()
	return nil
}

// loud logs an error at the normal end of a session.
type loud struct{ fixed }

func (loud) PostDisconnect(sess tp.BaseSession) *tp.Rerror {
	sess.Errorf("gone!")
	return nil
}

func TestRunPluginFinds(t *testing.T) {
	var names atomic.Int32
	found := make(map[string]bool)
	for _, test := range []struct {
		check, slip string
		newPlugin   func() tp.Plugin
		opts        []Option
	}{
		{"name", "empty", func() tp.Plugin { return fixed("") }, nil},
		{"name", "changes", func() tp.Plugin {
			return named(func() string { return fmt.Sprint(names.Add(1)) })
		}, nil},
		{"name", "each has its own", func() tp.Plugin { return fixed(fmt.Sprint(names.Add(1))) }, nil},
		{"works", "refuses", gate(0, tp.CodeTooManyRequests), nil},
		{"works", "changes replies", func() tp.Plugin { return changing{"changing"} }, nil},
		{"works", "hides errors", func() tp.Plugin { return forgiving{"forgiving"} }, nil},
		{"works", "drops pushes", func() tp.Plugin { return dropping{"dropping"} }, nil},
		{"works", "a gate that fails", gate(0, tp.CodeInternalServerError), []Option{Gate()}},
		{"one side", "needs both", func() tp.Plugin { return knocking{"knock"} }, nil},
		{"shared", "for one peer", func() tp.Plugin { return &fickle{fixed: "fickle"} }, nil},
		{"levels", "only for peers", func() tp.Plugin { return haughty{"haughty"} }, nil},
		{"concurrent", "tires", gate(50, tp.CodeTooManyRequests), nil},
		{"redial", "refuses", func() tp.Plugin { return faithful{"faithful"} }, nil},
		{"close", "leaks", func() tp.Plugin { return leaking{"leaking"} }, nil},
		{"quiet", "complains", func() tp.Plugin { return loud{"loud"} }, nil},
	} {
		found[test.check] = true
		t.Run(test.check+"/"+test.slip, func(t *testing.T) {
			wantFault(t, newPluginSuite(test.newPlugin, test.opts), pluginChecks, test.check)
		})
	}
	wantAll(t, pluginChecks, found)
}

// Without applies to RunPlugin too.
func TestRunPluginWithout(t *testing.T) {
	RunPlugin(t, func() tp.Plugin { return dropping{"dropping"} }, Without(prototest.Push))
}
