//go:build unix

package outproc

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// The guests in this file speak the lane by hand, as CONTRACT.md describes it, and then
// break its rules.

// frame is a message of a lane.
type frame struct {
	seq, route, meta string
	mtype            byte
	body             []byte
}

func readFrame(r io.Reader) (f frame, err error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return f, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:])-4)
	if _, err := io.ReadFull(r, b); err != nil {
		return f, err
	}
	if b[0] != 'r' || b[1] != 0 {
		return f, fmt.Errorf("version %q, %d filters", b[0], b[1])
	}
	b = b[2:]
	text := func(sizeLen int) string {
		n := int(b[0])
		if sizeLen == 2 {
			n = n<<8 | int(b[1])
		}
		s := string(b[sizeLen : sizeLen+n])
		b = b[sizeLen+n:]
		return s
	}
	f.seq = text(1)
	f.mtype, b = b[0], b[1:]
	f.route, f.meta = text(1), text(2)
	f.body = b[1:]
	return f, nil
}

func (f frame) append(b []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, 'r', 0, byte(len(f.seq)))
	b = append(append(b, f.seq...), f.mtype, byte(len(f.route)))
	b = binary.BigEndian.AppendUint16(append(b, f.route...), uint16(len(f.meta)))
	b = append(append(append(b, f.meta...), 0), f.body...)
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at))
	return b
}

// misbehaviour answers items of a lane by hand: it returns the bytes to write.
type misbehaviour func(conn net.Conn, item frame, reply []byte) ([]byte, error)

var misbehaviours = map[string]misbehaviour{
	"raw good": func(_ net.Conn, _ frame, reply []byte) ([]byte, error) { return reply, nil },
	"raw other seq": func(_ net.Conn, item frame, _ []byte) ([]byte, error) {
		return frame{seq: "zzzz", mtype: 2, body: item.body}.append(nil), nil
	},
	"raw twice": func(_ net.Conn, _ frame, reply []byte) ([]byte, error) {
		return append(reply, reply...), nil
	},
	"raw garbage": func(net.Conn, frame, []byte) ([]byte, error) {
		return []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), nil
	},
	"raw huge": func(net.Conn, frame, []byte) ([]byte, error) {
		return []byte{0x7f, 0xff, 0xff, 0xff, 'r', 0}, nil
	},
	"raw over": func(_ net.Conn, item frame, _ []byte) ([]byte, error) {
		return frame{seq: item.seq, mtype: 2, body: make([]byte, 1<<20+1)}.append(nil), nil
	},
	"raw cut": func(conn net.Conn, _ frame, reply []byte) ([]byte, error) {
		conn.Write(reply[:len(reply)-1])
		return nil, errors.New("cut")
	},
	"raw closes": func(net.Conn, frame, []byte) ([]byte, error) { return nil, errors.New("closes") },
	"raw calls": func(_ net.Conn, _ frame, reply []byte) ([]byte, error) {
		b := frame{seq: "1", mtype: 1, route: "/no/such"}.append(nil)
		b = frame{seq: "2", mtype: 3, route: "/no/push"}.append(b)
		b = frame{seq: "3", mtype: 77}.append(b)
		return append(b, reply...), nil
	},
	"raw bad error": func(_ net.Conn, item frame, _ []byte) ([]byte, error) {
		return frame{seq: item.seq, mtype: 2, meta: "X-Reply-Error=%7Bno+json"}.append(nil), nil
	},
	"raw error": func(_ net.Conn, item frame, _ []byte) ([]byte, error) {
		return frame{seq: item.seq, mtype: 2, meta: "X-Reply-Error=%7B%22code%22%3A422%2C%22reason%22%3A%22not%20mine%22%7D"}.append(nil), nil
	},
}

// descriptions are what raw guests say of themselves; others are good.
var descriptions = map[string]string{
	"raw no json":  `not json`,
	"raw version":  `{"contract":2,"name":"raw","version":"1","parts":[{"kind":"filter","id":200,"name":"reverse"}]}`,
	"raw no name":  `{"contract":1,"parts":[{"kind":"filter","id":200,"name":"reverse"}]}`,
	"raw no parts": `{"contract":1,"name":"raw"}`,
	"raw kind":     `{"contract":1,"name":"raw","parts":[{"kind":"teapot","name":"t"}]}`,
	"raw no id":    `{"contract":1,"name":"raw","parts":[{"kind":"filter","name":"t"}]}`,
	"raw control":  `{"contract":1,"name":"a\nb","parts":[{"kind":"filter","id":200,"name":"t"}]}`,
	"raw twins":    `{"contract":1,"name":"raw","parts":[{"kind":"filter","id":200,"name":"t"},{"kind":"filter","id":200,"name":"u"}]}`,
	"raw many":     `{"contract":1,"name":"raw","parts":[` + strings.Repeat(`{"kind":"filter","id":200,"name":"t"},`, 300) + `{"kind":"filter","id":200,"name":"t"}]}`,
}

const goodDescription = `{"contract":1,"name":"raw","version":"1","parts":[{"kind":"filter","id":200,"name":"reverse"}]}`

