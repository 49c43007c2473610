package pbcodec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codectest"
)

// fast is a message {1: text} with generated methods of its own, and no others.
type fast struct {
	Text string
	used []string
	slip int // how many bytes it writes less than it said
	err  error
}

func (f *fast) Reset() { *f = fast{used: append(f.used, "reset")} }

func (f *fast) SizeVT() int {
	if f.Text == "" {
		return 0
	}
	return 2 + len(f.Text)
}

func (f *fast) MarshalToSizedBufferVT(b []byte) (int, error) {
	if f.err != nil {
		b[0] = 0xee
		return 0, f.err
	}
	if f.Text == "" {
		return 0, nil
	}
	text := f.Text[f.slip:]
	at := len(b) - len(text)
	copy(b[at:], text)
	b[at-1], b[at-2] = byte(len(text)), 0x0a
	return 2 + len(text), nil
}

func (f *fast) UnmarshalVT(b []byte) error {
	f.used = append(f.used, "unmarshal")
	if len(b) == 0 {
		return nil
	}
	if len(b) < 2 || b[0] != 0x0a || int(b[1]) != len(b)-2 {
		return errors.New("not a fast message")
	}
	f.Text += string(b[2:])
	return nil
}

// whole has MarshalVT alone.
type whole struct{ *wrapperspb.StringValue }

func (w whole) MarshalVT() ([]byte, error) {
	if w.Value == "bad" {
		return []byte("junk"), errors.New("no")
	}
	return append([]byte{0x0a, byte(len(w.Value))}, w.Value...), nil
}

// first is a message as the first generation of generators wrote it.
type first struct {
	Text string `protobuf:"bytes,1,opt,name=text,proto3"`
}

func (f *first) Reset()         { *f = first{} }
func (f *first) String() string { return f.Text }
func (*first) ProtoMessage()    {}

func equal(got, want any) bool {
	g, ok := got.(proto.Message)
	w, ok2 := want.(proto.Message)
	if ok && ok2 {
		return proto.Equal(g, w)
	}
	if f, ok := got.(*fast); ok {
		return f.Text == want.(*fast).Text
	}
	return got.(*first).Text == want.(*first).Text
}

func TestConformance(t *testing.T) {
	list, err := structpb.NewStruct(map[string]any{"a": 1.5, "b": []any{"x", nil, true, []any{}, map[string]any{}}, "c": map[string]any{"é": "世界"}})
	if err != nil {
		t.Fatal(err)
	}
	codectest.With(append(hostile(), codectest.Equal(equal))...).Run(t, Codec{},
		wrapperspb.String("text"), wrapperspb.Bytes([]byte("\x00\xff")), list, typical(),
		wrapperspb.UInt64(math.MaxUint64), wrapperspb.Double(math.NaN()), wrapperspb.Float(float32(math.Inf(-1))),
		timestamppb.New(time.Date(2024, 2, 29, 23, 59, 58, 123456789, time.UTC)), durationpb.New(-90*time.Minute-1),
		&fast{Text: "fast"}, &first{Text: "first"})
}

func TestValues(t *testing.T) {
	codectest.Values(t, Codec{},
		codectest.Refuses("*/*", "does not implement proto.Message"),
		codectest.Carries("alone/nil"),
	)
}

func TestMarshal(t *testing.T) {
	for _, test := range []struct {
		name string
		v    any
		want string
	}{
		{"nil", nil, ""},
		{"struct{}", struct{}{}, ""},
		{"*struct{}", new(struct{}), ""},
		{"nil *struct{}", (*struct{})(nil), ""},
		{"nil message", (*wrapperspb.StringValue)(nil), ""},
		{"nil message with fast methods", (*fast)(nil), ""},
		{"nil message of the first generation", (*first)(nil), ""},
		{"empty message", wrapperspb.String(""), ""},
		{"message", wrapperspb.String("hi"), "\x0a\x02hi"},
		{"fast", &fast{Text: "hi"}, "\x0a\x02hi"},
		{"fast, empty", &fast{}, ""},
		{"fast, writes less than it said", &fast{Text: "hi there", slip: 3}, "\x0a\x05there"},
		{"fast, MarshalVT alone", whole{wrapperspb.String("hi")}, "\x0a\x02hi"},
		{"first generation", &first{Text: "hi"}, "\x0a\x02hi"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Codec{}.Marshal(test.v)
			if err != nil || string(got) != test.want {
				t.Errorf("Marshal = %q, %v; want %q", got, err, test.want)
			}
			for _, room := range []int{0, 1, 100} {
				dst := append(make([]byte, 0, 4+room), "head"...)
				got, err = Codec{}.Append(dst, test.v)
				if err != nil || string(got) != "head"+test.want {
					t.Errorf("Append = %q, %v; want %q", got, err, "head"+test.want)
				}
			}
			if f, ok := test.v.(*fast); ok && f != nil && f.slip > 0 {
				return
			}
			if got := (Codec{}).Size(test.v); got != len(test.want) {
				t.Errorf("Size = %d, want %d", got, len(test.want))
			}
		})
	}
}

