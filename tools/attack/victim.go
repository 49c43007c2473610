//go:build linux

package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	// hold is how long the slow handlers keep their argument.
	hold = 3 * time.Second
	// replySize is the size of the replies of /mega.
	replySize = 1 << 20
)

// hello is the victim's first line: its addresses by protocol.
type hello struct{ Addrs map[string]string }

// levels is the victim's answer to "levels".
type levels struct {
	Goroutines int
	Sessions   int
	Pushes     int            // that /push/slow has handled
	Held       int            // calls that /slow has begun to handle
	Ends       map[string]int // why sessions ended
}

// outcome is the victim's answer to "dial": how its calls at a hostile server ended.
type outcome struct {
	Dial    string // the error of Dial
	OK      int
	Errors  map[string]int
	Longest time.Duration
}

// record is what JSON and CBOR are decoded into: an element of few bytes on the wire is
// one of 150 in memory.
type record struct {
	A, B, C, D string
	E, F       []byte
	G          map[string]string
	H          *record
	I, J       int64
}

// element is what XML is decoded into.
type element struct {
	Children []element `xml:"a"`
}

// victim is the process that is attacked: a peer that serves every protocol, and dials
// hostile servers on command.
type victim struct {
	cfg          tp.PeerConfig
	pushes, held atomic.Int64

	mu   sync.Mutex // guards ends
	ends map[string]int
}

func runVictim(args []string) error {
	v := &victim{ends: map[string]int{}}
	fs := flag.NewFlagSet("victim", flag.ExitOnError)
	fs.Int64Var(&v.cfg.ReadMemory, "memory", 256<<20, "ReadMemory, in bytes")
	fs.DurationVar(&v.cfg.FrameTimeout, "frame-timeout", 0, "FrameTimeout")
	fs.DurationVar(&v.cfg.IdleTimeout, "idle-timeout", 0, "IdleTimeout")
	fs.DurationVar(&v.cfg.WriteTimeout, "write-timeout", 0, "WriteTimeout")
	if err := fs.Parse(args); err != nil {
		return err
	}
	v.cfg.LocalIP = "127.0.0.1"
	v.cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	peer := tp.NewPeer(v.cfg, &tp.PluginImpl{PluginName: "ends", OnPostDisconnect: v.ended})
	defer peer.Close()
	v.route(peer)
	h := hello{map[string]string{}}
	for _, p := range protocols {
		if err := peer.Listen(p.make); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		addrs := peer.Addrs()
		h.Addrs[p.name] = addrs[len(addrs)-1].String()
	}
	say(h)
	serveLines(func(line string) any {
		switch f := strings.Fields(line); f[0] {
		case "levels":
			return v.levels(peer)
		case "dial":
			return v.dial(f[1], f[2], f[3], f[4], f[5])
		}
		return fmt.Sprintf("unknown command %q", line)
	})
	return nil
}

func (v *victim) ended(sess tp.BaseSession) *tp.Rerror {
	text := sess.CloseReason().String()
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.ends) < 100 || v.ends[text] > 0 {
		v.ends[text]++
	}
	return nil
}

func (v *victim) levels(peer tp.Peer) levels {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := levels{
		Goroutines: runtime.NumGoroutine(),
		Sessions:   peer.CountSession(),
		Pushes:     int(v.pushes.Load()),
		Held:       int(v.held.Load()),
		Ends:       map[string]int{},
	}
	for text, n := range v.ends {
		l.Ends[text] = n
	}
	return l
}

func (v *victim) route(r tp.Router) {
	tp.HandleCall(r, "/echo", func(_ tp.CallCtx, arg *[]byte) ([]byte, error) { return *arg, nil })
	tp.HandleCall(r, "/slow", func(ctx tp.CallCtx, arg *[]byte) ([]byte, error) {
		v.held.Add(1)
		select {
		case <-time.After(hold):
		case <-ctx.Context().Done():
		}
		return []byte(fmt.Sprint(len(*arg))), nil // the argument was held until here
	})
	mega := bytes.Repeat([]byte("m"), replySize)
	tp.HandleCall(r, "/mega", func(tp.CallCtx, *[]byte) ([]byte, error) { return bytes.Clone(mega), nil })
	tp.HandlePush(r, "/push/slow", func(tp.PushCtx, *[]byte) error {
		if v.pushes.Add(1) == 1 {
			time.Sleep(hold)
		}
		return nil
	}, tp.Ordered())

	decode[[]record](r, "/decode/records")
	decode[any](r, "/decode/any")
	decode[element](r, "/decode/element")
	decode[map[string][]string](r, "/decode/form")
	decode[structpb.ListValue](r, "/decode/protobuf")
	decode[bag](r, "/decode/bag")
}

// decode routes a handler that decodes its argument, and no more.
func decode[T any](r tp.Router, route string) {
	tp.HandleCall(r, route, func(ctx tp.CallCtx, _ *T) ([]byte, error) {
		if ctx.GetBodyCodec() != codec.Thrift {
			ctx.SetBodyCodec(codec.Plain)
		}
		return []byte{0}, nil
	})
}

// dial makes calls at once over sessions to a server, and waits for their ends.
func (v *victim) dial(proto, addr, sessions, calls, timeout string) (o outcome) {
	p, err := lookup(proto)
	if err != nil {
		return outcome{Dial: err.Error()}
	}
	nSessions, _ := strconv.Atoi(sessions)
	nCalls, _ := strconv.Atoi(calls)
	limit, _ := time.ParseDuration(timeout)
	client := tp.NewPeer(v.cfg)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	o.Errors = map[string]int{}
	var mu sync.Mutex // guards o
	var wg sync.WaitGroup
	began := time.Now()
	for range nSessions {
		sess, rerr := client.Dial(addr, p.make)
		if rerr != nil {
			o.Dial = rerr.String()
			break
		}
		for range nCalls {
			wg.Go(func() {
				_, err := tp.Invoke[[]byte](ctx, sess, "/echo", p.echo, tp.WithBodyCodec(p.codec))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					o.Errors[err.Error()]++
				} else {
					o.OK++
				}
				o.Longest = time.Since(began)
			})
		}
	}
	wg.Wait()
	return o
}