func init() {
	for role, m := range misbehaviours {
		roles[role] = func() { rawMain(goodDescription, m) }
	}
	for role, text := range descriptions {
		roles[role] = func() { rawMain(text, misbehaviours["raw good"]) }
	}
	roles["raw token"] = func() {
		lis := rawListen()
		conn, _ := lis.Accept()
		f, _ := readFrame(conn)
		conn.Write(frame{seq: f.seq, mtype: 2, body: []byte(`{"contract":9}`)}.append(nil))
		io.Copy(io.Discard, conn)
	}
	roles["raw mute"] = func() {
		conn, _ := rawListen().Accept()
		io.Copy(io.Discard, conn)
	}
}

func rawListen() net.Listener {
	path := os.Getenv(contract.EnvDir) + "/raw"
	lis, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	fmt.Println(contract.Handshake("unix", path))
	return lis
}

// rawMain is a guest with the filter reverse; after its self-test it misbehaves on the
// items that begin with "!".
func rawMain(description string, misbehave misbehaviour) {
	conn, err := rawListen().Accept()
	if err != nil {
		panic(err)
	}
	r := bufio.NewReader(conn)
	for {
		f, err := readFrame(r)
		if err != nil {
			return
		}
		if f.mtype != 1 {
			continue
		}
		reply := frame{seq: f.seq, mtype: 2}
		route, _, _ := strings.Cut(f.route, "?")
		switch route {
		case "/guest/hello":
			var hello struct{ Token string }
			if json.Unmarshal(f.body, &hello) != nil || hello.Token != os.Getenv(contract.EnvToken) {
				return
			}
			reply.body = []byte(`{"contract":1}`)
		case "/guest/describe":
			reply.body = []byte(description)
		case "/guest/ping":
			reply.body = []byte(`{"running":0}`)
		case "/xfer/200/pack", "/xfer/200/unpack":
			reply.body, _ = reverse{}.OnPack(f.body)
		}
		out := reply.append(nil)
		if strings.HasPrefix(string(f.body), "!") {
			if out, err = misbehave(conn, f, out); err != nil {
				return
			}
		}
		if _, err := conn.Write(out); err != nil || f.route == "/guest/drain" {
			return
		}
	}
}

// A guest that breaks the rules of its lane spoils no item of others, and its own end with
// an error.
func TestMisbehaviour(t *testing.T) {
	for _, test := range []struct {
		role  string
		words string // of the error of the item; "" is none
		ends  bool   // whether the process is replaced
	}{
		{"raw good", "", false},
		{"raw twice", "", false},
		{"raw calls", "", false},
		{"raw error", "guest raw: not mine: refused", false},
		{"raw bad error", "guest raw: ", false},
		{"raw other seq", "it has not answered within 1s", false},
		{"raw garbage", "guest raw: 102 Connection Closed", true},
		{"raw huge", "over the limit", true},
		{"raw over", "over the limit", true},
		{"raw cut", "guest raw: 102 Connection Closed", true},
		{"raw closes", "guest raw: 102 Connection Closed", true},
	} {
		t.Run(test.role, func(t *testing.T) {
			tptest.LeakCheck(t)
			h := loadRole(t, test.role, func(g *Guest) { g.MaxItem = 1<<20 - itemRoom })
			await(t, h, Ready)
			out, err := filterOf(t).OnPack([]byte("!x"))
			if test.words == "" {
				require.NoError(t, err)
				require.Equal(t, "x!", string(out))
			} else {
				require.ErrorContains(t, err, test.words)
			}
			if test.ends {
				require.ErrorIs(t, err, ErrGuestUnavailable)
				await(t, h, Starting)
				await(t, h, Ready)
			}
			out, err = filterOf(t).OnPack([]byte("xy"))
			require.NoError(t, err)
			require.Equal(t, "yx", string(out))
			if !test.ends {
				require.Zero(t, h.Restarts())
			}
		})
	}
}

// A guest that says of itself what cannot be is refused.
func TestDescriptions(t *testing.T) {
	for role, words := range map[string]string{
		"raw no json":  "its description is not the JSON that CONTRACT.md describes",
		"raw version":  "it has version 2 of the contract, this host has 1",
		"raw no name":  "its name is empty",
		"raw no parts": "its description has no parts",
		"raw kind":     `its part t is a "teapot", a kind that this host does not know`,
		"raw no id":    "its filter t has the id 0",
		"raw control":  "its name has a control character",
		"raw twins":    "its filters t and u have the same id, 200",
		"raw many":     "has 301 parts, at most 256 are allowed",
		"raw token":    "has answered \"{\\\"contract\\\":9}\" to the first message of its lane",
	} {
		t.Run(role, func(t *testing.T) {
			tptest.LeakCheck(t)
			_, err := tryLoad(t, role)
			require.ErrorContains(t, err, words)
		})
	}
	t.Run("raw mute", func(t *testing.T) {
		tptest.LeakCheck(t)
		_, err := tryLoad(t, "raw mute", func(g *Guest) { g.StartTimeout = time.Second })
		require.ErrorContains(t, err, "it was not ready within 1s: open its lane: ")
	})
}
