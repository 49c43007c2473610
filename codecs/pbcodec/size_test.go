package pbcodec

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codectest"
)

// nest returns n messages in each other: a DescriptorProto's nested_type is its field 3.
func nest(n int) []byte {
	var b []byte
	for range n - 1 {
		b = slices.Concat([]byte{3<<3 | 2}, protowire.AppendVarint(nil, uint64(len(b))), b)
	}
	return b
}

func into[T any]() any { return new(T) }

// hostile is what makes values deep or large.
func hostile() []codectest.Option {
	repeat := func(field string) func(n int) []byte {
		return func(n int) []byte { return []byte(strings.Repeat(field, n)) }
	}
	inMessage := func(tag byte, field string) func(n int) []byte {
		return func(n int) []byte {
			return protowire.AppendBytes([]byte{tag}, []byte(strings.Repeat(field, n)))
		}
	}
	return []codectest.Option{
		codectest.Deep(into[descriptorpb.DescriptorProto], nest),
		codectest.Deep(into[vtMessage], nest),
		codectest.Wide(into[descriptorpb.FileDescriptorProto], repeat("\x22\x00")),
		codectest.Wide(into[descriptorpb.FileDescriptorProto], inMessage(0x22, "\x12\x00")),
		codectest.Wide(into[structpb.ListValue], repeat("\x0a\x00")),
		codectest.Wide(into[structpb.ListValue], repeat("\x0a\x02\x2a\x00")), // a map without entries
		codectest.Wide(into[structpb.ListValue], repeat("\x0a\x04\x2a\x02\x0a\x00")),
		codectest.Wide(into[structpb.Struct], func(n int) (b []byte) {
			for i := range n {
				b = fmt.Appendf(b, "\x0a\x0c\x0a\x08%08d\x12\x00", i)
			}
			return b
		}),
		codectest.Wide(into[fieldmaskpb.FieldMask], repeat("\x0a\x00")),                          // texts
		codectest.Wide(into[descriptorpb.SourceCodeInfo_Location], inMessage(0x0a, "\x01")),      // numbers in a row
		codectest.Wide(into[descriptorpb.SourceCodeInfo_Location], repeat("\x08\x01")),           // one by one
		codectest.Wide(into[descriptorpb.FileDescriptorSet], repeat("\x0a\x04\x22\x02\x12\x00")), // messages in messages
	}
}

// vtMessage has the methods of vtprotobuf, which do not limit the depth.
type vtMessage struct{ descriptorpb.DescriptorProto }

func (m *vtMessage) UnmarshalVT(b []byte) error { return proto.Unmarshal(b, &m.DescriptorProto) }

func TestVTDepth(t *testing.T) {
	for _, c := range []Codec{{}, {Alias: true}} {
		m := &neverDecoded{t: t}
		var limit *codec.LimitError
		if err := c.Unmarshal(nest(codec.DefaultDepth+1), m); !errors.As(err, &limit) {
			t.Errorf("alias %t: error %v; want a codec.LimitError", c.Alias, err)
		}
	}
}

type neverDecoded struct {
	descriptorpb.DescriptorProto
	t *testing.T
}

func (m *neverDecoded) UnmarshalVT([]byte) error {
	m.t.Error("is decoded")
	return nil
}

// The type of a message that is made as the program runs is not kept.
func TestDynamic(t *testing.T) {
	d := (&structpb.ListValue{}).ProtoReflect().Descriptor()
	m := dynamicpb.NewMessage(d)
	if err := (Codec{}).Unmarshal([]byte(strings.Repeat("\x0a\x00", 1<<20)), m); !errors.Is(err, codec.ErrTooComplex) {
		t.Errorf("error %v; want %v", err, codec.ErrTooComplex)
	}
	if _, ok := plans.Load(protoreflect.MessageType(m.Type())); ok {
		t.Error("the type is kept")
	}
}

func TestUsualSizes(t *testing.T) {
	file := &descriptorpb.FileDescriptorProto{Name: proto.String("file.proto"), Package: proto.String("a.package")}
	for i := range 20_000 {
		file.MessageType = append(file.MessageType, &descriptorpb.DescriptorProto{
			Name: proto.String(fmt.Sprint("Message", i)),
			Field: []*descriptorpb.FieldDescriptorProto{
				{Name: proto.String("field_one"), JsonName: proto.String("fieldOne"), Number: proto.Int32(1), TypeName: proto.String(".a.package.Type")},
				{Name: proto.String("field_two"), JsonName: proto.String("fieldTwo"), Number: proto.Int32(2), TypeName: proto.String(".a.package.Type")},
			},
		})
	}
	b, err := proto.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkSize(b, new(descriptorpb.FileDescriptorProto), false, nil); err != nil {
		t.Error(err)
	}
}

// What the library decodes has no more levels than what was measured.
func FuzzSize(f *testing.F) {
	for _, b := range []string{"\x22\x00", "\x0a\x04\x2a\x02\x0a\x00", "\x0b\x0c", "\x0b", "\x0c", "\x0a\xff", string(nest(8)), "\x1b\x1b\x1c\x1c", "\x08\x96\x01\x0a\x03\x01\x02\x03"} {
		f.Add([]byte(b))
	}
	defer codec.SetLimits(codec.CurrentLimits())
	codec.SetLimits(codec.Limits{Depth: 5, Memory: 10_000, Factor: 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range []proto.Message{new(descriptorpb.FileDescriptorProto), new(descriptorpb.DescriptorProto), new(structpb.ListValue)} {
			err := checkSize(data, m, false, nil)
			if err != nil && !errors.Is(err, codec.ErrTooComplex) {
				t.Fatalf("%x: %v", data, err)
			}
			// The library counts the outermost message and the entries of maps, too.
			if err == nil && len(data) > 5 && proto.Unmarshal(data, m.ProtoReflect().New().Interface()) == nil {
				o := proto.UnmarshalOptions{RecursionLimit: 6}
				if err := o.Unmarshal(data, m); err != nil && strings.Contains(err.Error(), "recursion") {
					t.Fatalf("%x: %v", data, err)
				}
			}
		}
	})
}
