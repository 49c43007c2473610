package tp

import (
	"io"

	"github.com/teleport-go/teleport/core/internal/bufpool"
)

// CopyStream sends the messages that come on src to dst, until src has ended. They pass as
// they are, with their codec and metadata, and are not decoded; filters are those of each
// stream. The hooks of both streams run. If the other side of src calls CloseSend, so does
// CopyStream on dst.
//
// A message is taken from src when dst may send one, and is src's until dst has it. So
// nothing is stored between them: a program that does not receive what comes out of dst
// holds up the one that sends into src. The end of src waits only for the messages in front
// of it.
//
// CopyStream returns nil at the end of src where Recv returns io.EOF, else the error of
// src's Recv or of dst's Send. It closes neither. Two of them, one for each direction, are
// what a proxy does with a stream; nothing else may receive on src meanwhile.
func CopyStream[A, B any](dst *Stream[A, []byte], src *Stream[[]byte, B]) error {
	for {
		if err := dst.st.awaitTurn(src.st); err != nil {
			return err
		}
		if err := dst.st.copyMessage(src.st); err == io.EOF {
			return dst.st.copyEnd(src.st)
		} else if err != nil {
			return err
		}
	}
}

// awaitTurn waits until a message may be sent, or none comes on src any more.
func (st *stream) awaitTurn(src *stream) error {
	st.sending.Lock()
	defer st.sending.Unlock()
	return st.awaitCredit(src).Err()
}

// copyMessage receives a message on src and sends it on st.
func (st *stream) copyMessage(src *stream) error {
	src.receiving.Lock()
	defer src.receiving.Unlock()
	d, err := src.nextDatum()
	if err != nil {
		return err
	}
	n := d.cost()
	if len(src.hooks.postReadData) > 0 {
		m, r := src.receivedMessage(&d)
		if err = r.Err(); r == nil {
			err = st.write(m.RawBody(), m.BodyCodec(), m.Meta())
		}
		m.SetBody(nil)
		m.FreeBody()
	} else {
		err = st.write(d.body, d.codec, d.meta)
		if d.own {
			bufpool.Put(d.body)
		}
	}
	src.giveBack(n)
	return err
}

// copyEnd does on st what the other side of src has done: CloseSend, unless it has only
// ended the stream.
func (st *stream) copyEnd(src *stream) error {
	src.mu.Lock()
	done, meta := src.peerDone, src.endMeta
	src.mu.Unlock()
	if !done {
		return nil
	}
	return st.closeSend(meta)
}
