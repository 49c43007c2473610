package jsonproto

import (
	"fmt"
	"strconv"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// FieldError is a frame that cannot be read, or a message that does not fit
// into one. If the whole frame has been read, so that the connection can go on,
// it matches [socket.ErrBadMessage].
type FieldError = framing.FieldError

func bad(field, fault string) error { return framing.Errors(Name).Bad(field, fault, nil) }

func badAt(at int, fault string) error {
	return bad("document", fmt.Sprintf("%s at byte %d", fault, at))
}

// appendPayload appends the document. Metadata and status are query strings, in
// which nothing has to be escaped. On an error the slice it returns may hold anything.
func appendPayload(dst []byte, m socket.Message, d Dialect) ([]byte, error) {
	dst = append(appendHead(dst, m, d), `,"body":"`...)
	at := len(dst)
	dst, err := m.AppendBody(dst)
	if err != nil {
		return dst, err
	}
	return append(escapeTail(dst, at), '}'), nil
}

// appendHead appends all that comes before the body.
func appendHead(dst []byte, m socket.Message, d Dialect) []byte {
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendInt(dst, int64(m.Seq()), 10)
	dst = append(dst, `,"mtype":`...)
	dst = strconv.AppendUint(dst, uint64(m.Mtype()), 10)
	dst = append(dst, `,"serviceMethod":"`...)
	dst = appendEscaped(dst, m.ServiceMethod())
	if d == V7 {
		dst = append(dst, `","status":"`...)
		dst = framing.AppendStatus(dst, m)
	}
	dst = append(dst, `","meta":"`...)
	if d == V7 {
		dst = m.Meta().AppendBytes(dst)
	} else {
		dst = framing.AppendMeta(dst, m)
	}
	dst = append(dst, `","bodyCodec":`...)
	return strconv.AppendUint(dst, uint64(m.BodyCodec()), 10)
}
