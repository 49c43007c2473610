// Command respguest is a guest with a gateway for RESP, the protocol of Redis: the host's
// handlers answer redis-cli. A command such as SET k v is a call of /redis/set with the
// argument ["k", "v"], and its reply is a string, a number, null or a list of these. After
// AUTH the calls have the password as their metadata X-Token. The host sends a message to a
// client by a push of /message.
//
// It listens at the address of its configuration, {"listen": "127.0.0.1:6379"}, or else at
// a free port of 127.0.0.1.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
)

func main() {
	g := &resp{listen: "127.0.0.1:0"}
	guest.Config{
		Configure: g.configure,
		Schema:    json.RawMessage(`{"type": "object", "properties": {"listen": {"type": "string"}}}`),
	}.Serve(g)
}

type resp struct{ listen string }

func (g *resp) configure(config json.RawMessage) error {
	var c struct{ Listen string }
	if config == nil {
		return nil
	}
	if err := json.Unmarshal(config, &c); err != nil || c.Listen == "" {
		return fmt.Errorf(`want a configuration such as {"listen": "127.0.0.1:6379"}, not %s`, config)
	}
	g.listen = c.Listen
	return nil
}

func (*resp) Name() string { return "resp" }

func (g *resp) Listen() (net.Listener, error) { return net.Listen("tcp", g.listen) }

// Refuse is called with a connection that is one too many; the words are those of Redis.
func (*resp) Refuse(conn net.Conn) { io.WriteString(conn, "-ERR max number of clients reached\r\n") }

// Routes are what the host calls and pushes. One Write is one reply, so they do not mix
// with those of Serve.
func (*resp) Routes(r tp.Router) {
	tp.HandlePush(r, "/message", func(ctx tp.PushCtx, text *string) error {
		_, err := guest.Foreign(ctx.Session()).Write(appendReply(nil, []any{"message", *text}))
		return err
	})
}

// Serve answers one command after the other.
func (*resp) Serve(conn net.Conn, host tp.Session) {
	in := bufio.NewReaderSize(conn, maxLine)
	token := ""
	for {
		command, err := readCommand(in)
		if err != nil {
			if errors.Is(err, errSyntax) {
				fmt.Fprintf(conn, "-ERR Protocol error: %v\r\n", err)
			}
			return
		}
		if len(command) == 0 {
			continue
		}
		var out []byte
		switch name := strings.ToLower(command[0]); {
		case name == "auth" && len(command) == 1:
			out = append(out, "-ERR wrong number of arguments for AUTH\r\n"...)
		case name == "auth":
			token = command[len(command)-1] // AUTH password, or AUTH user password
			out = append(out, "+OK\r\n"...)
		default:
			var reply any
			if r := host.Call("/redis/"+name, command[1:], &reply, tp.WithSetMeta("X-Token", token)).Rerror(); r.HasError() {
				out = fmt.Appendf(out, "-ERR %s\r\n", oneLine(r.Message))
			} else {
				out = appendReply(out, reply)
			}
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}
