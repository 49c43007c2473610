// Command protocol has a protocol of its own: a message is a line of JSON, so
// that you can talk to the server by hand (nc 127.0.0.1 PORT).
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

// line is a message on the wire.
type line struct {
	Seq    int32           `json:"seq"`
	Type   byte            `json:"type"` // 1 call, 2 reply, 3 push
	Method string          `json:"method,omitempty"`
	Meta   string          `json:"meta,omitempty"`
	Error  *tp.Rerror      `json:"error,omitempty"`
	Body   json.RawMessage `json:"body,omitempty"` // the codec is always json
}

type lineProto struct{ rw io.ReadWriter }

func newLineProto(rw io.ReadWriter) tp.Proto { return lineProto{rw} }

func (p lineProto) Version() (byte, string) { return 'l', "line" }

// Pack writes once. SetSize says if the message is larger than allowed.
func (p lineProto) Pack(m tp.Message) error {
	body, err := m.MarshalBody()
	if err != nil {
		return err
	}
	b, err := json.Marshal(line{m.Seq(), m.Mtype(), m.ServiceMethod(), m.Meta().String(), m.Rerror(), body})
	if err != nil {
		return err
	}
	if err := m.SetSize(uint32(len(b) + 1)); err != nil {
		return err
	}
	_, err = p.rw.Write(append(b, '\n'))
	return err
}

// Unpack reads one line, and no byte of the next. The connection is buffered, so
// that small reads cost little.
func (p lineProto) Unpack(m tp.Message) error {
	var text []byte
	for b := make([]byte, 1); ; text = append(text, b[0]) {
		if _, err := io.ReadFull(p.rw, b); err == io.EOF && len(text) > 0 {
			return io.ErrUnexpectedEOF
		} else if err != nil {
			return err
		}
		if err := m.SetSize(uint32(len(text) + 1)); err != nil {
			return err
		}
		if b[0] == '\n' {
			break
		}
	}
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return err
	}
	m.SetSeq(l.Seq)
	m.SetMtype(l.Type)
	m.SetServiceMethod(l.Method)
	m.Meta().Parse(l.Meta)
	m.SetRerror(l.Error)
	m.SetBodyCodec('j')
	return m.UnmarshalBody(l.Body)
}

func main() {
	tp.SetLoggerLevel("ERROR")
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: newLineProto})
	defer srv.Close()
	tp.HandleCall(srv, "/math/add", func(_ tp.CallCtx, arg *[2]int) (int, error) { return arg[0] + arg[1], nil })
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}

	cli := tp.NewPeer(tp.PeerConfig{})
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String(), newLineProto) // or one connection's protocol
	if rerr != nil {
		log.Fatal(rerr)
	}
	var sum int
	fmt.Println(sess.Call("/math/add", []int{1, 2}, &sum).Rerror(), sum)

	byHand, err := net.Dial("tcp", srv.Addrs()[0].String())
	if err != nil {
		log.Fatal(err)
	}
	defer byHand.Close()
	answers := bufio.NewScanner(byHand)
	for _, method := range []string{"/math/add", "/math/sub"} {
		fmt.Fprintf(byHand, `{"seq":7,"type":1,"method":%q,"body":[3,4]}`+"\n", method)
		answers.Scan()
		fmt.Println(answers.Text())
	}
}
