package prototest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// must is whether a message has to be carried.
type must int

const (
	carry  must = iota // it arrives
	either             // it arrives, or Pack fails
	refuse             // Pack fails
)

// exchange sends m over l and compares what arrives. A refused message must write
// nothing.
func (s *suite) exchange(l *link, m *socket.Envelope, want must) error {
	err := l.send(m)
	switch {
	case isPanic(err):
		return err
	case err != nil && want == carry:
		return fmt.Errorf("Pack: %w", err)
	case err != nil:
		if n := l.wire.len(); n > 0 {
			return fmt.Errorf("Pack failed (%w), and wrote %d bytes", err, n)
		}
		return nil
	case want == refuse:
		return errors.New("Pack succeeds: what cannot be carried must be refused")
	}
	got := new(socket.Envelope)
	if err := l.recv(got); err != nil {
		return fmt.Errorf("Unpack: %w", err)
	}
	if n := l.wire.len(); n > 0 {
		return fmt.Errorf("Unpack left %d bytes of the frame", n)
	}
	return s.same(m, got)
}

// same returns the differences between what was sent and what arrived.
func (s *suite) same(sent, got *socket.Envelope) error {
	var errs []error
	differ := func(what string, got, want any) {
		if got != want {
			g, w := fmt.Sprintf("%.80q", fmt.Sprint(got)), fmt.Sprintf("%.80q", fmt.Sprint(want))
			errs = append(errs, fmt.Errorf("%s = %s, want %s", what, g, w))
		}
	}
	differ("seq", got.Seq(), sent.Seq())
	differ("message type", got.Mtype(), sent.Mtype())
	if !isReply(sent) || !s.without[ReplyMethod] {
		differ("service method", got.ServiceMethod(), sent.ServiceMethod())
	}
	differ("body codec", got.BodyCodec(), sent.BodyCodec())
	if !s.without[AnyMeta] {
		differ("metadata", got.Meta().String(), sent.Meta().String())
	} else {
		for k, v := range sent.Meta().All() {
			differ("metadata "+string(k), string(got.Meta().PeekBytes(k)), string(v))
		}
	}
	differ("pipe", fmt.Sprint(got.XferPipe().IDs()), fmt.Sprint(sent.XferPipe().IDs()))
	var rerr *socket.Rerror
	if isReply(sent) && sent.Rerror().HasError() {
		rerr = sent.Rerror()
	}
	differ("rerror", got.Rerror().String(), rerr.String())
	if rerr == nil { // some protocols put the error into the body
		body, err := sent.MarshalBody()
		if err != nil {
			return err
		}
		if !bytes.Equal(got.RawBody(), body) {
			differ("body", string(got.RawBody()), string(body))
			errs = append(errs, fmt.Errorf("body of %d bytes, want %d", len(got.RawBody()), len(body)))
		}
	}
	return errors.Join(errs...)
}

func isReply(m *socket.Envelope) bool {
	return framing.IsReply(m.Mtype())
}

// item is a message that a check sends.
type item struct {
	name string
	m    *socket.Envelope
	want must
}

// exchangeAll sends each over a connection of its own.
func (s *suite) exchangeAll(w way, items []item) error {
	var errs []error
	for _, i := range items {
		l := s.open(w)
		if err := s.exchange(l, i.m, i.want); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", i.name, err))
		}
		l.close()
	}
	return errors.Join(errs...)
}

// unless returns how strict to be where a feature may be missing.
func (s *suite) unless(f Feature, missing, usual must) must {
	if s.without[f] {
		return missing
	}
	return usual
}

func checkVersion(s *suite, w way) error {
	id, name := s.alone().Version()
	id2, name2 := s.alone().Version()
	switch {
	case name == "":
		return errors.New("version has no name")
	case id != id2 || name != name2:
		return fmt.Errorf("version is %d %q, then %d %q", id, name, id2, name2)
	}
	return nil
}

