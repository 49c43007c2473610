package binder_test

import (
	"errors"
	"fmt"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/binder"
)

// newPeer stands for tp.NewPeer: it has a network in memory.
func newPeer(network string, plugin ...tp.Plugin) tp.Peer {
	return tptest.NewPeer(new(testing.T), tp.PeerConfig{Network: network}, plugin...)
}

// talk stands for Listen and Dial.
func talk(plugin ...tp.Plugin) (srv tp.Peer, sess tp.Session) {
	network := tptest.NewNetwork().Register(new(testing.T))
	srv = newPeer(network, plugin...)
	return srv, tptest.Dial(new(testing.T), newPeer(network), tptest.Listen(new(testing.T), srv))
}

type Divide struct {
	A   int    `param:"<range:-1000:1000>"`
	B   int    `param:"<nonzero><rerr:1001:division by zero>"`
	Who string `param:"<meta:user><len:1:64>"`
}

func Example() {
	srv, sess := talk(binder.NewStructArgsBinder(nil))
	defer srv.Close()
	tp.HandleCall(srv, "/divide", func(_ tp.CallCtx, arg *Divide) (string, error) {
		return fmt.Sprint(arg.A/arg.B, " for ", arg.Who), nil
	})

	user := tp.WithSetMeta("user", "Ann")
	for _, arg := range []Divide{{A: 10, B: 5}, {A: 10}, {A: 1001, B: 5}} {
		var reply string
		r := sess.Call("/divide", arg, &reply, user).Rerror()
		fmt.Println(reply, r.Err())
	}
	// Output:
	// 2 for Ann <nil>
	//  1001 division by zero: {"handler": "/divide", "param": "b", "reason": "zero value"}
	//  400 Invalid Parameter: {"handler": "/divide", "param": "a", "reason": "bigger than 1000: 1001"}
}

type Span struct{ From, To int }

func (s *Span) Validate() error {
	if s.From > s.To {
		return errors.New("from is behind to")
	}
	return nil
}

// Any function of this shape will do: the method Struct of a validator of
// github.com/go-playground/validator has it as it is. Here arguments check
// themselves, if they have a method for it.
func ExampleStructArgsBinder_SetValidator() {
	b := binder.NewStructArgsBinder(nil)
	b.SetValidator(func(arg any) error {
		if v, ok := arg.(interface{ Validate() error }); ok {
			return v.Validate()
		}
		return nil
	})
	srv, sess := talk(b)
	defer srv.Close()
	tp.HandleCall(srv, "/count", func(_ tp.CallCtx, s *Span) (int, error) { return s.To - s.From, nil })

	fmt.Println(sess.Call("/count", Span{3, 1}, nil).Rerror().Err())
	// Output: 400 Invalid Parameter: {"handler": "/count", "param": "", "reason": "from is behind to"}
}

// Errors may have another form.
func ExampleStructArgsBinder_SetErrorFunc() {
	b := binder.NewStructArgsBinder(nil)
	b.SetErrorFunc(func(handler, param, reason string) *tp.Rerror {
		return tp.NewRerror(1000, "check your "+param, reason)
	})
	srv, sess := talk(b)
	defer srv.Close()
	tp.HandleCall(srv, "/divide", func(_ tp.CallCtx, arg *Divide) (int, error) { return arg.A / arg.B, nil })

	fmt.Println(sess.Call("/divide", Divide{A: -5000}, nil).Rerror().Err())
	// Output: 1000 check your a: smaller than -1000: -5000
}
