package thriftcodec

import (
	"context"
	bin "encoding/binary"
	"errors"
	"math/bits"
	"strings"
	"testing"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codectest"
)

// large is a struct that a few bytes describe, in the style of generated code:
// { 1: list<large>, 2: map<i32, large>, 3: list<string>, 4: set<list<large>> }.
type large struct {
	List  []*large         `thrift:"list,1" db:"list" json:"list"`
	Map   map[int32]*large `thrift:"map,2" db:"map" json:"map"`
	Texts []string         `thrift:"texts,3" db:"texts" json:"texts"`
	Sets  [][]*large       `thrift:"sets,4" db:"sets" json:"sets"`
	_     [200]byte
}

func (*large) Write(context.Context, thrift.TProtocol) error { return nil }

func (l *large) Read(ctx context.Context, p thrift.TProtocol) error {
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
			l.List, err = readLarge(ctx, p)
		case 2:
			_, _, n, merr := p.ReadMapBegin(ctx)
			if merr != nil {
				return merr
			}
			l.Map = make(map[int32]*large, n)
			for range n {
				k, kerr := p.ReadI32(ctx)
				v := new(large)
				if err := v.Read(ctx, p); err != nil || kerr != nil {
					return err
				}
				l.Map[k] = v
			}
			err = p.ReadMapEnd(ctx)
		case 3:
			_, n, lerr := p.ReadListBegin(ctx)
			if lerr != nil {
				return lerr
			}
			l.Texts = make([]string, 0, n)
			for range n {
				s, err := p.ReadString(ctx)
				if err != nil {
					return err
				}
				l.Texts = append(l.Texts, s)
			}
			err = p.ReadListEnd(ctx)
		case 4:
			_, n, serr := p.ReadSetBegin(ctx)
			if serr != nil {
				return serr
			}
			l.Sets = make([][]*large, 0, n)
			for range n {
				in, err := readLarge(ctx, p)
				if err != nil {
					return err
				}
				l.Sets = append(l.Sets, in)
			}
			err = p.ReadSetEnd(ctx)
		default:
			err = p.Skip(ctx, kind)
		}
		if err != nil {
			return err
		}
	}
}

func readLarge(ctx context.Context, p thrift.TProtocol) ([]*large, error) {
	_, n, err := p.ReadListBegin(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]*large, 0, n)
	for range n {
		one := new(large)
		if err := one.Read(ctx, p); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, p.ReadListEnd(ctx)
}

func count(n int) string { return string(bin.BigEndian.AppendUint32(nil, uint32(n))) }

// hostile is what makes values deep or large.
func hostile() []codectest.Option {
	into := func() any { return new(large) }
	wide := func(body func(n int) string) codectest.Option {
		return codectest.Wide(into, func(n int) []byte { return []byte(body(n)) })
	}
	return []codectest.Option{
		codectest.Deep(func() any { return new(note) }, func(n int) []byte { return []byte(deep(n)) }),
		wide(func(n int) string { return "\x0f\x00\x01\x0c" + count(n) + strings.Repeat("\x00", n) + "\x00" }),
		wide(func(n int) string {
			return "\x0f\x00\x01\x0c" + count(1) + "\x0f\x00\x01\x0c" + count(n) + strings.Repeat("\x00", n) + "\x00\x00"
		}),
		wide(func(n int) string {
			b := "\x0d\x00\x02\x08\x0c" + count(n)
			for k := range n {
				b += count(k) + "\x00"
			}
			return b + "\x00"
		}),
		wide(func(n int) string {
			return "\x0e\x00\x04\x0f" + count(1) + "\x0c" + count(n) + strings.Repeat("\x00", n) + "\x00"
		}),
	}
}

// A list of bytes that is read as one of texts announces more of them than there can be.
func TestAnnounced(t *testing.T) {
	data := "\x0f\x00\x03\x03" + count(8<<20) + strings.Repeat("\x00", 8<<20)
	err := Codec{}.Unmarshal([]byte(data), new(large))
	if err == nil || errors.Is(err, codec.ErrTooComplex) {
		t.Errorf("as many texts as bytes: error %v; want that of a body cut short", err)
	}
	defer codec.SetLimits(codec.CurrentLimits())
	codec.SetLimits(codec.Limits{Memory: 1, Factor: bits.UintSize/4 - 1})
	if err := (Codec{}).Unmarshal([]byte(data), new(large)); !errors.Is(err, codec.ErrTooComplex) {
		t.Errorf("as many texts as bytes, the limit is less than a text a byte: error %v; want %v", err, codec.ErrTooComplex)
	}
}
