package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
)

// serveRedis makes a peer whose clients speak the protocol of Redis, whose calls need a token
// and are written down, and is one of these clients.
func serveRedis(ctx context.Context, resp, auth, audit *outproc.Handle) error {
	rights, err := auth.Plugin("auth", outproc.PluginConfig{Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	written, err := audit.Plugin("audit")
	if err != nil {
		return err
	}
	srv, err := tp.Open(tp.PeerConfig{}, rights, written)
	if err != nil {
		return err
	}
	defer srv.Close()
	var values sync.Map
	tp.HandleCall(srv, "/redis/set", func(_ tp.CallCtx, words *[]string) (string, error) {
		if len(*words) != 2 {
			return "", tp.NewRerror(400, "wrong number of arguments for SET", "").Err()
		}
		values.Store((*words)[0], (*words)[1])
		return "OK", nil
	})
	tp.HandleCall(srv, "/redis/get", func(_ tp.CallCtx, words *[]string) (any, error) {
		if len(*words) != 1 {
			return nil, tp.NewRerror(400, "wrong number of arguments for GET", "").Err()
		}
		value, _ := values.Load((*words)[0])
		return value, nil
	})
	if err := resp.ServeGateway(ctx, "resp", srv); err != nil {
		return err
	}

	conn, err := net.Dial("tcp", resp.GatewayAddr("resp")) // redis-cli, for example
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for _, command := range []string{"GET k", "AUTH secret", "SET k", "SET k value", "GET k"} {
		fmt.Fprintf(conn, "%s\r\n", command)
		reply, err := in.ReadString('\n')
		if err == nil && strings.HasPrefix(reply, "$") {
			reply, err = in.ReadString('\n')
		}
		if err != nil {
			return err
		}
		fmt.Printf("redis: %s: %s\n", command, strings.TrimSpace(reply))
	}
	return nil
}

// printAudit prints what the guest has written down.
func printAudit(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for d := json.NewDecoder(f); ; {
		var e guest.Event
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		fmt.Printf("audit: %s code %d user %q\n", e.Method, e.Code, e.Meta["X-User"])
	}
}