func TestErrors(t *testing.T) {
	required := new(descriptorpb.UninterpretedOption_NamePart)
	for _, test := range []struct {
		name string
		v    any
		want string
	}{
		{"no message", 7, "protobuf codec: int does not implement proto.Message"},
		{"nil of no message", (*int)(nil), "protobuf codec: *int does not implement proto.Message"},
		{"text", "x", "protobuf codec: string does not implement proto.Message"},
		{"struct", struct{ A int }{}, "protobuf codec: struct { A int } does not implement proto.Message"},
		{"invalid UTF-8", wrapperspb.String("\xff"), "protobuf codec: encode *wrapperspb.StringValue: "},
		{"required field", required, "protobuf codec: encode *descriptorpb.UninterpretedOption_NamePart: "},
		{"fast", &fast{Text: "x", err: errors.New("no")}, "protobuf codec: encode *pbcodec.fast: no"},
		{"MarshalVT", whole{wrapperspb.String("bad")}, "protobuf codec: encode pbcodec.whole: no"},
	} {
		t.Run("encode "+test.name, func(t *testing.T) {
			got, err := Codec{}.Append(append(make([]byte, 0, 64), "head"...), test.v)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) || string(got) != "head" {
				t.Errorf("Append = %q, %v\nwant %s", got, err, test.want)
			}
			if b, err := (Codec{}).Marshal(test.v); err == nil || !strings.HasPrefix(err.Error(), test.want) || b != nil {
				t.Errorf("Marshal = %q, %v\nwant %s", b, err, test.want)
			}
			size := Codec{}.Size(test.v)
			got, err = Codec{}.AppendSized(append(make([]byte, 0, 64), "head"...), test.v, size)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) || string(got) != "head" {
				t.Errorf("AppendSized, %d bytes = %q, %v\nwant %s", size, got, err, test.want)
			}
			if strings.HasSuffix(test.want, "proto.Message") && size >= 0 {
				t.Errorf("Size = %d; want below 0", size)
			}
		})
	}
	for _, test := range []struct {
		name, data string
		v          any
		want       string
	}{
		{"no message", "", new(int), "protobuf codec: *int does not implement proto.Message"},
		{"invalid UTF-8", "\x0a\x01\xff", wrapperspb.String(""), "protobuf codec: decode into *wrapperspb.StringValue: "},
		{"cut short", "\x0a\x05hi", wrapperspb.String(""), "protobuf codec: decode into *wrapperspb.StringValue: "},
		{"length of 2^31", "\x0a\x80\x80\x80\x80\x08hi", wrapperspb.String(""), "protobuf codec: decode into *wrapperspb.StringValue: "},
		{"required field", "", new(descriptorpb.UninterpretedOption_NamePart), "protobuf codec: decode into *descriptorpb.Uninterp"},
		{"nil", "\x0a\x02hi", (*wrapperspb.StringValue)(nil), "protobuf codec: decode into *wrapperspb.StringValue: it is nil"},
		{"nil with fast methods", "\x0a\x02hi", (*fast)(nil), "protobuf codec: decode into *pbcodec.fast: it is nil"},
		{"fast", "?", new(fast), "protobuf codec: decode into *pbcodec.fast: not a fast message"},
		{"nesting", deep(20_000), new(structpb.ListValue), "protobuf codec: decode into *structpb.ListValue: "},
	} {
		t.Run("decode "+test.name, func(t *testing.T) {
			if err := (Codec{}).Unmarshal([]byte(test.data), test.v); err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("Unmarshal: %v\nwant %s", err, test.want)
			}
		})
	}
}

// deep is n lists, one in the other. It is built from its end.
func deep(n int) string {
	var b []byte
	for range n {
		for _, tag := range []byte{0x32, 0x0a} { // Value.list_value in ListValue.values
			head := binary.AppendUvarint([]byte{tag}, uint64(len(b)))
			slices.Reverse(head)
			b = append(b, head...)
		}
	}
	slices.Reverse(b)
	return string(b)
}

