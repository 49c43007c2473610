package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/teleport-go/teleport/codecs/jsoncodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// A codec from outside translates: its host has the Go values, and encodes them as JSON.
var codecKind = kind{
	word:  contract.KindCodec,
	value: "codec.Codec",
	describe: func(part any) (contract.Part, bool) {
		c, ok := part.(codec.Codec)
		if !ok {
			return contract.Part{}, false
		}
		p := contract.Part{ID: c.ID(), Name: c.Name()}
		if err := tryWithoutSchema(c); err != nil {
			p.Unfit = fmt.Sprintf("codec %s needs to know the types of the values, which do not cross to another process (%v): import its package in the host", c.Name(), err)
		}
		return p, true
	},
	serve: func(s *server, parts []any) {
		for _, part := range parts {
			c := part.(codec.Codec)
			s.handleItem(contract.CodecRoute("marshal", c.ID()), func(_ tp.CallCtx, item []byte) ([]byte, error) {
				return fromJSON(c, item)
			})
			s.handleItem(contract.CodecRoute("unmarshal", c.ID()), func(_ tp.CallCtx, item []byte) ([]byte, error) {
				return toJSON(c, item)
			})
		}
	},
}

// tryWithoutSchema returns an error if the codec cannot translate values without knowing
// their types.
func tryWithoutSchema(c codec.Codec) error {
	const text = `{"list":[1,"two",null,true],"number":1.5}`
	b, err := fromJSON(c, []byte(text))
	if err != nil {
		return err
	}
	back, err := toJSON(c, b)
	if err != nil {
		return err
	}
	var got, want any
	if json.Unmarshal(back, &got) != nil || json.Unmarshal([]byte(text), &want) != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("%s came back as %s", text, back)
	}
	return nil
}

func fromJSON(c codec.Codec, text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("the JSON text is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is more than one JSON value")
	}
	v, err := numbers(v)
	if err != nil {
		return nil, err
	}
	return c.Marshal(v)
}

func toJSON(c codec.Codec, data []byte) ([]byte, error) {
	var v any
	if err := c.Unmarshal(data, &v); err != nil {
		return nil, err
	}
	v, err := textKeys(v)
	if err != nil {
		return nil, err
	}
	return jsoncodec.Codec{}.Marshal(v) // unlike encoding/json it refuses text that is not UTF-8
}

// numbers replaces each json.Number in v by an int64, a uint64 or a float64.
func numbers(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return n, nil
		}
		if n, err := strconv.ParseUint(string(v), 10, 64); err == nil {
			return n, nil
		}
		return v.Float64()
	case map[string]any:
		for key, e := range v {
			if v[key], err = numbers(e); err != nil {
				return nil, err
			}
		}
	case []any:
		for i, e := range v {
			if v[i], err = numbers(e); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

var errKey = errors.New("a map has a key that is not text, which JSON cannot carry")

// textKeys replaces each map[any]any in v by a map[string]any.
func textKeys(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case map[any]any:
		m := make(map[string]any, len(v))
		for key, e := range v {
			text, ok := key.(string)
			if !ok {
				return nil, fmt.Errorf("%w: %v", errKey, key)
			}
			if m[text], err = textKeys(e); err != nil {
				return nil, err
			}
		}
		return m, nil
	case map[string]any:
		for key, e := range v {
			if v[key], err = textKeys(e); err != nil {
				return nil, err
			}
		}
	case []any:
		for i, e := range v {
			if v[i], err = textKeys(e); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}
