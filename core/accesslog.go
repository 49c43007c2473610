package tp

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"time"

	"github.com/teleport-go/teleport/core/socket"
)

// The access log has one line per message:
//
//	CALL<-  a call served      CALL->  a call made
//	PUSH<-  a push served      PUSH->  a push sent
//	AUTH_CALL<-, AUTH_CALL->  likewise, on a session that is ready
//
// at INFO with AccessLog or PrintDetail, else at DEBUG; and at WARNING in any case if
// it took SlowCometDuration or longer. The cost is measured only with CountTime; bodies
// and metadata are shown only with PrintDetail, escaped and cut, without the values of
// secrets. A line below the log level costs one atomic load.
//
// The functions that log a line also run the PostExchange hooks of its message.

// accessLevel returns the level of a line, and whether that level is logged.
func (e *env) accessLevel(log logger, cost time.Duration) (LoggerLevel, bool) {
	level := DEBUG
	live := e.live.Load()
	if live.AccessLog || live.PrintDetail {
		level = INFO
	}
	if cost >= live.SlowCometDuration {
		level = WARNING
	}
	return level, log.enabled(level)
}

func (s *session) logCall(cmd *callCmd) {
	if hooks := s.env.hooks(); len(hooks.postExchange) > 0 && !cmd.auth {
		hooks.exchanged(s.env.guard, cmd, cmd.rerr)
	}
	if level, ok := s.env.accessLevel(s.logger, cmd.cost); ok {
		attrs := s.accessAttrs(cmd.link, "-", cmd.cost, level, cmd.out.ServiceMethod())
		attrs = append(attrs, s.side("send", &cmd.out, cmd.out.Size(), cmd.detail, nil),
			s.resultSide(cmd))
		name := "CALL->"
		if cmd.auth {
			name = "AUTH_CALL->"
		}
		s.attrs(level, name, attrs...)
	}
}

// resultSide describes the reply of a call.
func (s *session) resultSide(cmd *callCmd) slog.Attr {
	list := []any{slog.Uint64("size", uint64(cmd.inSize))}
	if cmd.rerr.HasError() {
		list = append(list, slog.String("error", brief(cmd.rerr.String())))
	}
	if s.env.live.Load().PrintDetail {
		if cmd.in != nil {
			list = append(list, slog.String("meta", metaText(cmd.in)))
		}
		if cmd.result != nil && cmd.rerr == nil && !cmd.auth {
			list = append(list, slog.String("body", valueText(cmd.result)))
		}
	}
	return slog.Group("recv", list...)
}

func (s *session) logPush(cmd *callCmd, r *Rerror) {
	if hooks := s.env.hooks(); len(hooks.postExchange) > 0 {
		hooks.exchanged(s.env.guard, cmd, r)
	}
	cost := s.env.since(cmd.start)
	if level, ok := s.env.accessLevel(s.logger, cost); ok {
		attrs := s.accessAttrs(cmd.link, "-", cost, level, cmd.out.ServiceMethod())
		attrs = append(attrs, s.side("send", &cmd.out, cmd.out.Size(), cmd.detail, r))
		s.attrs(level, "PUSH->", attrs...)
	}
}

// logHandled logs the line of a request that was served.
func (c *handlerCtx) logHandled(r *Rerror) {
	s := c.sess
	c.stage = stageEnded
	if len(c.hooks.postExchange) > 0 {
		c.hooks.exchanged(s.env.guard, c, r)
	}
	cost := s.env.since(c.start)
	if level, ok := s.env.accessLevel(s.logger, cost); ok {
		c.logLine(r, cost, level)
	}
}

func (c *handlerCtx) logLine(r *Rerror, cost time.Duration, level LoggerLevel) {
	s := c.sess
	real := "same"
	if ip := c.RealIP(); ip != c.link.ip {
		real = ip
	}
	attrs := s.accessAttrs(c.link, real, cost, level, c.in.ServiceMethod())
	detail := ""
	if s.env.live.Load().PrintDetail {
		detail = bodyText(&c.in)
	}
	if c.in.Mtype() == TypePush {
		attrs = append(attrs, s.side("recv", &c.in, c.in.Size(), detail, r))
		s.attrs(level, "PUSH<-", attrs...)
		return
	}
	attrs = append(attrs, s.side("recv", &c.in, c.in.Size(), detail, nil))
	if s.env.live.Load().PrintDetail {
		detail = bodyText(&c.out)
	}
	attrs = append(attrs, s.side("send", &c.out, c.out.Size(), detail, r))
	s.attrs(level, TypeText(c.in.Mtype())+"<-", attrs...)
}

