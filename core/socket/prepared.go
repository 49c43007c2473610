package socket

import (
	"bytes"
	"fmt"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/xfer"
)

// Prepared is a body that is encoded already, to be sent many times: the argument of a Push
// to each of many sessions. It never changes, and may be used concurrently.
type Prepared struct {
	codec byte
	body  []byte
	pipe  xfer.XferPipe
	memo  xfer.Memo // of what filters make of it
}

// Prepare encodes v, once, with the codec of that id; an id of 0 takes a []byte as it is. A
// message with the result as its body has that codec, and the filters with these ids if its
// settings name none. The filters pack a PUSH with it once for all connections whose messages
// are the same: so its sequence number must be 0, and other metadata make another message.
// The error is that of the codec, or names a codec or a filter that is not registered.
func Prepare(codecID byte, v any, pipe ...byte) (*Prepared, error) {
	p := &Prepared{codec: codecID}
	if err := p.pipe.Append(pipe...); err != nil {
		return nil, fmt.Errorf("socket: prepare a %T: %w", v, err)
	}
	switch b := v.(type) {
	case nil:
	case []byte:
		p.body = bytes.Clone(b)
	case *[]byte:
		if b != nil {
			p.body = bytes.Clone(*b)
		}
	default:
		var err error
		if p.body, err = codec.Marshal(codecID, v); err != nil {
			return nil, fmt.Errorf("socket: prepare a %T: %w", v, err)
		}
	}
	return p, nil
}

// BodyCodec returns the id of the codec.
func (p *Prepared) BodyCodec() byte { return p.codec }

// Bytes returns the encoded body, which must not be changed.
func (p *Prepared) Bytes() []byte { return p.body }

// encodedFor returns the body for a message with that codec.
func (p *Prepared) encodedFor(codecID byte) ([]byte, error) {
	if codecID != p.codec {
		return nil, fmt.Errorf("socket: the body was prepared with the codec %s, and the message has %s", codecText(p.codec), codecText(codecID))
	}
	return p.body, nil
}

func codecText(id byte) string {
	if c, err := codec.Get(id); err == nil {
		return fmt.Sprintf("%s (id %d)", c.Name(), id)
	}
	return fmt.Sprintf("id %d", id)
}
