package httproto

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/teleport-go/teleport/core/codec"
)

// types maps content types and body codecs to each other. It is never changed
// once it is published.
type types struct {
	codecs  map[string]byte // by the type in small letters, without parameters
	written map[string]byte // by the type as it is written
	texts   [256]string     // as written
}

var (
	typesMu sync.Mutex // held by writers
	table   atomic.Pointer[types]
)

func init() {
	t := &types{codecs: make(map[string]byte), written: make(map[string]byte)}
	for _, e := range []struct {
		text string
		id   byte
	}{
		{"application/x-protobuf", codec.Protobuf},
		{"application/json", codec.JSON},
		{"application/x-www-form-urlencoded", codec.Form},
		{"text/plain", codec.Plain},
		{"text/xml", codec.XML},
		{"application/vnd.apache.thrift.binary", codec.Thrift},
		{"application/cbor", codec.CBOR},
	} {
		t.codecs[e.text] = e.id
		t.texts[e.id] = e.text + ";charset=utf-8"
		t.written[t.texts[e.id]] = e.id
	}
	t.codecs["application/xml"] = codec.XML
	t.codecs["application/protobuf"] = codec.Protobuf
	t.codecs["text/json"] = codec.JSON
	table.Store(t)
}

// otherType is the type of a codec that has none, followed by its id.
const otherType = "application/x-teleport-codec-"

// RegBodyCodec makes bodies of this content type be read with the codec, and
// those of the codec be written with the type, which goes out as it is given. It
// takes the place of what was there. It may be called concurrently, and panics if
// the content type cannot be the value of a header.
func RegBodyCodec(contentType string, codecID byte) {
	if contentType == "" || !validValue([]byte(contentType)) {
		panic(fmt.Sprintf("httproto: invalid content type: %q", contentType))
	}
	typesMu.Lock()
	defer typesMu.Unlock()
	t := *table.Load()
	t.codecs = maps.Clone(t.codecs)
	bare := bareType(contentType)
	t.codecs[bare] = codecID
	t.texts[codecID] = contentType
	t.written = maps.Clone(t.written)
	maps.DeleteFunc(t.written, func(text string, _ byte) bool { return bareType(text) == bare })
	t.written[contentType] = codecID
	table.Store(&t)
}

// GetBodyCodec returns the codec of a content type, whose parameters and letter
// case do not matter; defCodecID if there is none. A type that was not registered
// and ends with +json, +xml or +cbor is of the codec that the suffix names.
func GetBodyCodec(contentType string, defCodecID byte) byte {
	bare := bareType(contentType)
	if id, ok := table.Load().codecs[bare]; ok {
		return id
	}
	if text, ok := strings.CutPrefix(bare, otherType); ok {
		if id, err := strconv.ParseUint(text, 10, 8); err == nil {
			return byte(id)
		}
	}
	if i := strings.LastIndexByte(bare, '+'); i > 0 {
		switch bare[i:] {
		case "+json":
			return codec.JSON
		case "+xml":
			return codec.XML
		case "+cbor":
			return codec.CBOR
		}
	}
	return defCodecID
}

// GetContentType returns the content type that bodies of the codec are written
// with, defContentType if none was registered.
func GetContentType(codecID byte, defContentType string) string {
	if text := table.Load().texts[codecID]; text != "" {
		return text
	}
	return defContentType
}

// appendType appends the Content-Type of a body; nothing for no codec.
func appendType(dst []byte, id byte) []byte {
	if text := table.Load().texts[id]; text != "" {
		return append(dst, text...)
	}
	if id == codec.NilCodecID {
		return dst
	}
	return strconv.AppendUint(append(dst, otherType...), uint64(id), 10)
}

// typeCodec is GetBodyCodec, quick for what peers write.
func typeCodec(text []byte) byte {
	if len(text) == 0 {
		return codec.NilCodecID
	}
	if id, ok := table.Load().written[string(text)]; ok { // no allocation
		return id
	}
	return GetBodyCodec(string(text), codec.NilCodecID)
}

func bareType(text string) string {
	text, _, _ = strings.Cut(text, ";")
	return strings.ToLower(strings.TrimSpace(text))
}
