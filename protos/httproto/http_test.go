package httproto

import (
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/tptest"
)

func TestConformance(t *testing.T) {
	for _, d := range []Dialect{V5, V7} {
		t.Run(d.String(), func(t *testing.T) {
			prototest.Run(t, NewHTTProtoFunc(d),
				prototest.Without(prototest.Pipe, prototest.Push, prototest.ReplyMethod, prototest.AnyMethod, prototest.AnyMeta),
				prototest.Base(socket.WithBodyCodec(codec.JSON)),
				prototest.BadFrame("seq", []byte("POST /a HTTP/1.1\r\nHost: h\r\nX-Seq: x\r\nContent-Length: 2\r\n\r\nab")),
				prototest.BadFrame("negative seq", []byte("POST /a HTTP/1.1\r\nHost: h\r\nX-Seq: -1\r\n\r\n")),
				prototest.BadFrame("two seqs", []byte("POST /a HTTP/1.1\r\nHost: h\r\nX-Seq: 1\r\nX-Seq: 2\r\n\r\n")),
				prototest.BadFrame("a request that is a PUSH", []byte("POST /a HTTP/1.1\r\nHost: h\r\nX-Seq: 1\r\nX-Mtype: 3\r\n\r\n")),
				prototest.BadFrame("damaged gzip", []byte("POST /a HTTP/1.1\r\nHost: h\r\nX-Seq: 1\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx")),
				prototest.BadFrame("other filter", []byte("POST /a HTTP/1.1\r\nHost: h\r\nX-Seq: 1\r\nX-Content-Encoding: md5\r\nContent-Length: 1\r\n\r\nx")),
				prototest.LostFrame("no HTTP", make([]byte, 16)),
				prototest.LostFrame("length and chunks", []byte("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
				prototest.LostFrame("folded", []byte("POST /a HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n")))
		})
	}
}

func TestSessions(t *testing.T) {
	for _, d := range []Dialect{V5, V7} {
		t.Run(d.String(), func(t *testing.T) {
			tptest.RunProto(t, NewHTTProtoFunc(d),
				tptest.Without(prototest.Pipe, prototest.Push, prototest.AnyMeta, prototest.Streams))
		})
	}
}
