package codectest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/teleport-go/teleport/core/codec"
)

var checks = []check{
	{"registered", registered},
	{"round trip", roundTrip},
	{"result belongs to the caller", resultOwned},
	{"input neither changed nor kept", inputLeft},
	{"modes", modes},
	{"nil", nilValues},
	{"garbage", garbage},
	{"cut short", cutShort},
	{"append", appends},
	{"failed append", failedAppend},
	{"concurrent use", concurrent},
}

// registered: id and name are valid and lead to this codec.
func registered(s subject) error {
	id, name := s.ID(), s.Name()
	if id == codec.NilCodecID || name == codec.NilCodecName {
		return fmt.Errorf("id %d, name %q: neither may be nil", id, name)
	}
	byID, err := codec.Get(id)
	if err != nil {
		return err
	}
	byName, err := codec.GetByName(name)
	if err != nil {
		return err
	}
	for _, c := range []codec.Codec{byID, byName} {
		if c.ID() != id || c.Name() != name || reflect.TypeOf(c) != reflect.TypeOf(s.Codec) {
			return fmt.Errorf("id %d and name %q lead to %T with id %d and name %q; want %T", id, name, c, c.ID(), c.Name(), s.Codec)
		}
	}
	return nil
}

// roundTrip: what is encoded decodes to what it was.
func roundTrip(s subject) error {
	for _, sample := range s.samples {
		data, err := s.Marshal(sample.value)
		if err != nil {
			return fmt.Errorf("%s: Marshal: %w", sample.name, err)
		}
		if err := s.decodes(data, sample); err != nil {
			return err
		}
	}
	return nil
}

// resultOwned: a Marshal does not touch the result of an earlier one.
func resultOwned(s subject) error {
	for _, sample := range s.samples {
		first, err := s.Marshal(sample.value)
		if err != nil {
			return fmt.Errorf("%s: Marshal: %w", sample.name, err)
		}
		second, err := s.Marshal(sample.value)
		if err != nil {
			return fmt.Errorf("%s: Marshal: %w", sample.name, err)
		}
		scribble(first)
		if err := s.decodes(second, sample); err != nil {
			return fmt.Errorf("two results of Marshal share memory: %w", err)
		}
	}
	return nil
}

// inputLeft: Unmarshal leaves data as it is, and the value does not depend on
// it afterwards: the engine reads the next message into the same memory.
func inputLeft(s subject) error {
	for _, sample := range s.samples {
		data, err := s.Marshal(sample.value)
		if err != nil {
			return fmt.Errorf("%s: Marshal: %w", sample.name, err)
		}
		data = slices.Clip(slices.Clone(data))
		before := slices.Clone(data)
		v := sample.fresh()
		if err := s.Unmarshal(data, v); err != nil {
			return fmt.Errorf("%s: Unmarshal: %w", sample.name, err)
		}
		if !bytes.Equal(data, before) {
			return fmt.Errorf("%s: Unmarshal changed its input from %.100q to %.100q", sample.name, before, data)
		}
		scribble(data)
		if err := s.holds(v, sample); err != nil {
			return fmt.Errorf("the input was written over after Unmarshal: %w", err)
		}
	}
	return nil
}

// modes: what a Decoder is told saves work and changes nothing else.
func modes(s subject) error {
	d, ok := s.Codec.(codec.Decoder)
	if !ok {
		return nil
	}
	for _, sample := range s.samples {
		data, err := s.Marshal(sample.value)
		if err != nil {
			return fmt.Errorf("%s: Marshal: %w", sample.name, err)
		}
		for mode := range codec.Fresh | codec.Lent + 1 {
			name := fmt.Sprintf("mode %d: %s", mode, sample.name)
			data := slices.Clip(slices.Clone(data))
			v := sample.fresh()
			if err := d.Decode(data, v, mode); err != nil {
				return fmt.Errorf("%s: Decode: %w", name, err)
			}
			if mode&codec.Lent == 0 || !d.Borrows(v) {
				scribble(data)
			}
			if err := s.holds(v, sample); err != nil {
				return fmt.Errorf("mode %d: %w", mode, err)
			}
			if mode&codec.Fresh != 0 {
				continue
			}
			want := sample.fresh()
			if data, err = s.Marshal(sample.value); err == nil {
				err = errors.Join(s.Unmarshal(data, want), s.Unmarshal(data, want), d.Decode(data, v, mode))
			}
			if err != nil {
				return fmt.Errorf("%s: into a value that has served: %w", name, err)
			}
			if !s.equal(v, want) {
				return fmt.Errorf("%s: a value that has served is %+v; want %+v, as from Unmarshal", name, show(v), show(want))
			}
		}
	}
	return nil
}

