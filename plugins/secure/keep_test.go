package secure

import (
	"errors"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
)

// room is a connection that has memory for so many bytes.
type room struct{ most, kept int }

var errNoRoom = errors.New("no room")

func (r *room) Keep(n int) error {
	if r.kept = n; n > r.most {
		return errNoRoom
	}
	return nil
}

// A body that is opened counts twice before it is, sealed and opened; without room for it
// the connection ends.
func TestOpenedCounts(t *testing.T) {
	const size = 1 << 20
	for _, test := range []struct {
		most int
		err  error
	}{{3 * size, nil}, {size, errNoRoom}} {
		dialler, acceptor := ends(t)
		connection := &room{most: test.most}
		acceptor.keeper = connection
		l, conf := &line{}, newConfig(nil)
		m := message(tp.TypePush, 1, "/a")
		m.SetBody(make([]byte, size))
		if err := (&proto{l, dialler, conf}).Pack(m); err != nil {
			t.Fatal(err)
		}
		err := (&proto{l, acceptor, conf}).Unpack(socket.NewMessage())
		if !errors.Is(err, test.err) || errors.Is(err, socket.ErrBadMessage) {
			t.Errorf("with room for %d bytes: %v, want %v", test.most, err, test.err)
		}
		if connection.kept < 2*size || connection.kept > 2*size+200 {
			t.Errorf("%d bytes counted, want 2 MiB", connection.kept)
		}
		var refusal *socket.Refusal
		if errors.As(err, &refusal) {
			t.Error("it was answered")
		}
	}
}
