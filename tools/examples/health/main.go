// Command health answers a load balancer's GET requests and a peer's calls on one
// port, and says no before it stops.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"sync/atomic"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/plugins/health"
	_ "github.com/teleport-go/teleport/protos/httproto"
)

func main() {
	tp.SetLoggerLevel("OFF")
	var down atomic.Bool
	h := health.New(health.MaxAge(0)) // no result is used twice: it is an example
	h.SetCheck("database", func(context.Context) error {
		if down.Load() {
			return errors.New("connection refused")
		}
		return nil
	})
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Protocols: []string{"raw", "http"}}, h)
	defer srv.Close()
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	addr := srv.Addrs()[0].String()

	get(addr, "/health/live")
	get(addr, "/health/ready")
	down.Store(true)
	get(addr, "/health/ready")
	get(addr, "/health/live") // a restart would not help
	down.Store(false)

	cli := tp.NewPeer(tp.PeerConfig{})
	defer cli.Close()
	sess, rerr := cli.Dial(addr)
	if rerr != nil {
		log.Fatal(rerr)
	}
	fmt.Println(tp.Invoke[health.Report](context.Background(), sess, "/health/ready", nil))

	// In a program of its own: tp.SetShutdown(30*time.Second, h.DrainFor(5*time.Second), nil)
	h.Drain()
	get(addr, "/health/ready")
}

// get is what curl does.
func get(addr, path string) {
	res, err := http.Get("http://" + addr + path)
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(path, res.Status, strings.TrimSpace(string(body)))
}
