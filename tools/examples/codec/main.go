// Command codec has a codec of its own: bodies as comma-separated values.
package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"log"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

// Table is what the codec can encode.
type Table [][]string

// csvID is the codec's id on the wire: a byte that no other codec of yours has.
const csvID = 'v'

type csvCodec struct{}

func init() { codec.Register(csvCodec{}) }

func (csvCodec) ID() byte     { return csvID }
func (csvCodec) Name() string { return "csv" }

func (csvCodec) Marshal(v any) ([]byte, error) {
	var t Table
	switch v := v.(type) {
	case nil:
	case Table:
		t = v
	case *Table:
		t = *v
	default:
		return nil, fmt.Errorf("csv codec: %T is not a Table", v)
	}
	var b bytes.Buffer
	err := csv.NewWriter(&b).WriteAll(t)
	return b.Bytes(), err
}

func (csvCodec) Unmarshal(data []byte, v any) error {
	t, ok := v.(*Table)
	if !ok {
		return fmt.Errorf("csv codec: %T is not a *Table", v)
	}
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	*t = rows
	return err
}

func main() {
	tp.SetLoggerLevel("ERROR")
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"})
	defer srv.Close()
	tp.HandleCall(srv, "/transpose", func(ctx tp.CallCtx, arg *Table) (Table, error) {
		fmt.Printf("asked in %q\n", ctx.GetBodyCodec())
		var out Table
		for r, row := range *arg {
			for c, cell := range row {
				if r == 0 {
					out = append(out, nil)
				}
				out[c] = append(out[c], cell)
			}
		}
		return out, nil
	})
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}

	cli := tp.NewPeer(tp.PeerConfig{DefaultBodyCodec: "csv"})
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		log.Fatal(rerr)
	}
	arg := Table{{"a", "b"}, {"1", "2,5"}}
	for _, setting := range []tp.MessageSetting{
		tp.WithNothing(),              // the peer's codec
		tp.WithBodyCodec(codec.JSON),  // this message's
		tp.WithAcceptBodyCodec(csvID), // the reply's
		tp.WithBodyCodec('?'),         // there is none
	} {
		var result Table
		call := sess.Call("/transpose", arg, &result, setting)
		if rerr := call.Rerror(); rerr != nil {
			fmt.Println(rerr.Message)
			continue
		}
		fmt.Printf("%v in %q\n", result, call.InputBodyCodec())
	}
}