func (s *session) accessAttrs(l *link, real string, cost time.Duration, level LoggerLevel, method string) []slog.Attr {
	addr := "-"
	if l != nil {
		addr = l.ip
	}
	attrs := make([]slog.Attr, 0, 8)
	attrs = append(attrs, slog.String("addr", addr), slog.String("real", brief(real)))
	if s.env.live.Load().CountTime {
		mark := "fast"
		if level == WARNING {
			mark = "slow"
		}
		attrs = append(attrs, slog.Duration("cost", cost), slog.String("mark", mark))
	}
	return append(attrs, slog.String("method", methodText(method)))
}

// side describes one of the messages of a line.
func (s *session) side(name string, m *socket.Envelope, size uint32, detail string, r *Rerror) slog.Attr {
	list := []any{slog.Uint64("size", uint64(size))}
	if r.HasError() {
		list = append(list, slog.String("error", brief(r.String())))
	}
	if s.env.live.Load().PrintDetail {
		if m.Meta().Len() > 0 {
			list = append(list, slog.String("meta", metaText(m.Meta())))
		}
		if detail != "" {
			list = append(list, slog.String("body", detail))
		}
	}
	return slog.Group(name, list...)
}

// bodyText renders a body now, before it can change, escaped and cut. It never
// renders that of an AUTH message.
func bodyText(m *socket.Envelope) string {
	if m.Mtype() == TypeAuthCall || m.Mtype() == TypeAuthReply {
		return ""
	}
	if m.Body() == nil {
		if raw := m.RawBody(); len(raw) > 0 {
			return bytesText(raw)
		}
		return ""
	}
	return valueText(m.Body())
}

func valueText(v any) (text string) {
	defer func() {
		if p := recover(); p != nil { // from the MarshalJSON of a user's type
			text = fmt.Sprintf("(%T: %v)", v, p)
		}
	}()
	switch b := v.(type) {
	case []byte:
		return bytesText(b)
	case *[]byte:
		if b == nil {
			return "null"
		}
		return bytesText(*b)
	case *Prepared:
		return bytesText(b.Bytes())
	}
	encoded, err := json.Marshal(v)
	switch {
	case err != nil && nested(reflect.ValueOf(v), nestedMax):
		return fmt.Sprintf("(%T: it contains itself, or is nested more than %d deep)", v, nestedMax)
	case err != nil:
		return cut(strconv.Quote(fmt.Sprintf("%+v", v)))
	}
	return cut(string(encoded))
}

func bytesText(b []byte) string {
	return cutOf(strconv.Quote(string(b[:min(len(b), detailMax)])), len(b), detailMax)
}

// nestedMax is how deep a value is nested at most that fmt prints, which would overflow the
// stack for one that contains itself. encoding/json has the same bound for such a value.
const nestedMax = 1000

// nested reports whether fmt would follow v more than most deep: it follows the elements of
// all values but pointers, except a pointer that is the value itself, and none of a value
// with a text of its own.
func nested(v reflect.Value, most int) bool {
	if v.IsValid() && v.CanInterface() {
		switch v.Interface().(type) {
		case fmt.Formatter, fmt.Stringer, error:
			return false
		}
	}
	deeper := func(v reflect.Value) bool { return most == 0 || nested(v, most-1) }
	switch v.Kind() {
	case reflect.Pointer:
		return most == nestedMax && deeper(v.Elem())
	case reflect.Interface:
		return deeper(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if deeper(v.Field(i)) {
				return true
			}
		}
	case reflect.Slice, reflect.Array:
		if k := v.Type().Elem().Kind(); k <= reflect.Complex128 || k == reflect.String {
			return false
		}
		for i := range v.Len() {
			if deeper(v.Index(i)) {
				return true
			}
		}
	case reflect.Map:
		for i := v.MapRange(); i.Next(); {
			if deeper(i.Key()) || deeper(i.Value()) {
				return true
			}
		}
	}
	return false
}
