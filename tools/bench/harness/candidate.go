package harness

import (
	"fmt"
	"strconv"
	"strings"
)

// Candidate is one way to make calls, with its server and its client.
type Candidate struct {
	Name string
	// Serve starts a server on a free port of loopback and returns its address. The
	// server runs until the process ends.
	Serve func() (addr string, err error)
	// Dial makes exactly one connection, and returns a call over it that is safe for
	// concurrent use. A call sends benchmsg's message, and checks the reply: the
	// field that the handler changes, and one from the middle. It is nil if the
	// candidate has no calls.
	Dial func(addr string) (call func() error, err error)
	// DialSized is Dial for bodies of size bytes that are echoed; nil if the
	// candidate cannot send them.
	DialSized func(addr string, size int) (call func() error, err error)
	// Streams makes exactly one connection and n streams over it; nil if the candidate
	// has none.
	Streams func(addr string, n int) ([]Stream, error)
	// Apart reports that a connection carries one stream at a time: Streams makes n
	// connections.
	Apart bool
	// Beside makes exactly one connection, and returns a call over it as Dial does, and a
	// stream of chunks of ChunkSize bytes beside it; nil if the candidate has none.
	Beside func(addr string) (call func() error, bulk Stream, err error)
	// Broadcast makes n connections. A call has the server send benchmsg's message to each
	// of them, and returns when all have received it; nil if the candidate has none.
	Broadcast func(addr string, n int) (call func() error, err error)
	// Note is what readers of the results must know about this candidate.
	Note string
}

// Stream is the client's side of a stream of benchmsg's messages, for one user at a time.
type Stream struct {
	// Send sends a message that has no answer.
	Send func() error
	// Ask sends a message that the server answers when it has received it, and returns
	// the number of messages that the server has received since its last answer, this
	// one included.
	Ask func() (received int, err error)
}

// Info is a line of the command list.
type Info struct {
	Name, Note string
	Sized      bool
	NoCalls    bool   `json:",omitempty"` // whether it has no configurations of calls
	Also       string `json:",omitempty"` // letters of the other configurations it has
}

// Info returns what the driver knows about a candidate.
func (c Candidate) Info() Info {
	i := Info{Name: c.Name, Note: c.Note, Sized: c.DialSized != nil, NoCalls: c.Dial == nil}
	if c.Streams != nil {
		i.Also += string(OneWay) + string(PingPong)
	}
	if c.Beside != nil {
		i.Also += string(Bulk)
	}
	if c.Broadcast != nil {
		i.Also += string(Group)
	}
	return i
}

func find(list []Candidate, name string) (Candidate, error) {
	var names []string
	for _, c := range list {
		if c.Name == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	return Candidate{}, fmt.Errorf("harness: candidate %q is not known; there are: %s", name, strings.Join(names, " "))
}

// Config is the number of connections and callers in a window.
type Config struct {
	Name           string
	Conns, Callers int
}

// maxNumber bounds the connections and the callers of a configuration.
const maxNumber = 100_000

// Letters of configurations other than those of calls.
const (
	OneWay   = 't' // a message is sent over a stream
	PingPong = 'p' // a message is sent over a stream, and answered
	Bulk     = 'l' // a call beside a bulk stream of the same connection
	Group    = 'g' // a message is sent to a group of connections
)

// ParseConfig parses a configuration: a letter and the number of callers. The letter
// a means one connection, c 8, b and s as many connections as callers; t and p mean one
// connection with a stream a caller, l one connection, and g as many connections as the
// number says, with one caller.
func ParseConfig(name string) (Config, error) {
	if len(name) < 2 {
		return Config{}, fmt.Errorf("harness: configuration %q: want a letter and a number, like a100", name)
	}
	n, err := strconv.Atoi(name[1:])
	if err != nil || n < 1 || n > maxNumber {
		return Config{}, fmt.Errorf("harness: configuration %q: want a number of 1 to %d behind the letter", name, maxNumber)
	}
	switch name[0] {
	case 'a', OneWay, PingPong, Bulk:
		return Config{name, 1, n}, nil
	case Group:
		return Config{name, n, 1}, nil
	case 'b', 's':
		return Config{name, n, n}, nil
	case 'c':
		return Config{name, 8, n}, nil
	}
	return Config{}, fmt.Errorf("harness: configuration %q: the letter is a, b, c, s, t, p, l or g", name)
}
