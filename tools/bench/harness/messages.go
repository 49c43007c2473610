package harness

import (
	"errors"
	"io"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
)

// MessageStream returns a Stream that uses a library's functions. They may use the message
// until their next call.
func MessageStream(send func(*vt.Message) error, receive func() (*vt.Message, error)) Stream {
	plain, marked := benchmsg.New[vt.Message](), benchmsg.New[vt.Message]()
	marked.Int2 = benchmsg.Marked
	return Stream{
		Send: func() error { return send(plain) },
		Ask: func() (int, error) {
			if err := send(marked); err != nil {
				return 0, err
			}
			answer, err := receive()
			if err != nil {
				return 0, err
			}
			return benchmsg.Count(answer)
		},
	}
}

// ServeStream is the server's side of a MessageStream. It returns nil at io.EOF.
func ServeStream(receive func() (*vt.Message, error), send func(*vt.Message) error) error {
	var tally benchmsg.Tally
	for {
		m, err := receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if answer, wanted := tally.Next(m); wanted {
			m.Int2 = answer
			if err := send(m); err != nil {
				return err
			}
		}
	}
}
