package guest

import (
	"github.com/teleport-go/teleport/codecs/jsoncodec/transcode"
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
		if err := transcode.Check(c); err != nil {
			p.Unfit = err.Error()
		}
		return p, true
	},
	serve: func(s *server, parts []any) {
		for _, part := range parts {
			c := part.(codec.Codec)
			s.handleTranslation(contract.CodecRoute("marshal", c.ID()), func(dst, item []byte, _ int) ([]byte, error) {
				return transcode.FromJSON(dst, c, item)
			})
			s.handleTranslation(contract.CodecRoute("unmarshal", c.ID()), func(dst, item []byte, _ int) ([]byte, error) {
				return transcode.ToJSON(dst, c, item)
			})
		}
	},
}
