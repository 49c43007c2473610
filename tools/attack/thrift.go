//go:build linux

package main

import (
	"context"

	"github.com/apache/thrift/lib/go/thrift"
)

// bag is a struct with one field, a list of bags. Its methods are what the Thrift
// compiler writes for it: memory for the list is taken by its announced length.
type bag struct {
	Bags []*bag `thrift:"bags,1" db:"bags" json:"bags"`
}

func (b *bag) Read(ctx context.Context, p thrift.TProtocol) error {
	if _, err := p.ReadStructBegin(ctx); err != nil {
		return err
	}
	for {
		_, kind, id, err := p.ReadFieldBegin(ctx)
		if err != nil {
			return err
		}
		switch {
		case kind == thrift.STOP:
			return p.ReadStructEnd(ctx)
		case id == 1 && kind == thrift.LIST:
			_, size, err := p.ReadListBegin(ctx)
			if err != nil {
				return err
			}
			b.Bags = make([]*bag, 0, size)
			for range size {
				inner := new(bag)
				if err := inner.Read(ctx, p); err != nil {
					return err
				}
				b.Bags = append(b.Bags, inner)
			}
			if err := p.ReadListEnd(ctx); err != nil {
				return err
			}
		default:
			if err := p.Skip(ctx, kind); err != nil {
				return err
			}
		}
		if err := p.ReadFieldEnd(ctx); err != nil {
			return err
		}
	}
}

func (b *bag) Write(ctx context.Context, p thrift.TProtocol) error {
	if err := p.WriteStructBegin(ctx, "bag"); err != nil {
		return err
	}
	if err := p.WriteFieldStop(ctx); err != nil {
		return err
	}
	return p.WriteStructEnd(ctx)
}
