package codectest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/suite"
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
	{"limits", limited},
	{"concurrent use", concurrent},
}

// registered: the codec is registered with its id and its name.
func registered(s subject) error {
	return suite.Registered(s.Codec, codec.Get, codec.GetByName)
}

// roundTrip: a value decodes to what was encoded.
func roundTrip(s subject) error {
	for _, sample := range s.samples {
		data, err := s.encode(sample)
		if err != nil {
			return err
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
		first, err := s.encode(sample)
		if err != nil {
			return err
		}
		second, err := s.encode(sample)
		if err != nil {
			return err
		}
		suite.Scribble(first)
		if err := s.decodes(second, sample); err != nil {
			return fmt.Errorf("two results of Marshal share memory: %w", err)
		}
	}
	return nil
}

// inputLeft: Unmarshal does not modify data, and the value does not refer to it
// afterwards: the engine reads the next message into the same memory.
func inputLeft(s subject) error {
	for _, sample := range s.samples {
		data, err := s.encode(sample)
		if err != nil {
			return err
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
		suite.Scribble(data)
		if err := s.holds(v, sample); err != nil {
			return fmt.Errorf("the input was written over after Unmarshal: %w", err)
		}
	}
	return nil
}

// modes: the modes of a Decoder save work and change nothing else.
func modes(s subject) error {
	d, ok := s.Codec.(codec.Decoder)
	if !ok {
		return nil
	}
	for _, sample := range s.samples {
		data, err := s.encode(sample)
		if err != nil {
			return err
		}
		for mode := range codec.Fresh | codec.Borrowed + 1 {
			name := fmt.Sprintf("mode %d: %s", mode, sample.name)
			data := slices.Clip(slices.Clone(data))
			v := sample.fresh()
			if err := d.Decode(data, v, mode); err != nil {
				return fmt.Errorf("%s: Decode: %w", name, err)
			}
			if mode&codec.Borrowed == 0 || !d.Borrows(v) {
				suite.Scribble(data)
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

// nilValues: encoding nil, decoding into nil and decoding no bytes do not panic.
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
		err := suite.Safely(what, func() error {
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
		err := suite.Safely(sample.name+", no input", func() error {
			s.Unmarshal(nil, sample.fresh())
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// garbage: data that is not an encoding is refused.
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
		data, err := s.encode(sample)
		if err != nil {
			return err
		}
		for n := range data {
			err := suite.Safely(fmt.Sprintf("%s: Unmarshal(%.100q)", sample.name, data[:n]), func() error {
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

// appends: Append and AppendBody leave the bytes before theirs alone.
func appends(s subject) error {
	for _, sample := range s.samples {
		for _, dst := range suite.Buffers(64 << 10) {
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

// failedAppend: a value that cannot be encoded leaves the buffer as it was.
func failedAppend(s subject) error {
	a, ok := s.Codec.(codec.Appender)
	if !ok {
		return nil
	}
	for _, bad := range []any{make(chan int), func() {}, struct {
		A string
		C chan int
	}{"good", make(chan int)}} {
		for _, dst := range suite.Buffers(64 << 10) {
			head := string(dst)
			got, err := a.Append(dst, bad)
			if err != nil && string(got) != head {
				return fmt.Errorf("a failed Append of %T to %q made %.100q", bad, head, got)
			}
			if _, merr := a.Marshal(bad); (merr == nil) != (err == nil) {
				return fmt.Errorf("%T: Append says %v, Marshal says %v", bad, err, merr)
			}
			if a, ok := s.Codec.(codec.SizedAppender); ok && err != nil {
				size := a.Size(bad)
				if got, err := a.AppendSized(dst, bad, size); err == nil || string(got) != head {
					return fmt.Errorf("AppendSized of %T to %q, its size %d, made %.100q, %v; want an error", bad, head, size, got, err)
				}
			}
		}
	}
	return nil
}

// concurrent: several goroutines use the codec, as sessions do.
func concurrent(s subject) error {
	return suite.Concurrently(30, func() error { return errors.Join(roundTrip(s), appends(s)) })
}
