//go:build unix

package outproc

import (
	"bufio"
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
	"github.com/teleport-go/teleport/mixers/outproc/internal/rawlane"
)

// The guests in this file speak the lane by hand, as CONTRACT.md describes it, and then
// break its rules.

// misbehaviour answers items of a lane by hand: it returns the bytes to write.
type misbehaviour func(conn net.Conn, item rawlane.Frame, reply []byte) ([]byte, error)

var misbehaviours = map[string]misbehaviour{
	"raw good": func(_ net.Conn, _ rawlane.Frame, reply []byte) ([]byte, error) { return reply, nil },
	"raw other seq": func(_ net.Conn, item rawlane.Frame, _ []byte) ([]byte, error) {
		return rawlane.Frame{Seq: "zzzz", Type: 2, Body: item.Body}.Append(nil), nil
	},
	"raw twice": func(_ net.Conn, _ rawlane.Frame, reply []byte) ([]byte, error) {
		return append(reply, reply...), nil
	},
	"raw garbage": func(net.Conn, rawlane.Frame, []byte) ([]byte, error) {
		return []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), nil
	},
	"raw huge": func(net.Conn, rawlane.Frame, []byte) ([]byte, error) {
		return []byte{0x7f, 0xff, 0xff, 0xff, 'r', 0}, nil
	},
	"raw over": func(_ net.Conn, item rawlane.Frame, _ []byte) ([]byte, error) {
		return rawlane.Frame{Seq: item.Seq, Type: 2, Body: make([]byte, 1<<20+1)}.Append(nil), nil
	},
	"raw cut": func(conn net.Conn, _ rawlane.Frame, reply []byte) ([]byte, error) {
		conn.Write(reply[:len(reply)-1])
		return nil, errors.New("cut")
	},
	"raw closes": func(net.Conn, rawlane.Frame, []byte) ([]byte, error) { return nil, errors.New("closes") },
	"raw calls": func(_ net.Conn, _ rawlane.Frame, reply []byte) ([]byte, error) {
		b := rawlane.Frame{Seq: "1", Type: 1, Route: "/no/such"}.Append(nil)
		b = rawlane.Frame{Seq: "2", Type: 3, Route: "/no/push"}.Append(b)
		b = rawlane.Frame{Seq: "3", Type: 77}.Append(b)
		return append(b, reply...), nil
	},
	"raw bad error": func(_ net.Conn, item rawlane.Frame, _ []byte) ([]byte, error) {
		return rawlane.Frame{Seq: item.Seq, Type: 2, Meta: "X-Reply-Error=%7Bno+json"}.Append(nil), nil
	},
	"raw error": func(_ net.Conn, item rawlane.Frame, _ []byte) ([]byte, error) {
		return rawlane.Frame{Seq: item.Seq, Type: 2, Meta: "X-Reply-Error=%7B%22code%22%3A422%2C%22reason%22%3A%22not%20mine%22%7D"}.Append(nil), nil
	},
}

// descriptions are what raw guests say of themselves; others are good.
var descriptions = map[string]string{
	"raw no json":  `not json`,
	"raw version":  `{"contract":2,"name":"raw","version":"1","parts":[{"kind":"filter","id":200,"name":"reverse"}]}`,
	"raw no name":  `{"contract":1,"parts":[{"kind":"filter","id":200,"name":"reverse"}]}`,
	"raw no parts": `{"contract":1,"name":"raw"}`,
	"raw bundle":   `{"contract":1,"name":"raw","bundle":-1,"parts":[{"kind":"filter","id":200,"name":"reverse"}]}`,
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
	roles["raw stubborn"] = func() {
		rawMain(goodDescription, misbehaviours["raw good"])
		time.Sleep(time.Hour) // it does not end when its lane has
	}
	roles["raw token"] = func() {
		lis := rawListen()
		conn, _ := lis.Accept()
		f, _ := rawlane.Read(conn)
		conn.Write(rawlane.Frame{Seq: f.Seq, Type: 2, Body: []byte(`{"contract":9}`)}.Append(nil))
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
		f, err := rawlane.Read(r)
		if err != nil {
			return
		}
		if f.Type != 1 {
			continue
		}
		reply := rawlane.Frame{Seq: f.Seq, Type: 2}
		route, _, _ := strings.Cut(f.Route, "?")
		switch route {
		case "/guest/hello":
			var hello struct{ Token string }
			if json.Unmarshal(f.Body, &hello) != nil || hello.Token != os.Getenv(contract.EnvToken) {
				return
			}
			reply.Body = []byte(`{"contract":1}`)
		case "/guest/describe":
			reply.Body = []byte(description)
		case "/xfer/200/pack", "/xfer/200/unpack":
			reply.Body, _ = reverse{}.OnPack(f.Body)
		}
		out := reply.Append(nil)
		if strings.HasPrefix(string(f.Body), "!") || route == contract.RouteBundle {
			if out, err = misbehave(conn, f, out); err != nil {
				return
			}
		}
		if _, err := conn.Write(out); err != nil || f.Route == "/guest/drain" {
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
			h := loadRole(t, test.role, func(g *Guest) {
				g.MaxItem = 1<<20 - itemRoom
				if test.role == "raw other seq" {
					g.Timeout = time.Second
				}
			})
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
		"raw bundle":   "its description has bundles of -1 items: leave bundle out if it takes none",
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
		_, err := tryLoad(t, "raw mute", func(g *Guest) { g.StartTimeout = 5 * time.Second }) // it starts within that on a busy machine
		require.ErrorContains(t, err, "s: open its lane: ")
	})
}
