package securelegacy

import (
	"encoding/binary"
	"errors"

	"github.com/teleport-go/teleport/core/codec"
)

// envelope is the body of an encrypted message, encoded with the message's codec.
// Its names are in lower case in JSON alone, where v5 and v7 have a tag for them.
type envelope struct {
	XMLName       struct{} `json:"-" xml:"Encrypt" form:"-"` // the element's name
	CipherVersion string   `json:"cipherversion" xml:"Cipherversion" form:"Cipherversion"`
	CipherText    string   `json:"ciphertext" xml:"Ciphertext" form:"Ciphertext"`
}

// marshalEnvelope encodes it with the codec of that id. The protobuf codec takes
// generated types only; the message of two strings is encoded here.
func marshalEnvelope(id byte, e envelope) ([]byte, error) {
	if id != codec.Protobuf {
		return codec.Marshal(id, &e)
	}
	b := append([]byte(nil), 1<<3|2)
	b = binary.AppendUvarint(b, uint64(len(e.CipherVersion)))
	b = append(b, e.CipherVersion...)
	b = append(b, 2<<3|2)
	b = binary.AppendUvarint(b, uint64(len(e.CipherText)))
	return append(b, e.CipherText...), nil
}

func unmarshalEnvelope(id byte, b []byte) (e envelope, err error) {
	if id != codec.Protobuf {
		return e, codec.Unmarshal(id, b, &e)
	}
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		size, m := uint64(0), 0
		if n > 0 && tag&7 == 2 {
			size, m = binary.Uvarint(b[n:])
		}
		if m <= 0 || size > uint64(len(b)-n-m) {
			return envelope{}, errProtobuf
		}
		text := string(b[n+m : n+m+int(size)])
		b = b[n+m+int(size):]
		switch tag >> 3 {
		case 1:
			e.CipherVersion = text
		case 2:
			e.CipherText = text
		}
	}
	return e, nil
}

var errProtobuf = errors.New("securelegacy: body is not a protobuf message of two strings")
