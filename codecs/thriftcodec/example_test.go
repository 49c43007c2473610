package thriftcodec_test

import (
	"context"
	"fmt"

	"github.com/apache/thrift/lib/go/thrift"

	_ "github.com/teleport-go/teleport/codecs/thriftcodec"
	"github.com/teleport-go/teleport/core/codec"
)

// Author is struct Author { 1: string name }, as Thrift's compiler writes it.
type Author struct{ Name string }

func (a *Author) Write(ctx context.Context, p thrift.TProtocol) error {
	p.WriteFieldBegin(ctx, "name", thrift.STRING, 1)
	p.WriteString(ctx, a.Name)
	return p.WriteFieldStop(ctx)
}

func (a *Author) Read(ctx context.Context, p thrift.TProtocol) error {
	for {
		_, kind, id, err := p.ReadFieldBegin(ctx)
		switch {
		case err != nil || kind == thrift.STOP:
			return err
		case kind == thrift.STRING && id == 1:
			a.Name, err = p.ReadString(ctx)
		default:
			err = p.Skip(ctx, kind)
		}
		if err != nil {
			return err
		}
	}
}

func Example() {
	body, err := codec.Marshal(codec.Thrift, &Author{"andeya"})
	fmt.Printf("%x %v\n", body, err)

	var author Author
	err = codec.Unmarshal(codec.Thrift, body, &author)
	fmt.Println(author.Name, err)
	// Output:
	// 0b000100000006616e6465796100 <nil>
	// andeya <nil>
}
