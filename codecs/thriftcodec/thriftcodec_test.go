package thriftcodec

import (
	"bytes"
	"context"
	bin "encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codectest"
)

// note is a struct with a field of each kind, in the style of generated code:
// { 1: bool, 2: i8, 3: i16, 4: i32, 5: i64, 6: double, 7: string, 8: binary,
// 9: list<string>, 10: map<string, i32>, 11: note, 12: uuid }.
type note struct {
	B    bool
	I8   int8
	I16  int16
	I32  int32
	I64  int64
	F    float64
	S    string
	Bin  []byte
	List []string
	Map  map[string]int32
	Note *note
	U    thrift.Tuuid
	err  error // what Write returns after the first field
}

func (n *note) Write(ctx context.Context, p thrift.TProtocol) error {
	field := func(kind thrift.TType, id int16, write func() error) error {
		return errors.Join(p.WriteFieldBegin(ctx, "f", kind, id), write(), p.WriteFieldEnd(ctx))
	}
	err := p.WriteStructBegin(ctx, "note")
	err = errors.Join(err, field(thrift.BOOL, 1, func() error { return p.WriteBool(ctx, n.B) }))
	if n.err != nil {
		return n.err
	}
	return errors.Join(err,
		field(thrift.BYTE, 2, func() error { return p.WriteByte(ctx, n.I8) }),
		field(thrift.I16, 3, func() error { return p.WriteI16(ctx, n.I16) }),
		field(thrift.I32, 4, func() error { return p.WriteI32(ctx, n.I32) }),
		field(thrift.I64, 5, func() error { return p.WriteI64(ctx, n.I64) }),
		field(thrift.DOUBLE, 6, func() error { return p.WriteDouble(ctx, n.F) }),
		field(thrift.STRING, 7, func() error { return p.WriteString(ctx, n.S) }),
		field(thrift.STRING, 8, func() error { return p.WriteBinary(ctx, n.Bin) }),
		field(thrift.LIST, 9, func() error {
			err := p.WriteListBegin(ctx, thrift.STRING, len(n.List))
			for _, s := range n.List {
				err = errors.Join(err, p.WriteString(ctx, s))
			}
			return errors.Join(err, p.WriteListEnd(ctx))
		}),
		field(thrift.MAP, 10, func() error {
			err := p.WriteMapBegin(ctx, thrift.STRING, thrift.I32, len(n.Map))
			for k, v := range n.Map {
				err = errors.Join(err, p.WriteString(ctx, k), p.WriteI32(ctx, v))
			}
			return errors.Join(err, p.WriteMapEnd(ctx))
		}),
		func() error {
			if n.Note == nil {
				return nil
			}
			return field(thrift.STRUCT, 11, func() error { return n.Note.Write(ctx, p) })
		}(),
		field(thrift.UUID, 12, func() error { return p.WriteUUID(ctx, n.U) }),
		p.WriteFieldStop(ctx), p.WriteStructEnd(ctx))
}

func (n *note) Read(ctx context.Context, p thrift.TProtocol) error {
	if _, err := p.ReadStructBegin(ctx); err != nil {
		return err
	}
	for {
		_, kind, id, err := p.ReadFieldBegin(ctx)
		if err != nil {
			return err
		}
		if kind == thrift.STOP {
			return p.ReadStructEnd(ctx)
		}
		switch id {
		case 1:
			n.B, err = p.ReadBool(ctx)
		case 2:
			n.I8, err = p.ReadByte(ctx)
		case 3:
			n.I16, err = p.ReadI16(ctx)
		case 4:
			n.I32, err = p.ReadI32(ctx)
		case 5:
			n.I64, err = p.ReadI64(ctx)
		case 6:
			n.F, err = p.ReadDouble(ctx)
		case 7:
			n.S, err = p.ReadString(ctx)
		case 8:
			n.Bin, err = p.ReadBinary(ctx)
		case 9:
			err = n.readList(ctx, p)
		case 10:
			err = n.readMap(ctx, p)
		case 11:
			n.Note = new(note)
			err = n.Note.Read(ctx, p)
		case 12:
			n.U, err = p.ReadUUID(ctx)
		default:
			err = p.Skip(ctx, kind)
		}
		if err != nil {
			return err
		}
	}
}

