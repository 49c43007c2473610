// Package guest makes WebAssembly guests of Go filters and codecs, for package wasm to load.
//
// A guest is a main package that calls [Serve] in an init function:
//
//	package main
//
//	import (
//		"github.com/teleport-go/teleport/mixers/wasm/guest"
//		"github.com/teleport-go/teleport/xfers/md5"
//	)
//
//	func init() { guest.Serve(md5.Filter{}) }
//
//	func main() {} // is not run
//
// It is built with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o md5.wasm .
//
// A guest has one goroutine at work at a time; others that a part has started run on while
// an item is in work. It has no file, no network and no environment. What it prints is
// logged by the host. A panic ends the instance, and the item fails.
package guest

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/teleport-go/teleport/codecs/jsoncodec/transcode"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/xfer"
)

// part is a filter or a codec, and how it is described.
type part struct {
	Kind string `json:"kind"`
	ID   byte   `json:"id"`
	Name string `json:"name"`

	filter xfer.XferFilter
	codec  codec.Codec
}

// server answers the host. It is used by one goroutine at a time.
type server struct {
	parts []part
	in    []byte // what the host writes to
	out   []byte // what the host reads from
}

// newServer returns a server of filters and codecs, or an error that names what is neither.
func newServer(parts []any) (*server, error) {
	if len(parts) == 0 {
		return nil, errors.New("guest.Serve: no parts: give it filters and codecs")
	}
	s := new(server)
	for i, v := range parts {
		switch v := v.(type) {
		case xfer.XferFilter:
			s.parts = append(s.parts, part{Kind: "filter", ID: v.ID(), Name: v.Name(), filter: v})
		case codec.Codec:
			if err := transcode.Check(v); err != nil {
				return nil, fmt.Errorf("guest.Serve: %w", err)
			}
			s.parts = append(s.parts, part{Kind: "codec", ID: v.ID(), Name: v.Name(), codec: v})
		default:
			return nil, fmt.Errorf("guest.Serve: part %d is a %T: a part is an xfer.XferFilter or a codec.Codec", i, v)
		}
	}
	return s, nil
}

// The status of a result; its message is the output.
const (
	statusOK       = 0
	statusRefused  = 1
	statusTooLarge = 2
)

// mostMessage is how many bytes of an error the host is given.
const mostMessage = 1 << 10

// keptOutput is how large a buffer for output may be to serve again.
const keptOutput = 1 << 20

// describe returns the description of the parts.
func (s *server) describe() (status int, out []byte) {
	return s.finish(json.Marshal(struct {
		Parts []part `json:"parts"`
	}{s.parts}))
}

// alloc makes the buffer for input.
func (s *server) alloc(size uint32) []byte {
	s.in = nil // the collector may have it before the new one is made
	s.in = make([]byte, max(1, size))
	return s.in
}

// do does one item. op is the function of a part; the result is valid until the next item.
func (s *server) do(op func(p part, dst, in []byte, max int) ([]byte, error), part uint32, in []byte, max int) (status int, out []byte) {
	if int64(part) >= int64(len(s.parts)) {
		return s.finish(nil, fmt.Errorf("there is no part %d", part))
	}
	if cap(s.out) > keptOutput {
		s.out = nil
	}
	out, err := op(s.parts[part], s.out[:0], in, max)
	if err == nil && len(out) > max {
		err = fmt.Errorf("%w: %d bytes, the limit is %d", xfer.ErrTooLarge, len(out), max)
	}
	return s.finish(out, err)
}

// finish keeps the output where the host reads it.
func (s *server) finish(out []byte, err error) (int, []byte) {
	status := statusOK
	if err != nil {
		status = statusRefused
		if errors.Is(err, xfer.ErrTooLarge) {
			status = statusTooLarge
		}
		out = fmt.Appendf(s.out[:0], "%.*s", mostMessage, err)
	}
	s.out = out
	return status, out
}

var errNoFilter = errors.New("it is no filter")
var errNoCodec = errors.New("it is no codec")

func pack(p part, dst, in []byte, _ int) ([]byte, error) {
	if p.filter == nil {
		return nil, errNoFilter
	}
	if a, ok := p.filter.(xfer.Appender); ok {
		return a.AppendPack(dst, in)
	}
	return p.filter.OnPack(in)
}

func unpack(p part, dst, in []byte, max int) ([]byte, error) {
	if p.filter == nil {
		return nil, errNoFilter
	}
	if a, ok := p.filter.(xfer.Appender); ok {
		return a.AppendUnpack(dst, in, max)
	}
	return p.filter.OnUnpack(in)
}

// encode makes of JSON what the codec writes.
func encode(p part, dst, in []byte, _ int) ([]byte, error) {
	if p.codec == nil {
		return nil, errNoCodec
	}
	return transcode.FromJSON(dst, p.codec, in)
}

// decode makes JSON of what the codec reads.
func decode(p part, dst, in []byte, _ int) ([]byte, error) {
	if p.codec == nil {
		return nil, errNoCodec
	}
	return transcode.ToJSON(dst, p.codec, in)
}
