package socket

import (
	"bytes"
	"errors"
	"fmt"
)

// This file holds what a Conn and its Proto hand over when another process takes the
// connection over.

// Carrier is a Proto whose connection can be handed over to another process, between two
// messages. The state is its own: what it has learned from the frames so far, such as the
// peer's dialect. A Proto that is no Carrier keeps its connection.
type Carrier interface {
	Proto
	// AppendState appends the state to dst. An error says why the connection cannot be handed
	// over: it stays with this process, as it was. Neither Pack nor Unpack runs meanwhile.
	AppendState(dst []byte) ([]byte, error)
	// Restore gives the state to a new Proto, before anything else is done with it. The
	// state may be that of another version of the program, so Restore checks it; after an
	// error the Proto is not used.
	Restore(state []byte) error
}

// errNoCarrier is the error of a protocol that has no state to hand over.
var errNoCarrier = errors.New("its protocol cannot be handed over")

// carryVersion begins the state of a Conn.
const carryVersion = 1

// AppendState appends to dst what another process needs to know of the connection in order
// to go on with it: what its Proto says, beside the bytes that AppendUnread returns. Nothing
// must be read or written meanwhile.
func (c *Conn) AppendState(dst []byte) (state []byte, err error) {
	p, ok := c.proto.(Carrier)
	if !ok {
		return dst, errNoCarrier
	}
	defer func() {
		if v := recover(); v != nil {
			state, err = dst, fmt.Errorf("its protocol panicked: %v", v)
		}
	}()
	heard := byte(0)
	if c.heard.Load() {
		heard = 1
	}
	return p.AppendState(append(dst, carryVersion, heard))
}

// ProtoState returns the part of the state of a Conn that its Proto has appended.
func ProtoState(state []byte) []byte { return state[min(2, len(state)):] }

// Restore makes the new connection go on with the state of AppendState.
func (c *Conn) Restore(state []byte) (err error) {
	p, ok := c.proto.(Carrier)
	switch {
	case !ok:
		return errNoCarrier
	case len(state) < 2 || state[0] != carryVersion || state[1] > 1:
		return fmt.Errorf("the state %.16x of its connection is not known here", state)
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("its protocol panicked: %v", v)
		}
	}()
	c.heard.Store(state[1] == 1)
	return p.Restore(ProtoState(state))
}

// Repeats reports whether ReadInto may be called again for a message after an error of a
// read deadline. It may be called concurrently.
func (c *Conn) Repeats() bool {
	p := c.proto
	if c.turns != nil {
		p = c.turns.current()
	}
	if i, ok := p.(Interruptible); ok && i.Interruptible() {
		return true
	}
	r, ok := p.(Repeatable)
	return ok && r.Repeatable()
}

// AppendUnread appends the bytes that have arrived and were not read to dst. Only the
// reading goroutine calls it.
func (c *Conn) AppendUnread(dst []byte) []byte { return c.in.AppendBuffered(dst) }

// Seal refuses messages with err from now on, if all that was accepted has been written;
// else it returns false.
func (c *Conn) Seal(err error) bool { return c.out.Seal(err) }

// Unseal ends a Seal with the same error.
func (c *Conn) Unseal(err error) { c.out.Unseal(err) }

// AppendState appends the name of the protocol that was recognised, if one was, and its
// state.
func (a *anyProto) AppendState(dst []byte) ([]byte, error) {
	p, ok := a.current().(Carrier)
	if !ok {
		return dst, errNoCarrier
	}
	if a.chosen.Load() {
		dst = append(dst, a.list[a.at].Name...)
	}
	return p.AppendState(append(dst, '\n'))
}

// Restore makes the protocol that was recognised the connection's again.
func (a *anyProto) Restore(state []byte) error {
	if a.err != nil {
		return a.err
	}
	before, state, ok := bytes.Cut(state, []byte("\n"))
	name := string(before)
	if !ok {
		return errors.New("the state of its protocol has no name")
	}
	for i := range a.list {
		if name == "" && i == 0 || name == a.list[i].Name {
			if i > 0 {
				proto := a.list[i].New(a.rw)
				a.proto.Store(&proto)
			}
			p, ok := a.current().(Carrier)
			if !ok {
				return errNoCarrier
			}
			a.at = i
			a.chosen.Store(name != "")
			return p.Restore(state)
		}
	}
	return fmt.Errorf("its protocol %.64q is not one of %s", name, a.names())
}
