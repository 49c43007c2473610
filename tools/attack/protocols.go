//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"

	_ "github.com/teleport-go/teleport/codecs/cborcodec"
	_ "github.com/teleport-go/teleport/codecs/formcodec"
	_ "github.com/teleport-go/teleport/codecs/jsoncodec"
	_ "github.com/teleport-go/teleport/codecs/pbcodec"
	_ "github.com/teleport-go/teleport/codecs/plaincodec"
	_ "github.com/teleport-go/teleport/codecs/thriftcodec"
	_ "github.com/teleport-go/teleport/codecs/xmlcodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/protos/httproto"
	"github.com/teleport-go/teleport/protos/jsonproto"
	"github.com/teleport-go/teleport/protos/pbproto"
	"github.com/teleport-go/teleport/protos/rawproto"
	"github.com/teleport-go/teleport/protos/thriftproto"
	_ "github.com/teleport-go/teleport/xfers/gzip"
	_ "github.com/teleport-go/teleport/xfers/md5"
	_ "github.com/teleport-go/teleport/xfers/zstd"
)

// protocol is one that the victim serves, on a port of its own.
type protocol struct {
	name string
	make tp.ProtoFunc
	// echo is a body, with its codec, that every route of []byte takes.
	echo  []byte
	codec byte
}

var (
	rawProto    = protocol{"raw", rawproto.NewRawProtoFunc(), []byte("canary"), codec.Plain}
	jsonProto   = protocol{"json", jsonproto.NewJSONProtoFunc(), []byte("canary"), codec.Plain}
	pbProto     = protocol{"protobuf", pbproto.NewPbProtoFunc(), []byte("canary"), codec.Plain}
	thriftProto = protocol{"thrift-binary", thriftproto.NewBinaryProtoFunc(), []byte("canary"), codec.Plain}
	structProto = protocol{"thrift-struct", thriftproto.NewStructProtoFunc(), []byte("\x08\x00\x01\x00\x00\x00\x07\x00"), codec.Thrift}
	httpProto   = protocol{"http", httproto.NewHTTProtoFunc(), []byte("canary"), codec.Plain}
	anyProto    = protocol{"any", tp.AnyProto("raw", "json", "protobuf", "thrift-binary", "http"), []byte("canary"), codec.Plain}

	protocols = []protocol{rawProto, jsonProto, pbProto, thriftProto, structProto, httpProto, anyProto}
)

func lookup(name string) (protocol, error) {
	for _, p := range protocols {
		if p.name == name {
			return p, nil
		}
	}
	return protocol{}, fmt.Errorf("no protocol %q", name)
}

// frame returns what the protocol writes for a message. It panics where the protocol
// refuses it, since the attacks are written for what it accepts.
func (p protocol) frame(settings ...tp.MessageSetting) []byte {
	var b bytes.Buffer
	m := tp.GetMessage(settings...)
	defer tp.PutMessage(m)
	if err := p.make(struct {
		io.Reader
		io.Writer
	}{&b, &b}).Pack(m); err != nil {
		panic(fmt.Sprintf("%s: %v", p.name, err))
	}
	return b.Bytes()
}

// call returns the frame of a CALL with an encoded body.
func (p protocol) call(seq int, method string, id byte, body []byte, more ...tp.MessageSetting) []byte {
	return p.message(tp.TypeCall, seq, method, id, body, more...)
}

// message returns the frame of a message of any type with an encoded body.
func (p protocol) message(mtype byte, seq int, method string, id byte, body []byte, more ...tp.MessageSetting) []byte {
	return p.frame(append([]tp.MessageSetting{
		socket.WithMtype(mtype), socket.WithSeq(int32(seq)), tp.WithServiceMethod(method), tp.WithBodyCodec(id), tp.WithBody(body),
	}, more...)...)
}

// piped makes the filters of a message from their ids, outermost first.
func piped(ids string) tp.MessageSetting { return tp.WithXferPipe([]byte(ids)...) }

// large is a body of 1 MiB that every route of []byte takes.
func (p protocol) large() []byte {
	if p.codec != codec.Thrift {
		return filler(1 << 20)
	}
	return append(append([]byte("\x0b\x00\x01\x00\x10\x00\x00"), filler(1<<20)...), 0) // a string as field 1
}

// filler is a body of n bytes that every filter packs well, and no protocol escapes.
func filler(n int) []byte { return bytes.Repeat([]byte("0"), n) }
