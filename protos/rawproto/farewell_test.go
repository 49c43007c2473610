package rawproto

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/tptest"
)

func TestCarriesControl(t *testing.T) {
	carries := func(e *prototest.End) bool { return e.Proto.(socket.ControlCarrier).CarriesControl() }
	for _, test := range []struct {
		client Dialect
		want   bool
	}{{Seed, true}, {V5, false}, {V7, false}} {
		c, s := connect([]Dialect{test.client}, nil)
		if got := carries(c); got != test.want {
			t.Errorf("a dialled connection of %v carries CONTROL: %v; want %v", test.client, got, test.want)
		}
		if err := c.Pack(goldens["call"]()); err != nil {
			t.Fatal(err)
		}
		if err := s.Unpack(socket.NewMessage()); err != nil {
			t.Fatal(err)
		}
		if got := carries(s); got != test.want {
			t.Errorf("an accepted connection of %v carries CONTROL: %v; want %v", test.client, got, test.want)
		}
	}
}

// What a server writes last: peers of v5 and v7 would close the connection on a type that
// they do not know, so they see nothing but the end.
func TestFarewell(t *testing.T) {
	for _, test := range []struct {
		dialect Dialect
		want    string
	}{{Seed, "n=0&code=409&message=Conflict&reason=id%20taken"}, {V5, ""}, {V7, ""}} {
		t.Run(test.dialect.String(), func(t *testing.T) {
			srv := tptest.NewPeer(t, tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: NewRawProtoFunc()})
			ready := make(chan tp.Session, 1)
			tp.HandleCall(srv, "/math/add", func(ctx tp.CallCtx, _ *[]byte) ([]byte, error) {
				ready <- ctx.Session().(tp.Session)
				return []byte("6"), nil
			})
			conn, err := net.Dial("tcp", tptest.Listen(t, srv))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			c, _ := connect([]Dialect{test.dialect}, nil)
			frame, err := c.Proto.(socket.FrameAppender).AppendFrame(nil, goldens["call"]())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(frame); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(conn)
			next := func() (socket.Message, error) {
				size := make([]byte, 4)
				if _, err := io.ReadFull(in, size); err != nil {
					return nil, err
				}
				rest := make([]byte, binary.BigEndian.Uint32(size)-4)
				if _, err := io.ReadFull(in, rest); err != nil {
					return nil, err
				}
				return read(append(size, rest...))
			}
			if m, err := next(); err != nil || m.Mtype() != socket.TypeReply {
				t.Fatalf("the reply: %v, %v", m, err)
			}
			(<-ready).CloseWith(tp.NewRerror(tp.CodeConflict, "Conflict", "id taken"))
			m, err := next()
			switch {
			case test.want == "":
				if err != io.EOF {
					t.Errorf("after the reply: %v, %v; want the end", m, err)
				}
				return
			case err != nil:
				t.Fatal(err)
			case m.Mtype() != socket.TypeControl || m.ServiceMethod() != "bye" || m.Meta().String() != test.want:
				t.Errorf("the last message is %s %q, %s; want the farewell %s", socket.TypeText(m.Mtype()), m.ServiceMethod(), m.Meta(), test.want)
			}
			if m, err := next(); err != io.EOF {
				t.Errorf("after the farewell: %v, %v; want the end", m, err)
			}
		})
	}
}
