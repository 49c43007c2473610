package evio_test

import (
	"fmt"
	"log/slog"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/mixers/evio"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// plain is a codec of bytes.
type plain struct{}

func (plain) ID() byte                      { return 'e' }
func (plain) Name() string                  { return "example" }
func (plain) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (plain) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), b...)
	return nil
}

func Example() {
	codec.Register(plain{}) // a program imports mixers/standard instead
	cfg := tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: rawproto.NewRawProtoFunc(), DefaultBodyCodec: "example", Logger: slog.New(slog.DiscardHandler)}
	srv := evio.NewServer(2, cfg)
	defer srv.Close()
	tp.HandleCall(srv, "/shout", func(_ tp.CallCtx, arg *[]byte) (*[]byte, error) {
		loud := append(*arg, '!')
		return &loud, nil
	})
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	cli := evio.NewClient(cfg)
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		fmt.Println(rerr)
		return
	}
	word, reply := []byte("hello"), []byte(nil)
	fmt.Println(sess.Call("/shout", &word, &reply).Rerror(), string(reply))
	// Output: <nil> hello!
}
