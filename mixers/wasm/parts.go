package wasm

import (
	"fmt"
	"sync"

	"github.com/teleport-go/teleport/codecs/jsoncodec"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/xfer"
)

// filter is a filter of a guest.
type filter struct {
	h *Handle
	p Part
}

var _ xfer.Appender = (*filter)(nil)

func (f *filter) ID() byte     { return f.p.ID }
func (f *filter) Name() string { return f.p.Name }

func (f *filter) OnPack(data []byte) ([]byte, error) { return f.AppendPack(nil, data) }

func (f *filter) OnUnpack(data []byte) ([]byte, error) {
	return f.AppendUnpack(nil, data, xfer.DefaultMax)
}

func (f *filter) AppendPack(dst, src []byte) ([]byte, error) {
	return f.h.do(opPack, &f.p, dst, src, mostOutput)
}

func (f *filter) AppendUnpack(dst, src []byte, max int) ([]byte, error) {
	return f.h.do(opUnpack, &f.p, dst, src, max)
}

// transcoder is a codec of a guest. Go values cannot cross, so they do as JSON.
type transcoder struct {
	h *Handle
	p Part
}

var _ codec.Appender = (*transcoder)(nil)

func (c *transcoder) ID() byte     { return c.p.ID }
func (c *transcoder) Name() string { return c.p.Name }

// Pure returns false: MarshalJSON is code of the user.
func (c *transcoder) Pure() bool { return false }

func (c *transcoder) Marshal(v any) ([]byte, error) { return c.Append(nil, v) }

func (c *transcoder) Append(dst []byte, v any) ([]byte, error) {
	text, err := jsoncodec.Codec{}.Marshal(v)
	if err != nil {
		return dst, err
	}
	return c.h.do(opEncode, &c.p, dst, text, mostOutput)
}

func (c *transcoder) Unmarshal(data []byte, v any) error {
	text, err := c.h.do(opDecode, &c.p, nil, data, mostOutput)
	if err != nil {
		return err
	}
	return jsoncodec.Codec{}.Unmarshal(text, v)
}

// registering is held while parts are registered, so that they are all or none.
var registering sync.Mutex

// register registers the parts of h, or none of them.
func register(h *Handle) error {
	registering.Lock()
	defer registering.Unlock()
	for _, p := range h.parts {
		if err := taken(p); err != nil {
			return fmt.Errorf("wasm: guest %s: %w", h.module.Name, err)
		}
	}
	for _, p := range h.parts {
		if p.Kind == KindFilter {
			xfer.Replace(&filter{h, p})
		} else {
			codec.Replace(&transcoder{h, p})
		}
	}
	return nil
}

// taken returns an error if the id or the name of p is registered for something that
// works.
func taken(p Part) error {
	if p.Kind == KindFilter {
		return clash(p, xfer.All(), func(f xfer.XferFilter) *Handle {
			if f, ok := f.(*filter); ok {
				return f.h
			}
			return nil
		})
	}
	return clash(p, codec.All(), func(c codec.Codec) *Handle {
		if c, ok := c.(*transcoder); ok {
			return c.h
		}
		return nil
	})
}

// clash looks for p among the registered parts of its kind; of returns the handle of one
// that is a guest's.
func clash[E interface {
	ID() byte
	Name() string
}](p Part, all []E, of func(E) *Handle) error {
	for _, e := range all {
		if e.ID() != p.ID && e.Name() != p.Name {
			continue
		}
		owner := fmt.Sprintf("%T", e)
		if h := of(e); h != nil {
			if h.isClosed() {
				continue
			}
			owner = "guest " + h.module.Name
		}
		return fmt.Errorf("%s cannot be registered: %s has %s (id %d); load it under another id and name, or do not import or load the other", p, owner, e.Name(), e.ID())
	}
	return nil
}
