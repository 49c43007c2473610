// Command detail shows the access log with PrintDetail, CountTime and
// SlowCometDuration; and metadata, and a pipe that compresses.
package main

import (
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/xfer"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

// Home is a handler.
type Home struct{ tp.CallCtx }

// Test is /home/test. It answers with metadata of its own.
func (h *Home) Test(arg *string) (string, *tp.Rerror) {
	h.AddMeta("served-by", "home")
	return strings.Repeat(*arg, 2), nil
}

// Nap is /home/nap.
func (h *Home) Nap(arg *string) (string, *tp.Rerror) {
	<-time.After(1100 * time.Millisecond)
	return *arg, nil
}

// logger writes to stdout, without what changes from run to run.
func logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey, "addr", "cost", "size":
				return slog.Attr{}
			case slog.MessageKey: // dial ok (network…
				text, _, _ := strings.Cut(a.Value.String(), " (")
				return slog.String(a.Key, text)
			}
			return a
		},
	}))
}

func main() {
	tp.SetLoggerLevel("INFO")
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Logger: slog.New(slog.DiscardHandler)})
	defer srv.Close()
	srv.RouteCall(new(Home))
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}

	cli := tp.NewPeer(tp.PeerConfig{
		PrintDetail:       true,
		CountTime:         true,
		SlowCometDuration: time.Second,
		RedialTimes:       3,
		Logger:            logger(),
	})
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		log.Fatal(rerr)
	}

	var result string
	call := sess.Call("/home/test?peer_id=110", "abc", &result,
		tp.WithAddMeta("request-id", "7"), tp.WithXferPipe(xfer.Gzip))
	fmt.Printf("result %s, %v, metadata %s\n", result, call.Rerror(), call.InputMeta())
	sess.Call("/home/nap", "zzz", &result)
	sess.Call("/home/away", "?", &result)
}
