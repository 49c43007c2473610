package benchmsg

import "fmt"

// Marked is the Int2 of a message of a stream that wants an answer. Those of New want none.
const Marked = Asked - 1

// Tally counts the messages that come over a stream. The zero value is ready for use.
type Tally struct{ n int32 }

// Next counts m, unless it is damaged. It reports whether m wants an answer, and the Int2
// of the answer: Asked and the number of messages since the answer before, m included. So
// the answer to each of several marked messages in a row is the reply of a call.
func (t *Tally) Next(m Message) (answer int32, wanted bool) {
	if m.GetText18() == Text && m.GetInt37() == Asked {
		t.n++
	}
	if m.GetInt2() != Marked {
		return 0, false
	}
	answer, t.n = Asked+t.n, 0
	return answer, true
}

// Count returns the number of messages in an answer.
func Count(answer Message) (int, error) {
	n := answer.GetInt2() - Asked
	if n < 0 || answer.GetText18() != Text || answer.GetInt37() != Asked {
		return 0, fmt.Errorf("benchmsg: answer with int2 %d, text18 %q, int37 %d", answer.GetInt2(), answer.GetText18(), answer.GetInt37())
	}
	return int(n), nil
}
