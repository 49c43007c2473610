//go:build unix

package main

import (
	"context"
	"os"
	"os/exec"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The reference: the same function behind go-plugin's usual way, a unary call of gRPC for
// each item.

var handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "BENCH", MagicCookieValue: "unary"}

type unaryPlugin struct{ plugin.NetRPCUnsupportedPlugin }

func (unaryPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Add",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Pack", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.BytesValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			out, err := add{}.OnPack(in.Value)
			return wrapperspb.Bytes(out), err
		}}},
	}, struct{}{})
	return nil
}

func (unaryPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

func serveUnary() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: handshake,
		Plugins:         plugin.PluginSet{"add": unaryPlugin{}},
		GRPCServer:      plugin.DefaultGRPCServer,
		Logger:          hclog.NewNullLogger(),
	})
}

func dialUnary() (once func() error, pid int, stop func()) {
	cmd := exec.Command(self())
	cmd.Env = append(os.Environ(), envRole+"=unary")
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		Plugins:          plugin.PluginSet{"add": unaryPlugin{}},
		Cmd:              cmd,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           hclog.NewNullLogger(),
	})
	rpc, err := client.Client()
	must(err)
	raw, err := rpc.Dispense("add")
	must(err)
	conn := raw.(*grpc.ClientConn)
	return func() error {
		return conn.Invoke(background, "/bench.Add/Pack", wrapperspb.Bytes(item), new(wrapperspb.BytesValue))
	}, cmd.Process.Pid, client.Kill
}