func (n *note) readList(ctx context.Context, p thrift.TProtocol) error {
	_, size, err := p.ReadListBegin(ctx)
	if err != nil {
		return err
	}
	n.List = make([]string, size) // as older generators do
	for i := range n.List {
		if n.List[i], err = p.ReadString(ctx); err != nil {
			return err
		}
	}
	return p.ReadListEnd(ctx)
}

func (n *note) readMap(ctx context.Context, p thrift.TProtocol) error {
	_, _, size, err := p.ReadMapBegin(ctx)
	if err != nil {
		return err
	}
	n.Map = make(map[string]int32, size)
	for range size {
		k, err := p.ReadString(ctx)
		if err != nil {
			return err
		}
		if n.Map[k], err = p.ReadI32(ctx); err != nil {
			return err
		}
	}
	return p.ReadMapEnd(ctx)
}

func full() *note {
	return &note{
		B: true, I8: -8, I16: -16, I32: 1 << 30, I64: -1 << 60, F: -0.5, S: "é 世界", Bin: []byte("\x00\xff"),
		List: []string{"a", "", strings.Repeat("long", 100)}, Map: map[string]int32{"k": -1},
		Note: &note{Bin: []byte{}, List: []string{}, Map: map[string]int32{}}, U: thrift.Tuuid{1, 15: 2},
	}
}

func TestConformance(t *testing.T) {
	codectest.With(append(hostile(), codectest.Garbage([]byte("}{"), []byte{0xff, 0xff, 0xff}, nil, []byte("\x00\x00")))...).
		Run(t, Codec{}, full(), typical(), &note{
			I8: math.MinInt8, I16: math.MinInt16, I32: math.MinInt32, I64: math.MinInt64, F: math.Inf(-1), S: "a\xffb",
			Bin: []byte{}, List: []string{}, Map: map[string]int32{}, Note: &note{Bin: []byte{}, List: []string{""}, Map: map[string]int32{"": 0}},
		})
}

func TestValues(t *testing.T) {
	codectest.Values(t, Codec{}, codectest.Refuses("*/*", "does not implement thrift.TStruct"))
}

// What it writes is what the library writes, and the other way round.
func TestLibrary(t *testing.T) {
	conf := &thrift.TConfiguration{}
	mem := thrift.NewTMemoryBuffer()
	if err := full().Write(t.Context(), thrift.NewTBinaryProtocolConf(mem, conf)); err != nil {
		t.Fatal(err)
	}
	got, err := Codec{}.Marshal(full())
	if err != nil || !bytes.Equal(got, mem.Bytes()) {
		t.Errorf("Marshal = %x, %v\nwant %x", got, err, mem.Bytes())
	}
	var into note
	if err := into.Read(t.Context(), thrift.NewTBinaryProtocolConf(mem, conf)); err != nil || !reflect.DeepEqual(&into, full()) {
		t.Errorf("the library reads %+v, %v", into, err)
	}
}

func TestMarshal(t *testing.T) {
	for _, test := range []struct {
		name string
		v    any
		want string
		err  string
	}{
		{"nil", nil, "\x00", ""},
		{"struct{}", struct{}{}, "\x00", ""},
		{"*struct{}", new(struct{}), "\x00", ""},
		{"nil *struct{}", (*struct{})(nil), "\x00", ""},
		{"nil struct", (*note)(nil), "\x00", ""},
		{"number", 7, "", "thrift codec: int does not implement thrift.TStruct"},
		{"not the pointer", note{}, "", "thrift codec: thriftcodec.note does not implement thrift.TStruct"},
		{"fails", &note{err: errors.New("no")}, "", "thrift codec: encode *thriftcodec.note: no"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, room := range []int{0, 1, 100} {
				dst := append(make([]byte, 0, 4+room), "head"...)
				got, err := Codec{}.Append(dst, test.v)
				if string(got) != "head"+test.want || fmt.Sprint(err) != text(test.err) {
					t.Errorf("Append = %q, %v; want %q, %s", got, err, "head"+test.want, text(test.err))
				}
			}
			got, err := Codec{}.Marshal(test.v)
			if string(got) != test.want || fmt.Sprint(err) != text(test.err) {
				t.Errorf("Marshal = %q, %v; want %q, %s", got, err, test.want, text(test.err))
			}
		})
	}
}