func checkHeader(s *suite, w way) error {
	var items []item
	add := func(want must, name string, settings ...socket.MessageSetting) {
		items = append(items, item{name, s.message(settings...), want})
	}
	for _, seq := range []int32{0, 1, 35, 36, math.MaxInt32} {
		add(carry, fmt.Sprint("seq ", seq), socket.WithSeq(seq))
	}
	for _, seq := range []int32{-1, -36, math.MinInt32} {
		add(either, fmt.Sprint("seq ", seq), socket.WithSeq(seq))
	}
	for _, t := range []byte{socket.TypeCall, socket.TypeReply} {
		add(carry, socket.TypeText(t), socket.WithMtype(t))
	}
	add(s.unless(Push, refuse, carry), "PUSH", socket.WithMtype(socket.TypePush))
	for _, t := range []byte{socket.TypeAuthCall, socket.TypeAuthReply} {
		add(s.unless(Auth, refuse, carry), socket.TypeText(t), socket.WithMtype(t))
	}
	for _, t := range []byte{0, 6, 'r', 255} {
		add(either, fmt.Sprint("message type ", t), socket.WithMtype(t))
	}
	for _, n := range []int{2, 254, 255} {
		add(carry, fmt.Sprintf("method of %d bytes", n), socket.WithServiceMethod("/"+strings.Repeat("m", n-1)))
	}
	for _, n := range []int{256, 257, 70_000} {
		add(either, fmt.Sprintf("method of %d bytes", n), socket.WithServiceMethod("/"+strings.Repeat("m", n-1)))
	}
	if !s.without[AnyMethod] {
		for _, text := range []string{"", "/", "Math.Add", "/a/b?x=1&y=%20", "/é/世界", "a\"b\\c\nd\x00e", "\xff\xfe"} {
			add(carry, fmt.Sprintf("method %q", text), socket.WithServiceMethod(text))
		}
	}
	if !s.without[AnyCodec] {
		for _, id := range []byte{0, 1, 'j', 'r', 255} {
			add(carry, fmt.Sprint("codec ", id), socket.WithBodyCodec(id))
		}
	}
	add(carry, "metadata", socket.WithAddMeta("One", "1"), socket.WithAddMeta("Two", "zwei 2"))
	if !s.without[AnyMeta] {
		for _, kv := range [][2]string{
			{"k", "= & % + #"}, {"= & %", "v"}, {"k", ""}, {"", "v"}, {"", ""}, {"é", "世界"},
			{"k", "\x00\n\r\"\\"}, {"k", "\xff\xfe"}, {"code", "0"}, {"k", strings.Repeat("v", 65_000)},
		} {
			add(carry, fmt.Sprintf("metadata %.20q=%.20q", kv[0], kv[1]), socket.WithAddMeta(kv[0], kv[1]))
		}
		add(carry, "metadata in order and repeated", socket.WithAddMeta("b", "1"), socket.WithAddMeta("a", "2"),
			socket.WithAddMeta("b", "3"), socket.WithAddMeta("b", "3"))
	}
	for _, n := range []int{64 << 10, 1<<16 + 7, 200_000} {
		add(either, fmt.Sprintf("metadata of %d bytes", n), socket.WithAddMeta("K", strings.Repeat("v", n)))
	}
	return s.exchangeAll(w, items)
}

func checkBody(s *suite, w way) error {
	var items []item
	for name, body := range map[string]string{
		"empty":         "",
		"one byte":      "x",
		"space":         "  x  ",
		"quotes":        `"a" 'b' ` + "`c`",
		"backslashes":   `\ \\ \n \" \u0000`,
		"newlines":      "\na\r\nb\r\n\r\n",
		"NUL":           "a\x00b\x00",
		"invalid UTF-8": "\xff\xfe\xc3\x28\xed\xa0\x80",
		"UTF-8":         "é 世界 \u2028 \U0001f600",
		"json":          `{"a":[1,2,{"b":null}]}`,
		"markup":        "<a href=\"&amp;\">%41+%</a>",
		"all bytes":     allBytes(),
		"16 KiB":        strings.Repeat("0123456789abcdef", 1<<10),
		"64 KiB":        strings.Repeat("0123456789abcdef", 4<<10),
		"1 MiB":         strings.Repeat("0123456789abcde\x00", 64<<10),
	} {
		items = append(items, item{name, s.message(asBytes([]byte(body))), carry})
		items = append(items, item{name + " of a reply", s.message(asBytes([]byte(body)), socket.WithMtype(socket.TypeReply)), carry})
	}
	items = append(items, item{"nil", s.message(socket.WithBody(nil)), carry})
	return s.exchangeAll(w, items)
}

func allBytes() string {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return string(b)
}

