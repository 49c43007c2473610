package outproc

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/teleport-go/teleport/codecs/jsoncodec"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// codecPart is a Codec that runs in a guest: the values are here, as JSON they cross, the
// codec's format is there. The limits of a decoded value are those of the JSON codec.
type codecPart struct {
	h                  *Handle
	id                 byte
	name               string
	marshal, unmarshal string // routes
}

var _ codec.Codec = (*codecPart)(nil)

func newCodec(h *Handle, desc contract.Part) (part, error) {
	if desc.ID == 0 {
		return nil, fmt.Errorf("its codec %s has the id 0", desc.Name)
	}
	return &codecPart{h, desc.ID, desc.Name, contract.CodecRoute("marshal", desc.ID), contract.CodecRoute("unmarshal", desc.ID)}, nil
}

func (c *codecPart) ID() byte     { return c.id }
func (c *codecPart) Name() string { return c.name }

func (c *codecPart) Marshal(v any) ([]byte, error) {
	text, err := jsoncodec.Codec{}.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("codec %s of guest %s: %w", c.name, c.h.name, err)
	}
	return c.h.ask(c.marshal, text)
}

func (c *codecPart) Unmarshal(data []byte, v any) error {
	text, err := c.h.ask(c.unmarshal, data)
	if err != nil {
		return err
	}
	if err := (jsoncodec.Codec{}).Unmarshal(text, v); err != nil {
		return fmt.Errorf("codec %s of guest %s: %w", c.name, c.h.name, err)
	}
	return nil
}

func (c *codecPart) prepare(ctx context.Context, inst *instance) error {
	const sample = `{"codec":["self-test",1,true,null]}`
	data, err := inst.ask(ctx, c.marshal, []byte(sample))
	if err != nil {
		return fmt.Errorf("codec %s: the self-test of marshal: %w", c.name, err)
	}
	text, err := inst.ask(ctx, c.unmarshal, data)
	if err != nil {
		return fmt.Errorf("codec %s: the self-test of unmarshal: %w", c.name, err)
	}
	var got, want any
	json.Unmarshal([]byte(sample), &want)
	if err := json.Unmarshal(text, &got); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("codec %s: the self-test: %s came back as %q", c.name, sample, text)
	}
	return nil
}

func (c *codecPart) register(really bool) error {
	byID, err1 := codec.Get(c.id)
	byName, err2 := codec.GetByName(c.name)
	for _, other := range []codec.Codec{byID, byName} {
		if old, ours := other.(*codecPart); other != nil && !(ours && old.h.isClosed()) {
			return fmt.Errorf("its codec %s (id %d): the place of %s (id %d, %s) is taken: %w",
				c.name, c.id, other.Name(), other.ID(), origin(other), errTaken)
		}
	}
	if really && err1 != nil && err2 != nil {
		codec.Register(c)
	} else if really {
		codec.Replace(c)
	}
	return nil
}
