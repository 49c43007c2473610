// Package transcode translates between JSON and the format of another codec. It is for a
// codec that runs where the Go values are not, in another process or in WebAssembly: they
// cross as JSON.
//
// A value that was decoded without its type is nil, a bool, a string, an int64, a uint64, a
// *big.Int, a float64, a []any or a map[string]any. So an integer stays exact, bytes are
// base64 text, and a codec that needs the types of the values, such as protobuf, cannot be
// used: see Check.
package transcode

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/teleport-go/teleport/codecs/jsoncodec"
	"github.com/teleport-go/teleport/core/codec"
)

// FromJSON appends one JSON value, encoded by c, to dst.
func FromJSON(dst []byte, c codec.Codec, text []byte) ([]byte, error) {
	v, err := parse(text)
	if err != nil {
		return dst, err
	}
	return codec.AppendBody(dst, c, v)
}

// ToJSON appends what c decodes as JSON to dst. The keys of its maps must be text.
func ToJSON(dst []byte, c codec.Codec, data []byte) ([]byte, error) {
	var v any
	if err := c.Unmarshal(data, &v); err != nil {
		return dst, err
	}
	v, err := textKeys(v)
	if err != nil {
		return dst, err
	}
	return jsoncodec.Codec{}.Append(dst, v) // unlike encoding/json it refuses text that is not UTF-8
}

// Check returns an error if c cannot translate values without knowing their types.
func Check(c codec.Codec) error {
	err := roundTrip(c, `{"list":[1,"two",null,true],"number":1.5}`)
	if err != nil {
		return fmt.Errorf("codec %s needs to know the types of the values, which JSON does not have (%w): import its package in the host", c.Name(), err)
	}
	return nil
}

func roundTrip(c codec.Codec, text string) error {
	b, err := FromJSON(nil, c, []byte(text))
	if err != nil {
		return err
	}
	back, err := ToJSON(nil, c, b)
	if err != nil {
		return err
	}
	var got, want any
	if json.Unmarshal(back, &got) != nil || json.Unmarshal([]byte(text), &want) != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("%s came back as %s", text, back)
	}
	return nil
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