// nilValues: nil in the place of a value is encoded or refused, and never a
// panic; nothing is decoded into nothing without a panic either.
func nilValues(s subject) error {
	values := []any{nil}
	for _, sample := range s.samples {
		if reflect.TypeOf(sample.value).Kind() != reflect.Pointer {
			values = append(values, sample.value)
		}
		values = append(values, reflect.Zero(reflect.TypeOf(sample.fresh())).Interface())
	}
	for _, v := range values {
		what := fmt.Sprintf("%T, which is nil or no pointer", v)
		err := safely(what, func() error {
			s.Marshal(v)
			if a, ok := s.Codec.(codec.Appender); ok {
				a.Append(nil, v)
			}
			s.Unmarshal(nil, v)
			s.Unmarshal([]byte{}, v)
			for _, sample := range s.samples {
				data, err := s.Marshal(sample.value)
				if err != nil {
					return err
				}
				s.Unmarshal(data, v)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, sample := range s.samples {
		err := safely(sample.name+", no input", func() error {
			s.Unmarshal(nil, sample.fresh())
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// garbage: what is no encoding is refused.
func garbage(s subject) error {
	for _, sample := range s.samples {
		for _, data := range s.garbage {
			v := sample.fresh()
			if err := s.Unmarshal(data, v); err == nil && !s.anything {
				return fmt.Errorf("%s: Unmarshal(%q) = %+v and no error", sample.name, data, show(v))
			}
		}
	}
	return nil
}

// cutShort: no prefix of an encoding makes the codec panic.
func cutShort(s subject) error {
	for _, sample := range s.samples {
		data, err := s.Marshal(sample.value)
		if err != nil {
			return fmt.Errorf("%s: Marshal: %w", sample.name, err)
		}
		for n := range data {
			err := safely(fmt.Sprintf("%s: Unmarshal(%.100q)", sample.name, data[:n]), func() error {
				s.Unmarshal(slices.Clip(data[:n]), sample.fresh())
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// buffers are the buffers to append to: without room, with some, with enough.
func buffers() [][]byte {
	const head = "what was there"
	return [][]byte{
		nil,
		slices.Clip([]byte(head)),
		append(make([]byte, 0, len(head)+1), head...),
		append(make([]byte, 0, 64<<10), head...),
	}
}

// appends: Append and AppendBody write behind what is there.
func appends(s subject) error {
	for _, sample := range s.samples {
		for _, dst := range buffers() {
			head := string(dst)
			got, err := codec.AppendBody(dst, s.Codec, sample.value)
			if err != nil {
				return fmt.Errorf("%s: append: %w", sample.name, err)
			}
			if !bytes.HasPrefix(got, []byte(head)) {
				return fmt.Errorf("%s: append to %q made %.100q", sample.name, head, got)
			}
			if err := s.decodes(got[len(head):], sample); err != nil {
				return fmt.Errorf("append to %d bytes of %d: %w", len(dst), cap(dst), err)
			}
			a, ok := s.Codec.(codec.SizedAppender)
			if !ok {
				continue
			}
			sized, err := a.AppendSized(dst, sample.value, a.Size(sample.value))
			if err != nil {
				return fmt.Errorf("%s: append, its size known: %w", sample.name, err)
			}
			if len(sized) != len(got) || !bytes.HasPrefix(sized, []byte(head)) {
				return fmt.Errorf("%s: append to %q, its size known, made %.100q; want something like %.100q", sample.name, head, sized, got)
			}
			if err := s.decodes(sized[len(head):], sample); err != nil {
				return fmt.Errorf("append, its size known, to %d bytes of %d: %w", len(dst), cap(dst), err)
			}
		}
	}
	return nil
}

// failedAppend: what can not be encoded leaves the buffer as it was.
func failedAppend(s subject) error {
	a, ok := s.Codec.(codec.Appender)
	if !ok {
		return nil
	}
	for _, bad := range []any{make(chan int), func() {}, struct {
		A string
		C chan int
	}{"good", make(chan int)}} {
		for _, dst := range buffers() {
			head := string(dst)
			got, err := a.Append(dst, bad)
			if err != nil && string(got) != head {
				return fmt.Errorf("a failed Append of %T to %q made %.100q", bad, head, got)
			}
			if _, merr := a.Marshal(bad); (merr == nil) != (err == nil) {
				return fmt.Errorf("%T: Append says %v, Marshal says %v", bad, err, merr)
			}
		}
	}
	return nil
}

// concurrent: several goroutines use the codec, as all sessions do.
func concurrent(s subject) error {
	const goroutines = 8
	errs := make([]error, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			errs[g] = safely("concurrent use", func() error {
				for range 30 {
					if err := errors.Join(roundTrip(s), appends(s)); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func scribble(b []byte) {
	b = b[:cap(b)]
	for i := range b {
		b[i] ^= 0x55
	}
}
