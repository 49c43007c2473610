package main

import (
	"context"

	"github.com/apache/thrift/lib/go/thrift"
)

// What Thrift's compiler makes of
//
//	service Calculator { i32 divide(1: i32 num, 2: i32 by) }
//
// only shorter: the arguments and the result of a method are structs.

// DivideArgs are the arguments of divide.
type DivideArgs struct{ Num, By int32 }

func (a *DivideArgs) Write(ctx context.Context, p thrift.TProtocol) error {
	return writeI32s(ctx, p, map[int16]int32{1: a.Num, 2: a.By})
}

func (a *DivideArgs) Read(ctx context.Context, p thrift.TProtocol) error {
	return readI32s(ctx, p, map[int16]*int32{1: &a.Num, 2: &a.By})
}

// DivideResult is the result of divide; declared exceptions would be fields
// 1, 2, ….
type DivideResult struct{ Success *int32 }

func (r *DivideResult) Write(ctx context.Context, p thrift.TProtocol) error {
	fields := map[int16]int32{}
	if r.Success != nil {
		fields[0] = *r.Success
	}
	return writeI32s(ctx, p, fields)
}

func (r *DivideResult) Read(ctx context.Context, p thrift.TProtocol) error {
	r.Success = new(int32)
	return readI32s(ctx, p, map[int16]*int32{0: r.Success})
}

func writeI32s(ctx context.Context, p thrift.TProtocol, fields map[int16]int32) error {
	if err := p.WriteStructBegin(ctx, ""); err != nil {
		return err
	}
	for id, v := range fields {
		if err := p.WriteFieldBegin(ctx, "", thrift.I32, id); err != nil {
			return err
		}
		if err := p.WriteI32(ctx, v); err != nil {
			return err
		}
		if err := p.WriteFieldEnd(ctx); err != nil {
			return err
		}
	}
	if err := p.WriteFieldStop(ctx); err != nil {
		return err
	}
	return p.WriteStructEnd(ctx)
}

func readI32s(ctx context.Context, p thrift.TProtocol, fields map[int16]*int32) error {
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
		if into := fields[id]; into != nil && kind == thrift.I32 {
			*into, err = p.ReadI32(ctx)
		} else {
			err = p.Skip(ctx, kind)
		}
		if err != nil {
			return err
		}
	}
}