func TestUnmarshal(t *testing.T) {
	for _, v := range []any{nil, struct{}{}, new(struct{}), (*struct{})(nil)} {
		if err := (Codec{}).Unmarshal([]byte("\x0a\x02hi"), v); err != nil {
			t.Errorf("into %T: %v", v, err)
		}
	}
	t.Run("nesting", func(t *testing.T) {
		if err := (Codec{}).Unmarshal([]byte(deep(100)), new(structpb.ListValue)); err != nil {
			t.Error(err)
		}
	})
	t.Run("what was there is gone", func(t *testing.T) {
		for _, v := range []any{wrapperspb.String("before"), &fast{Text: "before"}, &first{Text: "before"}} {
			if err := (Codec{}).Unmarshal([]byte("\x0a\x02hi"), v); err != nil {
				t.Fatal(err)
			}
			if b, err := (Codec{}).Marshal(v); err != nil || string(b) != "\x0a\x02hi" {
				t.Errorf("%T: encodes to %q, %v afterwards", v, b, err)
			}
		}
	})
	t.Run("fast methods", func(t *testing.T) {
		f := &fast{Text: "before"}
		if err := (Codec{}).Unmarshal([]byte("\x0a\x02hi"), f); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(f.used), "[reset unmarshal]"; got != want {
			t.Errorf("used %s, want %s", got, want)
		}
	})
}

func TestRegistered(t *testing.T) {
	if b, err := codec.Marshal('p', wrapperspb.String("hi")); err != nil || string(b) != "\x0a\x02hi" {
		t.Errorf("codec.Marshal = %q, %v", b, err)
	}
}

// typical is a message of 581 bytes with some strings in it.
func typical() *descriptorpb.FileDescriptorProto {
	m := &descriptorpb.FileDescriptorProto{Name: proto.String("bench.proto"), Package: proto.String("bench")}
	for i := range 15 {
		m.Dependency = append(m.Dependency, strings.Repeat(string(rune('a'+i)), 34))
	}
	m.Syntax = proto.String("")
	m.Syntax = proto.String(strings.Repeat("s", 581-proto.Size(m)))
	return m
}

// generated is a message of 581 bytes with fast methods.
func generated() *blob { return &blob{bytes.Repeat([]byte("x"), 578)} }

// blob is a message {1: bytes} as vtprotobuf would generate it.
type blob struct{ Data []byte }

func (b *blob) Reset()      { b.Data = nil }
func (b *blob) SizeVT() int { return 3 + len(b.Data) }

func (b *blob) MarshalToSizedBufferVT(dst []byte) (int, error) {
	at := len(dst) - len(b.Data)
	copy(dst[at:], b.Data)
	dst[at-1], dst[at-2], dst[at-3] = byte(len(b.Data)>>7), byte(len(b.Data))|0x80, 0x0a
	return 3 + len(b.Data), nil
}

func (b *blob) UnmarshalVT(data []byte) error {
	b.Data = append(b.Data, data[3:]...)
	return nil
}

var samples = []struct {
	name string
	v    any
}{{"protobuf", typical()}, {"fast methods", generated()}}

func TestAllocations(t *testing.T) {
	buf := make([]byte, 0, 1024)
	for _, s := range samples {
		if n := (Codec{}).Size(s.v); n != 581 {
			t.Errorf("%s: Size = %d, want 581", s.name, n)
		}
		codectest.Allocs(t, s.name+": Append", 0, func() {
			if _, err := (Codec{}).Append(buf, s.v); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, s := range samples {
		b.Run(s.name, func(b *testing.B) { codectest.BenchAppend(b, Codec{}, s.v) })
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	for i, into := range []any{new(descriptorpb.FileDescriptorProto), new(blob)} {
		b.Run(samples[i].name, func(b *testing.B) {
			codectest.BenchUnmarshal(b, Codec{}, samples[i].v, func() any { return into })
		})
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{"", "\x0a\x02hi", "\x0a\x05hi", "\x0a\x80\x80\x80\x80\x08", "\x0a\x01\xff", deep(10)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, fresh := range []func() any{
			func() any { return new(structpb.ListValue) },
			func() any { return new(descriptorpb.FileDescriptorProto) },
			func() any { return new(fast) },
			func() any { return new(first) },
			func() any { return new(texts) },
		} {
			v, before := fresh(), bytes.Clone(data)
			err := Codec{}.Unmarshal(data, v)
			if !bytes.Equal(data, before) {
				t.Fatalf("%T: Unmarshal changed its input", v)
			}
			aliased := fresh()
			if aerr := (Codec{Alias: true}).Unmarshal(data, aliased); (aerr == nil) != (err == nil) {
				t.Fatalf("%T: decoding %q by copying: %v, by aliasing: %v", v, data, err, aerr)
			}
			if a, ok := aliased.(*texts); ok && !slices.Equal(a.List, v.(*texts).List) {
				t.Fatalf("decoding %q by copying: %q, by aliasing: %q", data, v.(*texts).List, a.List)
			}
			if err != nil {
				continue
			}
			out, err := Codec{}.Append(nil, v)
			if err != nil {
				t.Fatalf("%T: what was decoded from %q does not encode: %v", v, data, err)
			}
			if err := (Codec{}).Unmarshal(out, fresh()); err != nil {
				t.Fatalf("%T: %q does not decode: %v", v, out, err)
			}
		}
	})
}