func text(want string) string {
	if want == "" {
		return "<nil>"
	}
	return want
}

func TestUnmarshal(t *testing.T) {
	for _, v := range []any{nil, struct{}{}, new(struct{}), (*struct{})(nil)} {
		for _, data := range []string{"", "\x00", "garbage"} {
			if err := (Codec{}).Unmarshal([]byte(data), v); err != nil {
				t.Errorf("%q into %T: %v", data, v, err)
			}
		}
	}
	const into = "thrift codec: decode into *thriftcodec.note: "
	for _, test := range []struct {
		name, data string
		v          any
		want       string
	}{
		{"no struct", "\x00", new(int), "thrift codec: *int does not implement thrift.TStruct"},
		{"nil", "\x00", (*note)(nil), into + "it is nil"},
		{"nothing", "", new(note), into + "unexpected EOF"},
		{"cut in a field", "\x08\x00\x04\x00\x00", new(note), into + "unexpected EOF"},
		{"no end", "\x02\x00\x01\x01", new(note), into + "unexpected EOF"},
		{"bytes behind", "\x00\x00\x00", new(note), into + "2 bytes after the struct"},
		{"string of less than nothing", "\x0b\x00\x07\xff\xff\xff\xffabc", new(note), into + "string of -1 bytes"},
		{"string over the end", "\x0b\x00\x07\x00\x00\x00\x04abc", new(note), into + "string of 4 bytes, 3 are left"},
		{"binary over the end", "\x0b\x00\x08\x7f\xff\xff\xffabc", new(note), into + "string of 2147483647 bytes, 3 are left"},
		{"list over the end", "\x0f\x00\x09\x0b\x00\x00\x00\x02abcdefg", new(note), into + "container of 2 elements"},
		{"list of less than nothing", "\x0f\x00\x09\x0b\xff\xff\xff\xff", new(note), into + "negative size: -1"},
		{"map over the end", "\x0d\x00\x0a\x0b\x08\x7f\xff\xff\xff", new(note), into + "size exceeded max allowed"},
		{"skipped list over the end", "\x0f\x00\x63\x03\x7f\xff\xff\xff", new(note), into + "container of 2147483647 elements"},
		{"unknown kind", "\x63\x00\x63", new(note), into + "Unknown data type 99"},
		{"nesting", deep(codec.DefaultDepth + 1), new(note), into + "too complex: 1001 levels of nesting or more, the limit is 1000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Codec{}.Unmarshal([]byte(test.data), test.v)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("Unmarshal: %v\nwant %s", err, test.want)
			}
		})
	}
	t.Run("depth counts anew", func(t *testing.T) {
		for range 3 {
			if err := (Codec{}).Unmarshal([]byte(deep(codec.DefaultDepth)), new(note)); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("fields that are not there stay", func(t *testing.T) {
		n := &note{S: "before", I8: 1}
		if err := (Codec{}).Unmarshal([]byte("\x03\x00\x02\x07\x00"), n); err != nil || n.S != "before" || n.I8 != 7 {
			t.Errorf("%+v, %v", n, err)
		}
	})
}

// deep is n structs, one in the other.
func deep(n int) string {
	return strings.Repeat("\x0c\x00\x0b", n-1) + strings.Repeat("\x00", n)
}

// What bytes claim takes no memory: the elements and strings must be there.
func TestMemory(t *testing.T) {
	for _, data := range []string{
		"\x0b\x00\x07\x7f\xff\xff\xff", "\x0b\x00\x08\x7f\xff\xff\xff", "\x0b\x00\x63\x7f\xff\xff\xff",
		"\x0f\x00\x09\x03\x10\x00\x00\x00", "\x0d\x00\x0a\x02\x02\x10\x00\x00\x00", "\x0e\x00\x63\x03\x10\x00\x00\x00",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := Codec{}.Unmarshal([]byte(data), new(note))
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; err == nil || n > 64<<10 {
			t.Errorf("%x: %v, takes %d bytes", data, err, n)
		}
	}
}

func TestRegistered(t *testing.T) {
	if b, err := codec.Marshal('t', nil); err != nil || string(b) != "\x00" {
		t.Errorf("codec.Marshal = %q, %v", b, err)
	}
}

// typical is a struct of 581 bytes with some strings in it.
func typical() *note {
	n := &note{I32: 7, S: strings.Repeat("s", 100), Bin: []byte("bytes"), Map: map[string]int32{"k": 1}}
	for i := range 10 {
		n.List = append(n.List, strings.Repeat(string(rune('a'+i)), 25))
	}
	n.List[0] = strings.Repeat("a", 25+581-len(encode(n)))
	return n
}

func encode(v any) []byte {
	b, err := Codec{}.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// flat is { 1: binary }.
type flat struct{ data []byte }

func (f *flat) Write(ctx context.Context, p thrift.TProtocol) error {
	p.WriteFieldBegin(ctx, "data", thrift.STRING, 1)
	p.WriteBinary(ctx, f.data)
	return p.WriteFieldStop(ctx)
}

func (f *flat) Read(ctx context.Context, p thrift.TProtocol) (err error) {
	p.ReadFieldBegin(ctx)
	if f.data, err = p.ReadBinary(ctx); err == nil {
		_, _, _, err = p.ReadFieldBegin(ctx)
	}
	return err
}

var samples = []struct {
	name  string
	v     any
	fresh func() any
}{
	{"many fields", typical(), func() any { return new(note) }},
	{"one field", &flat{bytes.Repeat([]byte("x"), 573)}, func() any { return new(flat) }},
}

func TestAllocations(t *testing.T) {
	buf := make([]byte, 0, 1024)
	for _, s := range samples {
		if n := len(encode(s.v)); n != 581 {
			t.Errorf("%s: %d bytes, want 581", s.name, n)
		}
	}
	data := encode(samples[1].v)
	var into flat
	codectest.Allocs(t, "Append", 0, func() {
		if _, err := (Codec{}).Append(buf, samples[1].v); err != nil {
			t.Fatal(err)
		}
	})
	codectest.Allocs(t, "Unmarshal", 1, func() {
		if err := (Codec{}).Unmarshal(data, &into); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, s := range samples {
		b.Run(s.name, func(b *testing.B) { codectest.BenchAppend(b, Codec{}, s.v) })
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	for _, s := range samples {
		b.Run(s.name, func(b *testing.B) { codectest.BenchUnmarshal(b, Codec{}, s.v, s.fresh) })
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range [][]byte{
		nil, {0}, []byte(deep(20)), encode(full()), encode(typical()), []byte("\x0b\x00\x07\x7f\xff\xff\xff"),
		[]byte("\x0f\x00\x09\x0b\x00\x00\x00\x02abcdefg"), bin.BigEndian.AppendUint32([]byte("\x0d\x00\x63\x0b\x0c"), 1<<31),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, before := new(note), slices.Clone(data)
		err := Codec{}.Unmarshal(data, v)
		if !bytes.Equal(data, before) {
			t.Fatal("Unmarshal changed its input")
		}
		if err != nil {
			return
		}
		out, err := Codec{}.Append(nil, v)
		if err != nil {
			t.Fatalf("what was decoded from %q does not encode: %v", data, err)
		}
		var again note
		if err := (Codec{}).Unmarshal(out, &again); err != nil {
			t.Fatalf("%q does not decode: %v", out, err)
		}
		if len(data) < 1<<10 && len(encode(&again)) != len(out) {
			t.Fatalf("%q decodes to something else", out)
		}
	})
}
