package websocket

import (
	"context"
	"errors"
	"io"
	"net"

	tp "github.com/teleport-go/teleport/core"
)

// Client is a peer that dials WebSocket as clients of v5 and v7 do: without the name of a
// sub-protocol. To dial by name, use the network ws.
type Client struct{ tp.Peer }

// NewClient returns a client for URLs with the path rootPath. cfg.Network is as for
// NewServer, and so are its panics.
func NewClient(rootPath string, cfg tp.PeerConfig, globalLeftPlugin ...tp.Plugin) *Client {
	n := newNetwork("ws", base(&cfg), Options{Path: rootPath})
	cfg.Network, cfg.Net = "", &n
	return &Client{tp.NewPeer(cfg, globalLeftPlugin...)}
}

// Dial is that of tp.Peer. The protoFunc is the sub-protocol, which the server must have
// too; without it, it is the JSON layout of v5 and v7.
func (c *Client) Dial(addr string, protoFunc ...tp.ProtoFunc) (tp.Session, *tp.Rerror) {
	return c.Peer.Dial(addr, NewWsProtoFunc(protoFunc...))
}

// DialContext is Dial, but fails when ctx ends.
func (c *Client) DialContext(ctx context.Context, addr string, protoFunc ...tp.ProtoFunc) (tp.Session, *tp.Rerror) {
	return c.Peer.DialContext(ctx, addr, NewWsProtoFunc(protoFunc...))
}

// DialJSON is Dial with the JSON layout of v5 and v7.
func (c *Client) DialJSON(addr string) (tp.Session, *tp.Rerror) {
	return c.Dial(addr, NewJSONSubProtoFunc())
}

// DialProtobuf is Dial with the protobuf layout of v5 and v7.
func (c *Client) DialProtobuf(addr string) (tp.Session, *tp.Rerror) {
	return c.Dial(addr, NewPbSubProtoFunc())
}

// NewDialPlugin returns a plugin for a client of the network tcp, tcp4 or tcp6 that shakes
// hands on each connection that is dialled. The protocol of Dial is that of NewWsProtoFunc,
// or the plugin puts it around that; it names no sub-protocol.
func NewDialPlugin(rootPath string) tp.Plugin {
	return &dialPlugin{Options{Path: rootPath}}
}

type dialPlugin struct{ options Options }

var (
	_ tp.PostDialPlugin   = (*dialPlugin)(nil)
	_ tp.PostRedialPlugin = (*dialPlugin)(nil)
)

func (p *dialPlugin) Name() string { return "websocket" }

func (p *dialPlugin) PostRedial(sess tp.PreSession) *tp.Rerror { return p.PostDial(sess) }

func (p *dialPlugin) PostDial(sess tp.PreSession) *tp.Rerror {
	err := p.options.check()
	if err != nil {
		return tp.NewRerror(tp.CodeDialFailed, tp.CodeText(tp.CodeDialFailed), err.Error()).WithCause(err)
	}
	sess.ModifySocket(func(conn net.Conn) (net.Conn, tp.ProtoFunc) {
		_, _, err = p.options.clientHandshake(byteReader{conn}, conn.RemoteAddr().String(), originOf(conn, p.options.path()), "")
		pf := sess.GetProtoFunc()
		if subProtocolOf(pf).New == nil {
			return nil, nil
		}
		return nil, NewWsProtoFunc(pf)
	})
	if err == nil {
		return nil
	}
	if err = answered(err); tp.Code(err) != tp.CodeUnknownError {
		return tp.ToRerror(err)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return tp.NewRerror(tp.CodeDialFailed, tp.CodeText(tp.CodeDialFailed), err.Error()).WithCause(err)
}

// byteReader reads byte by byte, so that nothing is read behind the answer.
type byteReader struct{ net.Conn }

func (r byteReader) Read(b []byte) (int, error) { return r.Conn.Read(b[:min(len(b), 1)]) }
