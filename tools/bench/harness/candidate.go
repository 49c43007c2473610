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
	// field that the handler changes, and one from the middle.
	Dial func(addr string) (call func() error, err error)
	// DialSized is Dial for bodies of size bytes that are echoed; nil if the
	// candidate cannot send them.
	DialSized func(addr string, size int) (call func() error, err error)
	// Note is what readers of the results must know about this candidate.
	Note string
}

// Info is a line of the command list.
type Info struct {
	Name, Note string
	Sized      bool
}

func (c Candidate) info() Info { return Info{c.Name, c.Note, c.DialSized != nil} }

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

// ParseConfig parses a configuration: a letter and the number of callers. The letter
// a means one connection, c 8, b and s as many connections as callers.
func ParseConfig(name string) (Config, error) {
	if len(name) < 2 {
		return Config{}, fmt.Errorf("harness: configuration %q: want a letter and a number, like a100", name)
	}
	n, err := strconv.Atoi(name[1:])
	if err != nil || n < 1 || n > maxNumber {
		return Config{}, fmt.Errorf("harness: configuration %q: want a number of 1 to %d behind the letter", name, maxNumber)
	}
	switch name[0] {
	case 'a':
		return Config{name, 1, n}, nil
	case 'b', 's':
		return Config{name, n, n}, nil
	case 'c':
		return Config{name, 8, n}, nil
	}
	return Config{}, fmt.Errorf("harness: configuration %q: the letter is a, b, c or s", name)
}
