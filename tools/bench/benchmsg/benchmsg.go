// Package benchmsg is the message that all candidates send: 58 flat fields, as
// the classic benchmark has them, and 581 bytes of protocol buffers.
//
// Its two subpackages hold the same message of the same layout: std with what
// protoc-gen-go writes and nothing else, vt with the generated methods of
// vtprotobuf as well.
package benchmsg

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

//go:generate ./generate.sh

const (
	// Size is the length of New's encoding in bytes. The reply is as long.
	Size = 581
	// Asked is the value of every number that New sets.
	Asked = 100_000
	// Answered is what a handler sets Int2 to.
	Answered = Asked + 1
	// Text is the value of every string: 52 bytes.
	Text = "行路难:长风破浪会有时直挂云帆济沧海"
)

// numbered is the highest field number of the numbers that are set: with all of
// them the message would be longer.
const numbered = 37

// New returns the request: new(std.Message) or new(vt.Message), filled. All
// strings (8) and bools (12) are set, and 24 of the 36 numbers; List16 and Wait are empty.
func New[T any, P interface {
	*T
	proto.Message
}]() P {
	p := P(new(T))
	m := p.ProtoReflect()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.IsList() {
			continue
		}
		switch f.Kind() {
		case protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString(Text))
		case protoreflect.BoolKind:
			m.Set(f, protoreflect.ValueOfBool(true))
		case protoreflect.Int32Kind:
			if f.Number() <= numbered {
				m.Set(f, protoreflect.ValueOfInt32(Asked))
			}
		case protoreflect.Int64Kind:
			if f.Number() <= numbered {
				m.Set(f, protoreflect.ValueOfInt64(Asked))
			}
		}
	}
	return p
}

// Message is the part of the generated types that is looked at.
type Message interface {
	GetInt2() int32
	GetText18() string
	GetInt37() int32
	GetWait() int32
}

// Check tells what is wrong with a reply. It looks at the field that a handler
// changes, at a text in the middle, and at the last number.
func Check(m Message) error {
	if m.GetInt2() != Answered || m.GetText18() != Text || m.GetInt37() != Asked {
		return fmt.Errorf("benchmsg: reply with int2 %d, text18 %q, int37 %d", m.GetInt2(), m.GetText18(), m.GetInt37())
	}
	return nil
}

// Sleep lets a handler be as slow as the request says; it returns at once from
// what New made.
func Sleep(m Message) {
	if ms := m.GetWait(); ms > 0 {
		time.Sleep(time.Duration(ms) * time.Millisecond)
	}
}
