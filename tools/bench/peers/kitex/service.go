package main

import (
	"context"

	"github.com/cloudwego/kitex/pkg/serviceinfo"
	"google.golang.org/protobuf/proto"

	"github.com/teleport-go/teleport/tools/bench/benchmsg/std"
)

// This is the code that the kitex command generates for a service with one method.

const (
	serviceName = "bench.Echo"
	method      = "Say"
)

// handler is the interface of the service.
type handler interface {
	say(context.Context, *std.Message) (*std.Message, error)
}

var service = &serviceinfo.ServiceInfo{
	ServiceName:  serviceName,
	HandlerType:  (*handler)(nil),
	PayloadCodec: serviceinfo.Protobuf,
	Methods: map[string]serviceinfo.MethodInfo{
		method: serviceinfo.NewMethodInfo(handle, newMessage, newMessage, false),
	},
	Extra: map[string]any{},
}

func handle(ctx context.Context, h, arg, result any) error {
	reply, err := h.(handler).say(ctx, arg.(*message).Message)
	if err != nil {
		return err
	}
	result.(*message).Message = reply
	return nil
}

// message is the argument or the result of a call.
type message struct{ *std.Message }

func newMessage() any { return new(message) }

func (m *message) Marshal([]byte) ([]byte, error) { return proto.Marshal(m.Message) }

func (m *message) Unmarshal(data []byte) error {
	m.Message = new(std.Message)
	return proto.Unmarshal(data, m.Message)
}

// GetFirstArgument, GetResult and SetSuccess are the methods that kitex calls on
// arguments and results.
func (m *message) GetFirstArgument() any { return m.Message }
func (m *message) GetResult() any        { return m.Message }
func (m *message) SetSuccess(x any)      { m.Message = x.(*std.Message) }
func (m *message) IsSetSuccess() bool    { return m.Message != nil }
