package harness

import "fmt"

// can returns an error if the candidate has no callers of the configuration.
func (c Candidate) can(cfg Config, size int) error {
	switch letter := rune(cfg.Name[0]); {
	case letter == OneWay, letter == PingPong:
		return c.lacks(c.Streams == nil, "streams")
	case letter == Bulk:
		return c.lacks(c.Beside == nil, "calls beside a bulk stream")
	case letter == Group:
		return c.lacks(c.Broadcast == nil, "broadcast")
	case size > 0:
		return c.lacks(c.DialSized == nil, "bodies of a given size")
	}
	return c.lacks(c.Dial == nil, "calls")
}

func (c Candidate) lacks(it bool, what string) error {
	if !it {
		return nil
	}
	return fmt.Errorf("harness: %s has no %s", c.Name, what)
}

// crew is what works in a window.
type crew struct {
	callers []caller
	bulk    *bulk // beside them; nil: none
}

// crew connects to the server, and returns the crew of a configuration that the candidate
// has. If call is set, each connection has made a call; one with a stream always has.
func (c Candidate) crew(cfg Config, addr string, size int, call bool) (crew, error) {
	switch cfg.Name[0] {
	case OneWay, PingPong:
		callers, err := c.streamCallers(cfg, addr)
		return crew{callers: callers}, err
	case Bulk:
		return c.besideBulk(cfg, addr)
	case Group:
		call, err := c.Broadcast(addr, cfg.Conns)
		if err == nil {
			err = call()
		}
		return crew{callers: share([]func() error{call}, 1)}, err
	}
	dial := func() (func() error, error) { return c.Dial(addr) }
	if size > 0 {
		dial = func() (func() error, error) { return c.DialSized(addr, size) }
	}
	calls, err := Connect(dial, cfg.Conns, call)
	return crew{callers: share(calls, cfg.Callers)}, err
}

// share returns n callers that share the calls.
func share(calls []func() error, n int) (list []caller) {
	if len(calls) == 0 {
		return nil
	}
	for i := range n {
		list = append(list, caller{call: calls[i%len(calls)]})
	}
	return list
}

// streamCallers returns a caller for each of the streams of a configuration.
func (c Candidate) streamCallers(cfg Config, addr string) (list []caller, err error) {
	streams, err := c.Streams(addr, cfg.Callers)
	if err != nil {
		return nil, fmt.Errorf("harness: %d streams: %w", cfg.Callers, err)
	}
	for i, s := range streams {
		u := &streamUser{Stream: s}
		if err := u.ask(); err != nil {
			return nil, fmt.Errorf("harness: stream %d of %d: %w", i+1, len(streams), err)
		}
		if cfg.Name[0] == PingPong {
			list = append(list, caller{call: u.ask})
		} else {
			list = append(list, caller{call: u.send, end: u.ask})
		}
	}
	return list, nil
}

// streamUser sends over a stream, and checks that all messages arrive.
type streamUser struct {
	Stream
	sent int // since the answer before
}

func (u *streamUser) send() error {
	u.sent++
	return u.Send()
}

// ask returns when the server has received all messages.
func (u *streamUser) ask() error {
	want := u.sent + 1
	u.sent = 0
	switch n, err := u.Ask(); {
	case err != nil:
		return err
	case n != want:
		return fmt.Errorf("the server has received %d messages of %d", n, want)
	}
	return nil
}
