package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

type demoCmd struct {
	Duration time.Duration `default:"5s" help:"How long the benchmark runs."`
	Callers  int           `default:"64" help:"How many goroutines of the client call at once in the benchmark, over one connection."`
	Sessions int           `default:"200" help:"How many sessions are open, and call, while the process of the server is replaced; 0: it is not."`
	Quick    bool          `help:"A benchmark of one second."`
}

// Run shows one thing after another and ends with a summary.
func (c *demoCmd) Run(ctx context.Context) error {
	if c.Quick {
		c.Duration = time.Second
	}
	if c.Callers < 1 || c.Duration <= 0 || c.Sessions < 0 {
		return fmt.Errorf("teleport: demo: --callers and --duration must be above 0, not %d and %v, and --sessions not below, not %d", c.Callers, c.Duration, c.Sessions)
	}
	tp.SetLoggerLevel("OFF")
	d := &demo{out: os.Stdout}
	if err := d.run(ctx, c); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return fmt.Errorf("teleport: demo: %w", err)
	}
	return nil
}

// demo is a client and the process of its server.
type demo struct {
	out     io.Writer
	addr    string
	breaker breaker
	pushed  chan string
	peer    tp.Peer
	sess    tp.Session
	shown   [][2]string // the lines of the summary
}

func (d *demo) run(ctx context.Context, c *demoCmd) error {
	stop, err := d.startServer(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := d.connect(ctx); err != nil {
		return err
	}
	defer d.peer.Close()
	for _, act := range []func(context.Context) error{d.talk, d.fail, d.redial} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	if c.Sessions > 0 && runtime.GOOS != "windows" {
		if err := d.restart(ctx, c.Sessions); err != nil {
			return err
		}
	}
	if err := d.bench(ctx, c.Callers, c.Duration); err != nil {
		return err
	}
	d.summary()
	return nil
}

// startServer runs this program again as the server.
func (d *demo) startServer(ctx context.Context) (stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "demo-server")
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the server: %w", err)
	}
	stop = func() {
		stdin.Close() // ends the server
		cmd.Wait()
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		stop()
		return nil, fmt.Errorf("the server's address: %w", err)
	}
	d.addr = strings.TrimSpace(line)
	d.heading("Two processes on one machine")
	d.say("server", "pid %d listens on tcp %s", cmd.Process.Pid, d.addr)
	return stop, nil
}

// connect makes the client: it serves a push and a call of the server, and
// redials.
func (d *demo) connect(ctx context.Context) error {
	d.pushed = make(chan string, 16)
	peer, err := tp.Open(tp.PeerConfig{RedialTimes: 20, RedialInterval: 10 * time.Millisecond}, &d.breaker)
	if err != nil {
		return err
	}
	tp.HandlePush(peer, "/push/status", func(_ tp.PushCtx, arg *string) error {
		d.pushed <- *arg
		return nil
	})
	tp.HandleCall(peer, "/client/name", func(tp.CallCtx, *struct{}) (string, error) {
		return fmt.Sprintf("client with pid %d", os.Getpid()), nil
	})
	sess, rerr := peer.DialContext(ctx, d.addr)
	if rerr != nil {
		return rerr.Err()
	}
	d.peer, d.sess = peer, sess
	d.say("client", "pid %d has dialled from %s", os.Getpid(), sess.LocalAddr())
	return nil
}

const patience = 10 * time.Second // longest wait for anything but the benchmark

// talk shows a call, a push, and a call of the server to the client.
func (d *demo) talk(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d.heading("Calls and pushes, both ways on one connection")
	numbers := []int{1, 2, 3, 4, 5}
	start := time.Now()
	var sum int
	if rerr := d.sess.Call("/math/add?author=henrylee2cn", numbers, &sum, tp.WithContext(ctx)).Rerror(); rerr != nil {
		return rerr.Err()
	}
	d.say("client", "Call /math/add?author=henrylee2cn %v -> %d in %v", numbers, sum, round(time.Since(start)))
	if sum != 15 {
		return fmt.Errorf("the sum of %v came back as %d", numbers, sum)
	}
	select {
	case text := <-d.pushed:
		d.say("client", "got a push of the server at /push/status: %q", text)
	case <-ctx.Done():
		return fmt.Errorf("no push of the server: %w", context.Cause(ctx))
	}
	hello, err := tp.Invoke[string](ctx, d.sess, "/demo/greet", nil)
	if err != nil {
		return err
	}
	d.say("client", "Call /demo/greet -> %q; the server has called the client for the name", hello)
	d.shown = append(d.shown, [2]string{"two-way", "a call, a push, and a call from the server to the client"})
	return nil
}

// fail shows what a caller sees when things go wrong.
func (d *demo) fail(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d.heading("Errors, as the caller sees them")
	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	for _, f := range []struct {
		ctx    context.Context
		what   string
		method string
		arg    any
		want   error
	}{
		{ctx, "no such method", "/math/subtract", []int{3, 2}, tp.ErrNotFound},
		{ctx, "an argument that does not fit", "/math/add", "five", tp.ErrBadMessage},
		{ctx, "the handler panics", "/math/divide", []int{1, 0}, tp.ErrInternalServerError},
		{short, "a deadline of 50ms", "/demo/sleep", time.Minute, tp.ErrHandleTimeout},
	} {
		_, err := tp.Invoke[any](f.ctx, d.sess, f.method, f.arg)
		if !errors.Is(err, f.want) {
			return fmt.Errorf("%s: %s ended with %v, want %w", f.what, f.method, err, f.want)
		}
		r := tp.ToRerror(err)
		text := fmt.Sprintf("%d %s", r.Code, r.Message)
		if r.Reason != "" {
			text += ": " + r.Reason
		}
		d.say("client", "%-31s %s -> %s", f.what+":", f.method, text)
	}
	if _, err := tp.Invoke[int](ctx, d.sess, "/math/add", []int{1, 1}); err != nil {
		return fmt.Errorf("a call after the errors: %w", err)
	}
	d.say("client", "the session is still the same one, and works")
	d.shown = append(d.shown, [2]string{"errors", "404, 400, a panic as 500, a deadline as 408; none cost the connection"})
	return nil
}

func (d *demo) summary() {
	d.heading("Summary")
	for _, line := range d.shown {
		fmt.Fprintf(d.out, "  %-12s %s\n", line[0], line[1])
	}
	fmt.Fprint(d.out, "\nNext: the two programs of the first section are in tools/examples/quickstart; README.md has the rest.\n")
}

func (d *demo) heading(text string) { fmt.Fprintf(d.out, "\n%s\n", text) }

func (d *demo) say(who, format string, args ...any) {
	fmt.Fprintf(d.out, "  %s | %s\n", who, fmt.Sprintf(format, args...))
}

// round leaves three digits or so.
func round(d time.Duration) time.Duration {
	for unit := time.Nanosecond; unit < time.Second; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
	return d.Round(10 * time.Millisecond)
}
