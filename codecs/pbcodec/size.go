package pbcodec

import (
	"math/bits"
	"reflect"
	"slices"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/runtime/protoimpl"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codec/measure"
)

// plan describes what the values of a message take. It is immutable once it is known.
type plan struct {
	size    int                         // of the struct, in bytes
	first   []*field                    // those with small numbers, by number
	fields  map[protowire.Number]*field // all
	worst   int                         // what a field takes at most, of this message or of one in it
	nesting bool                        // messages can be in each other without end
}

// smallNumbers is the end of the numbers in plan.first.
const smallNumbers = 32

// field returns what is known of a field, nil if it has no values outside of the struct.
func (p *plan) field(n protowire.Number) *field {
	if int(n) < len(p.first) {
		return p.first[n]
	}
	if n < smallNumbers {
		return nil
	}
	return p.fields[n]
}

// field describes the fields with values outside of the struct.
type field struct {
	message *plan          // of a message, or of the pairs of a map
	place   int            // in bytes, of an element in a list; 0 for single fields
	numbers protowire.Type // how the elements of a list of numbers are encoded in a row
	// Bytes of the first entry of a map, and of another; 0 for no maps.
	first, more int
}

var plans sync.Map // *protoimpl.MessageInfo → *plan

func planOf(t protoreflect.MessageType) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	b := builder{known: make(map[protoreflect.FullName]*plan), open: make(map[*plan]bool)}
	p := b.plan(t, t.Descriptor())
	for _, in := range b.known {
		for _, f := range in.fields {
			p.worst = max(p.worst, f.takes()+f.first)
		}
	}
	p.nesting = b.cycle
	if _, ok := t.(*protoimpl.MessageInfo); ok { // no type that the program makes as it runs
		plans.Store(t, p)
	}
	return p
}

// takes returns what an element of the field takes, without what is in it.
func (f *field) takes() int {
	if f.message == nil || f.first > 0 {
		return f.place
	}
	return f.place + f.message.size
}

type builder struct {
	known map[protoreflect.FullName]*plan
	open  map[*plan]bool // those whose fields are being added
	cycle bool
}

// plan returns the plan of a message. t is nil if its Go type is not known.
func (b *builder) plan(t protoreflect.MessageType, d protoreflect.MessageDescriptor) *plan {
	if p, ok := b.known[d.FullName()]; ok {
		b.cycle = b.cycle || b.open[p]
		return p
	}
	p := &plan{size: sizeOf(t), fields: make(map[protowire.Number]*field)}
	b.known[d.FullName()], b.open[p] = p, true
	types, _ := t.(protoreflect.MessageFieldTypes)
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		var f field
		switch {
		case fd.IsMap():
			key, value := goSize(fd.MapKey()), goSize(fd.MapValue())
			f.first, f.more = measure.FirstEntry(key, value), measure.NextEntry(key, value)
		case fd.IsList():
			f.place, f.numbers = goSize(fd), wireType(fd)
		}
		if d := fd.Message(); d != nil {
			var t protoreflect.MessageType
			if types != nil {
				t = types.Message(i)
			}
			f.message = b.plan(t, d)
		}
		if f == (field{}) {
			continue
		}
		n := fd.Number()
		p.fields[n] = &f
		if n < smallNumbers {
			p.first = append(p.first, make([]*field, max(0, int(n)+1-len(p.first)))...)
			p.first[n] = &f
		}
	}
	b.open[p] = false
	return p
}

// The sizes of what is not known better.
const (
	messageSize = 128
	wordSize    = bits.UintSize / 8
)

// sizeOf returns the size of the struct of a message.
func sizeOf(t protoreflect.MessageType) int {
	if _, ok := t.(*protoimpl.MessageInfo); !ok {
		return messageSize // it has no struct of its own
	}
	m := t.Zero()
	if m == nil {
		return messageSize
	}
	if r := reflect.TypeOf(m.Interface()); r.Kind() == reflect.Pointer {
		return int(r.Elem().Size())
	}
	return messageSize
}

// goSize returns the size of an element of the field in a Go slice or map.
func goSize(fd protoreflect.FieldDescriptor) int {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return 1
	case protoreflect.EnumKind, protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Uint32Kind,
		protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return 4
	case protoreflect.StringKind:
		return 2 * wordSize
	case protoreflect.BytesKind:
		return 3 * wordSize
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return wordSize
	}
	return 8
}

// wireType returns how the elements of a list are encoded.
func wireType(fd protoreflect.FieldDescriptor) protowire.Type {
	switch fd.Kind() {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind, protoreflect.GroupKind:
		return protowire.BytesType
	}
	return protowire.VarintType
}

// checkSize returns an error if the value of data would exceed the limits, and reserves what
// it takes. checked says that the decoder limits the depth itself. What cannot be decoded is
// not its matter.
func checkSize(data []byte, v any, checked bool, account codec.Account) error {
	if measure.Small(len(data)) {
		return nil
	}
	m, ok := message(v)
	if !ok {
		return nil
	}
	const minField = 2 // a tag and a length, or a tag and a number; a message in another has both
	p := planOf(m.ProtoReflect().Type())
	b := measure.NewBudget(len(data))
	fields := float64(len(data)) / minField
	if b.Allows(fields, p.worst) && !measure.Reserves(account, fields, p.worst) && (checked || !p.nesting || b.AllowsDepth(len(data)/minField)) {
		return nil
	}
	s := scanner{b}
	if _, err := s.fields(data, p); err != nil {
		return err
	}
	return s.Reserve(account)
}

type scanner struct{ measure.Budget }

// fields measures the fields of a message, up to the end of data or of the group. It
// returns what is left of data; nothing after a field that cannot be read.
func (s *scanner) fields(data []byte, p *plan) (rest []byte, err error) {
	if err := s.Enter(); err != nil {
		return nil, err
	}
	var maps []protowire.Number // that have an entry
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			break
		}
		data = data[n:]
		if kind == protowire.EndGroupType {
			s.Leave()
			return data, nil
		}
		f := p.field(number)
		size := 0
		switch {
		case f == nil:
		case f.first == 0:
			size = f.takes()
		case slices.Contains(maps, number):
			size = f.more
		default:
			size = f.first
			maps = append(maps, number)
		}
		switch {
		case kind == protowire.StartGroupType && f != nil && f.message != nil:
			if err = s.take(f, 1, size); err == nil {
				data, err = s.fields(data, f.message)
			}
		case kind == protowire.BytesType:
			in, n := protowire.ConsumeBytes(data)
			if n < 0 {
				data = nil
				break
			}
			data = data[n:]
			if f == nil {
				break
			}
			if err = s.take(f, f.elements(in), size); err == nil && f.message != nil {
				_, err = s.fields(in, f.message)
			}
		default:
			if n = protowire.ConsumeFieldValue(number, kind, data); n < 0 {
				data = nil
				break
			}
			data = data[n:]
			if f != nil {
				err = s.take(f, 1, f.place)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	s.Leave()
	return nil, nil
}

// take counts n elements of a field, which take size bytes each: lists grow.
func (s *scanner) take(f *field, n, size int) error {
	s.Grows(n, f.place)
	return s.Take(n, size)
}

// elements returns how many elements are in a field of bytes.
func (f *field) elements(in []byte) int {
	switch {
	case f.place == 0 || f.numbers == protowire.BytesType:
		return 1
	case f.numbers == protowire.Fixed32Type:
		return len(in) / 4
	case f.numbers == protowire.Fixed64Type:
		return len(in) / 8
	}
	n := 0
	for _, c := range in {
		if c < 0x80 {
			n++
		}
	}
	return n
}
