//go:build linux

package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
)

// The two sides of the fault round print what they do, a line each, with one write and
// before it can be seen elsewhere, so that the history is whole when they are killed:
//
//	serves PID ADDR     a server listens
//	run N               it has begun to run call N
//	begin N             the client makes call N
//	ok N                the call has its own reply
//	err N CODE TEXT     the call has ended by an error

// job is the argument of a call: its number, and the size of the reply.
type job struct{ N, Size int }

// work is the reply.
type work struct {
	N    int
	Data []byte
}

const (
	handlerTime = 2 * time.Millisecond
	callTimeout = 20 * time.Second
)

func print(format string, args ...any) { io.WriteString(os.Stdout, fmt.Sprintf(format+"\n", args...)) }

// runFaultServer serves until a signal ends it, or the end of its input.
func runFaultServer(args []string) error {
	fs := flag.NewFlagSet("fault-server", flag.ExitOnError)
	proto := fs.String("proto", "raw", "protocol")
	addr := fs.String("addr", "127.0.0.1:0", "address")
	if err := fs.Parse(args); err != nil {
		return err
	}
	p, err := lookup(*proto)
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(*addr)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	go tp.GraceSignal()
	go func() { // the parent has gone
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	peer := tp.NewPeer(tp.PeerConfig{LocalIP: host, ListenPort: uint16(n)})
	tp.HandleCall(peer, "/work", func(_ tp.CallCtx, j *job) (work, error) {
		print("run %d", j.N)
		time.Sleep(handlerTime)
		return work{j.N, make([]byte, j.Size)}, nil
	})
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		// The process before may not have closed its listener yet.
		if err = peer.Listen(p.make); err == nil || time.Since(began) > 10*time.Second {
			break
		}
	}
	if err != nil {
		return err
	}
	print("serves %d %s", os.Getpid(), peer.Addrs()[0])
	select {} // GraceSignal ends the process
}

// runFaultClient calls all the time, until its input says stop.
func runFaultClient(args []string) error {
	fs := flag.NewFlagSet("fault-client", flag.ExitOnError)
	proto := fs.String("proto", "raw", "protocol")
	addr := fs.String("addr", "", "address")
	callers := fs.Int("callers", 8, "calls at once, of one session")
	async := fs.Int("async", 0, "calls at once with AsyncCall, of the same session")
	comers := fs.Int("comers", 0, "sessions at once that are dialled for one call")
	size := fs.Int("size", 0, "size of the replies, in bytes")
	if err := fs.Parse(args); err != nil {
		return err
	}
	p, err := lookup(*proto)
	if err != nil {
		return err
	}
	client := tp.NewPeer(tp.PeerConfig{RedialTimes: -1, RedialInterval: 10 * time.Millisecond})
	defer client.Close()
	sess, rerr := client.Dial(*addr, p.make)
	if rerr != nil {
		return rerr.Err()
	}
	stop := make(chan struct{})
	go func() {
		bufio.NewReader(os.Stdin).ReadString('\n')
		close(stop)
	}()
	var number atomic.Int64
	var wg sync.WaitGroup
	repeat := func(n int, once func(job)) {
		for range n {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						once(job{int(number.Add(1)), *size})
					}
				}
			})
		}
	}
	repeat(*callers, func(j job) { callOnce(sess, j, invoke) })
	repeat(*async, func(j job) { callOnce(sess, j, invokeAsync) })
	repeat(*comers, func(j job) {
		sess, rerr := client.Dial(*addr, p.make)
		for ; rerr != nil; sess, rerr = client.Dial(*addr, p.make) { // the first Dial is not repeated
			time.Sleep(handlerTime)
		}
		defer sess.Close()
		callOnce(sess, j, invoke)
	})
	wg.Wait()
	return nil
}

// invoke makes a call and waits for its end.
func invoke(ctx context.Context, sess tp.Session, j job) (work, error) {
	return tp.Invoke[work](ctx, sess, "/work", j, tp.WithBodyCodec(codec.JSON))
}

// invokeAsync is invoke with AsyncCall. Nobody but the call itself has its argument
// afterwards.
func invokeAsync(ctx context.Context, sess tp.Session, j job) (reply work, err error) {
	arg := j
	cmd := sess.AsyncCall("/work", &arg, &reply, make(chan tp.CallCmd, 1), tp.WithBodyCodec(codec.JSON), tp.WithContext(ctx))
	arg = job{} // it was encoded
	_, rerr := cmd.Reply()
	return reply, rerr.Err()
}

func callOnce(sess tp.Session, j job, call func(context.Context, tp.Session, job) (work, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	print("begin %d", j.N)
	switch reply, err := call(ctx, sess, j); {
	case err != nil:
		print("err %d %d %v", j.N, tp.Code(err), err)
		time.Sleep(handlerTime) // calls that fail at once must not fill the history
	case reply.N != j.N || len(reply.Data) != j.Size:
		print("err %d 0 the reply is that of call %d, with %d bytes", j.N, reply.N, len(reply.Data))
	default:
		print("ok %d", j.N)
	}
}
