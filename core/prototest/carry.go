package prototest

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/teleport-go/teleport/core/socket"
)

// checkCarry: of a protocol that is a socket.Carrier, whose accepted end goes on in another
// process.
func checkCarry(s *suite, w way) error {
	if _, ok := s.alone().(socket.Carrier); !ok || !w.engine || w.back {
		return nil
	}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	deadline := time.Now().Add(s.patient / 2)
	near.SetDeadline(deadline)
	far.SetDeadline(deadline)
	open := func(c net.Conn, dialed bool) *socket.Conn {
		return socket.NewConn(c, s.pf, socket.Options{Dialed: dialed})
	}
	client, server := open(near, true), open(far, false)
	for i := range 4 {
		if err := s.callAndReply(client, server); err != nil {
			return fmt.Errorf("after %d moves: %w", i, err)
		}
		state, err := server.AppendState(nil)
		if err != nil {
			return fmt.Errorf("AppendState with nothing under way: %w", err)
		}
		for n := range state { // of another version of the program, or damaged
			_ = open(far, false).Restore(state[:n])
			other := append([]byte(nil), state...)
			other[n] ^= 0x55
			if err := open(far, false).Restore(other); isPanic(err) {
				return err
			}
		}
		before := abilities(server)
		server = open(far, false)
		if err := server.Restore(state); err != nil {
			return fmt.Errorf("it does not restore the state that it has given: %w", err)
		}
		if after := abilities(server); after != before {
			return fmt.Errorf("it was %s, and is %s", before, after)
		}
		if again, err := server.AppendState(nil); err != nil || string(again) != string(state) {
			return fmt.Errorf("the state %x is %x after Restore, %v", state, again, err)
		}
	}
	return nil
}

// abilities is what an engine sees of a protocol.
func abilities(c *socket.Conn) string {
	id, name := c.Proto().Version()
	return fmt.Sprintf("%d %s, control %v, bye %v, abandons %v, heard %v", id, name, c.CarriesControl(), c.CarriesBye(), c.Abandons(), c.Heard())
}

// callAndReply sends a CALL and its REPLY.
func (s *suite) callAndReply(client, server *socket.Conn) error {
	call, reply := s.message(), s.message(socket.WithMtype(socket.TypeReply), socket.WithServiceMethod(""))
	got := new(socket.Envelope)
	if err := pass(client, server, call, got); err != nil {
		return fmt.Errorf("call: %w", err)
	}
	if err := s.same(call, got); err != nil {
		return fmt.Errorf("call: %w", err)
	}
	reply.SetSeq(got.Seq()) // which a protocol may have chosen
	got.Clear()
	if err := pass(server, client, reply, got); err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	return nil
}

// pass sends a message from one end to the other.
func pass(from, to *socket.Conn, m, got *socket.Envelope) error {
	if err := from.Enqueue(context.Background(), m); err != nil {
		return err
	}
	from.Flush(socket.NoBlock)
	return to.ReadInto(got)
}
