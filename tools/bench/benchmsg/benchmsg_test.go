package benchmsg_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/std"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
)

func TestNew(t *testing.T) {
	for _, test := range []struct {
		name string
		m    proto.Message
	}{
		{"std", benchmsg.New[std.Message]()},
		{"vt", benchmsg.New[vt.Message]()},
	} {
		t.Run(test.name, func(t *testing.T) {
			if n := proto.Size(test.m); n != benchmsg.Size {
				t.Errorf("%d bytes, want %d", n, benchmsg.Size)
			}
			r := test.m.ProtoReflect()
			if n := r.Descriptor().Fields().Len(); n != 58 {
				t.Errorf("%d fields, want 58", n)
			}
			set := map[protoreflect.Kind]int{}
			r.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
				set[f.Kind()]++
				return true
			})
			if set[protoreflect.StringKind] != 8 || set[protoreflect.BoolKind] != 12 || set[protoreflect.Int32Kind]+set[protoreflect.Int64Kind] != 24 {
				t.Errorf("set are %v, want 8 strings, 12 bools and 24 numbers", set)
			}
		})
	}
}

// Each package decodes what the other encodes, by each of its methods.
func TestRoundTrip(t *testing.T) {
	m := benchmsg.New[std.Message]()
	m.List16 = []uint64{1, 1 << 63}
	standard, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	require.NoError(t, err)
	fast := new(vt.Message)
	require.NoError(t, fast.UnmarshalVT(standard))
	aliased := new(vt.Message)
	require.NoError(t, aliased.UnmarshalVTUnsafe(standard))
	if !proto.Equal(fast, aliased) {
		t.Errorf("decoded by copying  %v\nand by aliasing %v", fast, aliased)
	}
	written, err := fast.MarshalVT()
	if err != nil || fast.SizeVT() != len(written) {
		t.Fatalf("MarshalVT = %d bytes, %v; SizeVT = %d", len(written), err, fast.SizeVT())
	}
	back := new(std.Message)
	if err := proto.Unmarshal(written, back); err != nil || !proto.Equal(back, m) {
		t.Errorf("came back as %v, %v\nwas          %v", back, err, m)
	}
}

// std is standard protobuf, without generated methods.
func TestStandardIsStandard(t *testing.T) {
	var m any = new(std.Message)
	if _, ok := m.(interface{ SizeVT() int }); ok {
		t.Error("std.Message has generated fast methods")
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(m *std.Message)
		want   string
	}{
		{"reply", func(m *std.Message) {}, ""},
		{"unanswered", func(m *std.Message) { m.Int2 = benchmsg.Asked }, "int2 100000"},
		{"text", func(m *std.Message) { m.Text18 = "" }, `text18 ""`},
		{"end is missing", func(m *std.Message) { m.Int37 = 0 }, "int37 0"},
		{"empty", func(m *std.Message) { m.Reset() }, "int2 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := benchmsg.New[std.Message]()
			m.Int2 = benchmsg.Answered
			if n := proto.Size(m); n != benchmsg.Size {
				t.Errorf("a reply of %d bytes, want %d", n, benchmsg.Size)
			}
			test.change(m)
			err := benchmsg.Check(m)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("Check: %v, want %q in it", err, test.want)
			}
		})
	}
}
