package tp

import (
	"iter"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

// Prepare encodes v, once, with the codec of that id, to be the argument of many PUSHes or
// CALLs; an id of 0 takes a []byte as it is. A message with the result as its argument has
// that codec, and the filters with the ids of pipe unless its settings name others. What the
// filters make of a PUSH is kept: it goes through them once for all sessions whose messages
// have the same method and the same metadata. Therefore a PUSH with it has the sequence
// number 0. Hooks see the Prepared as the body. The error is that of the codec, or names a
// codec or a filter that is not registered.
func Prepare(codecID byte, v any, pipe ...byte) (*Prepared, error) {
	return socket.Prepare(codecID, v, pipe...)
}

// BroadcastResult counts what has happened to the PUSHes of a Broadcast.
type BroadcastResult struct {
	Taken   int     // sessions that have accepted it for sending; a policy may drop it later
	Dropped int     // sessions whose policy has dropped it at once, since their queue is full
	Refused int     // sessions that have returned an error; nothing was sent
	Err     *Rerror // the first of these errors; nil: there was none
}

// Broadcast pushes arg to all sessions of a sequence, such as peer.RangeSession, with the
// settings, and encodes it once: arg may be the result of Prepare, and else is encoded with
// the codec of WithBodyCodec, or the default one of the first session's peer.
//
// It pushes to one session after the other, in the calling goroutine, and waits for none:
// where the policy of the session or of its peer is PushWait, it is PushFail here, so that a
// reader that stands still holds up nobody; WithPushPolicy(PushWait) among the settings waits.
// An error does not end it. If arg cannot be encoded, or a setting is wrong, nothing is sent,
// and Err says so. It may be called concurrently; then two sessions may get two messages in
// different orders.
func Broadcast(sessions iter.Seq[Session], serviceMethod string, arg any, setting ...MessageSetting) (res BroadcastResult) {
	body, prepared := arg.(*Prepared)
	for sess := range sessions {
		if !prepared {
			var r *Rerror
			if body, r = prepareFor(sess, serviceMethod, arg, setting); r != nil {
				return BroadcastResult{Err: r}
			}
			prepared = true
		}
		lost, r := pushTo(sess, serviceMethod, body, setting)
		switch {
		case r != nil:
			res.Refused++
			if res.Err == nil {
				res.Err = r
			}
		case lost:
			res.Dropped++
		default:
			res.Taken++
		}
	}
	return res
}

// prepareFor encodes arg as a PUSH of a session with these settings would.
func prepareFor(sess Session, serviceMethod string, arg any, setting []MessageSetting) (*Prepared, *Rerror) {
	id := codec.NilCodecID
	if s, ok := sess.(*session); ok {
		var m socket.Envelope
		m.SetMtype(TypePush)
		if r := prepareMessage(s, &m, serviceMethod, arg, setting); r != nil {
			return nil, r
		}
		id, arg = m.BodyCodec(), m.Body()
	}
	if p, ok := arg.(*Prepared); ok { // of WithBody
		return p, nil
	}
	p, err := Prepare(id, arg)
	if err != nil {
		return nil, NewRerror(CodeWriteFailed, CodeText(CodeWriteFailed), err.Error()).WithCause(err)
	}
	return p, nil
}

// pushTo pushes to one session without waiting, if it is one of this package.
func pushTo(sess Session, serviceMethod string, body *Prepared, setting []MessageSetting) (lost bool, r *Rerror) {
	if s, ok := sess.(*session); ok {
		return s.push(serviceMethod, body, setting, PushFail)
	}
	return false, sess.Push(serviceMethod, body, setting...)
}
