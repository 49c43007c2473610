package jsonproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

// room is a connection that has memory for so many bytes.
type room struct {
	io.Reader
	io.Writer
	most, kept int
}

var errNoRoom = errors.New("no room")

func (r *room) Keep(n int) error {
	if r.kept = max(r.kept, n); n > r.most {
		return errNoRoom
	}
	return nil
}

// A large document that is unescaped counts twice before it is; without room for it the
// connection ends.
func TestUnescapedCounts(t *testing.T) {
	const size = 1000 << 10
	plain, escaped := strings.Repeat("x", size), strings.Repeat(`\n`, size/2)
	for _, test := range []struct {
		name, body string
		most, kept int // bytes; kept is about that
		err        error
	}{
		{"plain", plain, 2 * size, 3 * size / 2, nil},
		{"escaped", escaped, 3 * size, 2 * size, nil},
		{"no room", escaped, 7 * size / 4, 2 * size, errNoRoom},
	} {
		t.Run(test.name, func(t *testing.T) {
			doc := fmt.Sprintf(`{"seq":1,"mtype":1,"serviceMethod":"/a","meta":"","bodyCodec":115,"body":"%s"}`, test.body)
			frame := append(binary.BigEndian.AppendUint32(nil, uint32(1+len(doc))), 0)
			r := &room{Reader: bytes.NewReader(append(frame, doc...)), most: test.most}
			err := NewJSONProtoFunc()(r).Unpack(new(socket.Envelope))
			if !errors.Is(err, test.err) || errors.Is(err, socket.ErrBadMessage) {
				t.Errorf("got %v, want %v", err, test.err)
			}
			if r.kept < test.kept-size/8 || r.kept > test.kept+size/8 {
				t.Errorf("%d bytes counted, want about %d", r.kept, test.kept)
			}
		})
	}
}
