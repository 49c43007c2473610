package socket

import (
	"context"
	"net/url"
	"strconv"
)

// MessageSetting changes a message before it is sent. Settings are applied in
// order, after the framework has set type, service method and body, and before
// the sequence number and the default codec. A nil setting is skipped.
type MessageSetting func(Message)

// WithNothing changes nothing.
func WithNothing() MessageSetting { return func(Message) {} }

// WithContext sets the context of the exchange: its end ends the wait for room
// in the outgoing batch and, for a call, the wait for the reply; its deadline
// travels to the peer.
func WithContext(ctx context.Context) MessageSetting {
	return func(m Message) { m.envelope().ctx = ctx }
}

// WithSeq sets the sequence number. A session overwrites it on calls and pushes;
// it is for standalone sockets.
func WithSeq(seq int32) MessageSetting { return func(m Message) { m.SetSeq(seq) } }

// WithMtype sets the message type; for standalone sockets.
func WithMtype(mtype byte) MessageSetting { return func(m Message) { m.SetMtype(mtype) } }

// WithServiceMethod sets the service method.
func WithServiceMethod(method string) MessageSetting {
	return func(m Message) { m.SetServiceMethod(method) }
}

// WithUriObject sets the service method to the text of u.
func WithUriObject(u *url.URL) MessageSetting { return func(m Message) { m.SetUriObject(u) } }

// WithQuery adds a parameter to the query of the service method.
func WithQuery(key, value string) MessageSetting {
	return func(m Message) {
		u := *m.UriObject()
		q := url.QueryEscape(key) + "=" + url.QueryEscape(value)
		if u.RawQuery != "" {
			q = u.RawQuery + "&" + q
		}
		u.RawQuery = q
		m.SetUriObject(&u)
	}
}

// WithAddMeta adds a metadata value; values already there stay.
func WithAddMeta(key, value string) MessageSetting {
	return func(m Message) { m.Meta().Add(key, value) }
}

// WithSetMeta sets a metadata value.
func WithSetMeta(key, value string) MessageSetting {
	return func(m Message) { m.Meta().Set(key, value) }
}

// WithDelMeta removes all metadata values of the key.
func WithDelMeta(key string) MessageSetting {
	return func(m Message) { m.Meta().Del(key) }
}

// WithBodyCodec sets the codec the body is encoded with.
func WithBodyCodec(id byte) MessageSetting { return func(m Message) { m.SetBodyCodec(id) } }

// WithBody sets the body.
func WithBody(body any) MessageSetting { return func(m Message) { m.SetBody(body) } }

// WithNewBody sets the function that makes the value the body is decoded into.
func WithNewBody(fn NewBodyFunc) MessageSetting { return func(m Message) { m.SetNewBody(fn) } }

// WithXferPipe appends filters to the pipe. It panics for an id that is not
// registered, naming the import that is missing.
func WithXferPipe(ids ...byte) MessageSetting {
	return func(m Message) {
		if err := m.XferPipe().Append(ids...); err != nil {
			panic(err)
		}
	}
}

// WithPushPolicy says what happens to a PUSH for which there is no room, in place of the
// session's policy. It panics for a policy that is none.
func WithPushPolicy(p PushPolicy) MessageSetting {
	return func(m Message) {
		if err := p.Check(); err != nil {
			panic(err)
		}
		pushingOf(&m.envelope().push).policy = p
	}
}

// WithPushKey sets the key of a PUSH with the policy PushLatest, which takes the place of
// one with the same key that has not been sent. Without it the key is the service method.
func WithPushKey(key string) MessageSetting {
	return func(m Message) { pushingOf(&m.envelope().push).key = key }
}

// WithRerror sets the error that a REPLY carries.
func WithRerror(rerr *Rerror) MessageSetting { return func(m Message) { m.SetRerror(rerr) } }

// WithRealIP sets the metadata X-Real-IP.
func WithRealIP(ip string) MessageSetting { return WithSetMeta(MetaRealIP, ip) }

// WithAcceptBodyCodec asks for the reply to be encoded with this codec; 0 asks
// for nothing.
func WithAcceptBodyCodec(id byte) MessageSetting {
	if id == 0 {
		return WithNothing()
	}
	return WithSetMeta(MetaAcceptBodyCodec, strconv.Itoa(int(id)))
}

// GetAcceptBodyCodec returns the codec the sender asks the reply to be in; false
// if it asks for none or the text is not the decimal of a byte.
func GetAcceptBodyCodec(meta *Meta) (byte, bool) {
	b := meta.Peek(MetaAcceptBodyCodec)
	if len(b) == 0 || len(b) > 3 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	if n == 0 || n > 255 {
		return 0, false
	}
	return byte(n), true
}
