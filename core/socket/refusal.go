package socket

// Emitter lets Unpack send bytes that belong to no message, such as an interim
// response. Emit puts b behind what was accepted for sending, in one piece, and
// does not wait for the network; b is the caller's again when it returns. It fails
// when the connection does, or when far too much waits to be written.
type Emitter interface {
	Emit(b []byte) error
}

// Ender is a Proto by which a connection may be at its end although the network
// is not. Once Ended reports true, a message that says so has been packed: nothing
// is read any more, and the engine closes the connection when what was accepted
// is written. It is called concurrently.
type Ender interface {
	Ended() bool
}

// Refusal is the error of an Unpack that has read a CALL which is not to be
// served but can be answered. The message has its type and sequence number, and
// whether it is InTurn. An engine replies with Rerror and goes on reading; where
// that makes no sense the Proto is an Ender, and reads nothing more until then.
type Refusal struct {
	Rerror *Rerror // the answer
	Err    error   // why; for those who do not answer it is as the error of any Unpack
}

func (e *Refusal) Error() string { return e.Err.Error() }
func (e *Refusal) Unwrap() error { return e.Err }

// SetInTurn says that this CALL has to be answered after those that arrived
// before it with the same mark, and handled only then: its protocol has no
// sequence numbers to tell replies apart. Protocols find the method by type
// assertion.
func (m *Envelope) SetInTurn() { m.inTurn = true }

// InTurn reports whether SetInTurn was called.
func (m *Envelope) InTurn() bool { return m.inTurn }

// Ended reports whether the protocol has packed its last message.
func (c *Conn) Ended() bool {
	end := c.end
	if c.turns != nil {
		end, _ = c.turns.current().(Ender)
	}
	return end != nil && end.Ended()
}

// Emit is documented at Emitter. Only the reading goroutine calls it.
func (w wire) Emit(b []byte) error {
	out, err := w.c.out.BeginNow()
	if err != nil {
		return err
	}
	w.c.out.Commit(append(out, b...))
	w.c.out.Flush(NoBlock)
	return nil
}
