package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/tools/bench/benchmsg"
)

// dialBytes returns a call that sends bytes and receives them back into a reused
// buffer.
func dialBytes(addr string, size int) (func() error, error) {
	return teleportDial(codec.NameProtobuf, func(s tp.Session) func() error {
		body := newBody(size)
		replies := sync.Pool{New: func() any { return new([]byte) }}
		return func() error {
			reply := replies.Get().(*[]byte)
			defer replies.Put(reply)
			if err := tp.InvokeInto(context.Background(), s, "/pooled/bytes", &body, reply); err != nil {
				return err
			}
			return checkBody(*reply, size)
		}
	})(addr)
}

// dialOwnedBytes returns a call that sends bytes and receives them back into a new
// slice.
func dialOwnedBytes(addr string, size int) (func() error, error) {
	return teleportDial(codec.NameProtobuf, func(s tp.Session) func() error {
		body := newBody(size)
		return func() error {
			reply, err := tp.Invoke[[]byte](context.Background(), s, "/typed/bytes", &body)
			if err != nil {
				return err
			}
			return checkBody(reply, size)
		}
	})(addr)
}

func newBody(size int) []byte { return bytes.Repeat([]byte("x"), size) }

// checkBody checks the length and both ends of a reply.
func checkBody(b []byte, size int) error {
	if len(b) != size || size > 0 && (b[0] != 'x' || b[size-1] != 'x') {
		return fmt.Errorf("reply of %d bytes, or damaged; want %d", len(b), size)
	}
	return nil
}

func callJSON(s tp.Session) func() error {
	request := benchmsg.NewRecord()
	return func() error {
		reply, err := tp.Invoke[*benchmsg.Record](context.Background(), s, "/typed/json", request)
		if err != nil {
			return err
		}
		return reply.Check()
	}
}

func callSeedJSON(s tp.Session) func() error {
	request := benchmsg.NewRecord()
	return func() error {
		reply := new(benchmsg.Record)
		if r := s.Call("/bench/json", request, reply).Rerror(); r.HasError() {
			return r.Err()
		}
		return reply.Check()
	}
}
