// Command thrift serves clients made by Apache Thrift's own library.
//
// The handler takes a method's arguments and gives its result as Thrift's compiler
// generates them (types.go stands for that): a declared exception is a field of
// the result, any other error is a TApplicationException.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/apache/thrift/lib/go/thrift"

	_ "github.com/teleport-go/teleport/codecs/thriftcodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/protos/thriftproto"
)

func divide(ctx tp.CallCtx, args *DivideArgs) (*DivideResult, error) {
	if who := ctx.PeekMeta("who"); len(who) > 0 {
		fmt.Printf("%s asks\n", who)
	}
	if args.By == 0 {
		return nil, tp.NewRerror(1001, "Division By Zero", fmt.Sprint(args.Num, "/0")).Err()
	}
	quotient := args.Num / args.By
	return &DivideResult{Success: &quotient}, nil
}

func main() {
	tp.SetLoggerLevel("ERROR")
	srv := tp.NewPeer(tp.PeerConfig{
		LocalIP:          "127.0.0.1",
		Protocol:         thriftproto.NewStructProtoFunc(),
		DefaultBodyCodec: "thrift",
		Mapper:           tp.RPCServiceMethodMapper, // "divide" and not "/divide"
	})
	defer srv.Close()
	tp.HandleCall(srv, "divide", divide)
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	addr := srv.Addrs()[0].String()

	thriftClient(addr)
	ourClient(addr)
}

// thriftClient uses nothing of this project.
func thriftClient(addr string) {
	conf := &thrift.TConfiguration{}
	trans := thrift.NewTSocketConf(addr, conf)
	if err := trans.Open(); err != nil {
		log.Fatal(err)
	}
	defer trans.Close()
	proto := thrift.NewTHeaderProtocolConf(trans, conf)
	client := thrift.NewTStandardClient(proto, proto)

	// Its headers are the handler's metadata.
	ctx := thrift.SetHeader(context.Background(), "who", "a thrift client")
	ctx = thrift.SetWriteHeaderList(ctx, []string{"who"})
	var result DivideResult
	_, err := client.Call(ctx, "divide", &DivideArgs{Num: 42, By: 7}, &result)
	fmt.Println(*result.Success, err)

	for _, call := range []struct {
		method string
		by     int32
	}{{"divide", 0}, {"multiply", 1}} {
		_, err = client.Call(context.Background(), call.method, &DivideArgs{Num: 1, By: call.by}, &result)
		fmt.Printf("type %d: %v\n", err.(thrift.TApplicationException).TypeId(), err)
	}
}

// ourClient gets the whole error.
func ourClient(addr string) {
	cli := tp.NewPeer(tp.PeerConfig{Protocol: thriftproto.NewStructProtoFunc(), DefaultBodyCodec: "thrift"})
	defer cli.Close()
	sess, rerr := cli.Dial(addr)
	if rerr != nil {
		log.Fatal(rerr)
	}
	var result DivideResult
	rerr = sess.Call("divide", &DivideArgs{Num: 9, By: 3}, &result).Rerror()
	fmt.Println(*result.Success, rerr)
	fmt.Println(sess.Call("divide", &DivideArgs{Num: 9}, &result).Rerror())
}