func checkRerror(s *suite, w way) error {
	var items []item
	for _, r := range []*socket.Rerror{
		nil,
		socket.NewRerror(0, "no error", "at all"),
		socket.NewRerror(404, "Not Found", ""),
		socket.NewRerror(404, "", ""),
		socket.NewRerror(500, "", "only a reason"),
		socket.NewRerror(-1, "Unknown Error", "a = b & c % d + e"),
		socket.NewRerror(math.MaxInt32, `"quoted" \ back`, "new\nline\ttab\x01"),
		socket.NewRerror(math.MinInt32, "世界", "<é>&\u2028"),
	} {
		items = append(items, item{"reply with " + r.String(),
			s.message(socket.WithMtype(socket.TypeReply), socket.WithRerror(r), socket.WithBody(nil)), carry})
	}
	r := socket.NewRerror(401, "Unauthorized", "who are you?")
	items = append(items,
		item{"reply with metadata too", s.message(socket.WithMtype(socket.TypeReply), socket.WithRerror(r),
			socket.WithAddMeta("One", "1"), socket.WithBody(nil)), carry},
		item{"AUTH_REPLY", s.message(socket.WithMtype(socket.TypeAuthReply), socket.WithRerror(r),
			socket.WithBody(nil)), s.unless(Auth, refuse, carry)},
		item{"CALL", s.message(socket.WithRerror(r)), either},
		item{"PUSH", s.message(socket.WithRerror(r), socket.WithMtype(socket.TypePush)), s.unless(Push, refuse, either)})
	return s.exchangeAll(w, items)
}

func checkSize(s *suite, w way) error {
	var errs []error
	for _, n := range []int{0, 1, 1000, 70_000} {
		for _, m := range []*socket.Envelope{
			s.message(asBytes(text[:n])),
			s.message(asBytes(text[:n]), s.piped(testwire.XOR, testwire.Sum)),
		} {
			l := s.open(w)
			if err := l.send(m); err != nil {
				return err
			}
			frame := l.wire.len()
			if m.Size() != uint32(frame) {
				errs = append(errs, fmt.Errorf("body of %d bytes: packed: Size = %d, the frame has %d bytes", n, m.Size(), frame))
			}
			got := new(socket.Envelope)
			if err := l.recv(got); err != nil {
				return err
			}
			if got.Size() != uint32(frame) {
				errs = append(errs, fmt.Errorf("body of %d bytes: unpacked: Size = %d, the frame had %d bytes", n, got.Size(), frame))
			}
			l.close()
		}
	}
	return errors.Join(errs...)
}

func checkPipe(s *suite, w way) error {
	if s.without[Pipe] {
		return s.exchangeAll(w, []item{
			{"a filter", s.message(socket.WithXferPipe(testwire.XOR)), refuse},
		})
	}
	long := s.message()
	for range 256 {
		one := s.message(socket.WithXferPipe(testwire.XOR))
		long.XferPipe().AppendFrom(one.XferPipe())
	}
	items := []item{
		{"one", s.message(socket.WithXferPipe(testwire.XOR)), carry},
		{"two", s.message(socket.WithXferPipe(testwire.XOR, testwire.Sum)), carry},
		{"two, the other way round", s.message(socket.WithXferPipe(testwire.Sum, testwire.Hex)), carry},
		{"the same one twice", s.message(socket.WithXferPipe(testwire.Hex, testwire.Hex)), carry},
		{"eight", s.message(socket.WithXferPipe(bytes.Repeat([]byte{testwire.XOR, testwire.Sum}, 4)...)), carry},
		{"empty body", s.message(socket.WithXferPipe(testwire.Sum), socket.WithBody(nil)), carry},
		{"200 kB", s.message(socket.WithXferPipe(testwire.Hex), asBytes(bytes.Repeat([]byte("x\x00"), 100_000))), carry},
		{"256 filters", long, refuse},
	}
	if err := s.exchangeAll(w, items); err != nil {
		return err
	}
	// One more than a reader has to take.
	l := s.open(w)
	defer l.close()
	m := s.message(socket.WithXferPipe(bytes.Repeat([]byte{testwire.XOR}, 9)...))
	if err := l.send(m); err != nil {
		return nil
	}
	if err := l.recv(new(socket.Envelope)); !errors.Is(err, socket.ErrBadMessage) {
		return fmt.Errorf("nine filters: Unpack: %v, want ErrBadMessage", err)
	}
	return nil
}
