package framing

// Speech is a Negotiation.
//
// Deprecated: use [Negotiation].
type Speech[D ~uint8] = Negotiation[D]

// Speaks is Current.
//
// Deprecated: use [Negotiation.Current].
func (n *Negotiation[D]) Speaks() D { return n.Current() }

// Reads is Settled.
//
// Deprecated: use [Negotiation.Settled].
func (n *Negotiation[D]) Reads() D { return n.Settled() }
