package socket

// Refusal is the error of an Unpack that has read a CALL which must not be handled
// but can be answered. The message has its type, its sequence number, and InTurn. An
// engine replies with Rerror and goes on reading; where that makes no sense the Proto
// is an Ender, and reads nothing more until it has ended.
type Refusal struct {
	Rerror *Rerror // the answer
	Err    error   // why; without an engine it is the error of any Unpack
}

func (e *Refusal) Error() string { return e.Err.Error() }
func (e *Refusal) Unwrap() error { return e.Err }

// SetInTurn marks a CALL to be handled and answered after the marked ones that arrived
// before it, for a protocol that has no sequence numbers to tell replies apart.
// Protocols find the method by type assertion.
func (m *Envelope) SetInTurn() { m.inTurn = true }

// InTurn reports whether SetInTurn was called.
func (m *Envelope) InTurn() bool { return m.inTurn }

// SetLast marks a REPLY that is sent while the session drains: if the protocol can, and no
// other one is due, it says that it takes no further CALL. A protocol marks a REPLY that
// it has read and that says so: CALLs that were not answered by then have not run.
// Protocols find both methods by type assertion.
func (m *Envelope) SetLast() { m.last = true }

// Last reports whether SetLast was called.
func (m *Envelope) Last() bool { return m.last }

// Ended reports whether the protocol has packed its last message.
func (c *Conn) Ended() bool {
	p := c.proto
	switch {
	case c.turns != nil:
		p = c.turns.current()
	case !c.ends:
		return false // as most protocols
	}
	end, ok := p.(Ender)
	return ok && end.Ended()
}
