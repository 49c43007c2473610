package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// answerTimeout bounds the wait for a child's answer, beyond the length of what it
// measures: it covers the start, the connecting, and the last calls of a window.
const answerTimeout = 60 * time.Second

// endTimeout bounds the wait for a child to end.
const endTimeout = 20 * time.Second

// child is a process that serves or calls for a candidate. It reads and writes
// lines. It is not safe for concurrent use.
type child struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // closed at the end of its output
	log   childLog

	timeout time.Duration
	failed  error // set when the child has been killed
}

// start starts the candidate's program with a command of harness.Main.
func (c candidate) start(command string, args ...string) (*child, error) {
	if c.err != nil {
		return nil, c.err
	}
	program := c.program
	if program == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		program = self
	}
	ch := &child{
		name:  fmt.Sprintf("%s, %s", c.name, command),
		cmd:   exec.Command(program, append([]string{command, "-peer", c.name}, args...)...),
		lines: make(chan string, 1),

		timeout: cmp.Or(c.timeout, answerTimeout),
	}
	ch.cmd.Stderr = &ch.log
	ch.cmd.WaitDelay = time.Second
	var err error
	if ch.in, err = ch.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := ch.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := ch.cmd.Start(); err != nil {
		return nil, err
	}
	go ch.read(out)
	return ch, nil
}

// read sends the lines for the driver to c.lines, and writes all others, a
// framework's log, to c.log. It ends when the child does.
func (c *child) read(out io.Reader) {
	defer close(c.lines)
	in := bufio.NewReader(out)
	for {
		s, err := in.ReadString('\n')
		if text, ok := strings.CutPrefix(s, harness.Mark); ok {
			c.lines <- strings.TrimSpace(text)
		} else {
			io.WriteString(&c.log, s)
		}
		if err != nil {
			return
		}
	}
}

// receive waits for the child's next line, at most for work and its timeout, and
// decodes it into v. A child that does not answer in time is killed.
func (c *child) receive(v any, work time.Duration) error {
	limit := work + c.timeout
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case s, ok := <-c.lines:
		if ok {
			return json.Unmarshal([]byte(s), v)
		}
		if err := c.end(); err != nil {
			return err
		}
		return fmt.Errorf("%s: ended without an answer", c.name)
	case <-timer.C:
		c.failed = fmt.Errorf("%s: no answer for %v, and was killed", c.name, limit)
		c.cmd.Process.Kill()
		return c.failed
	}
}

// send writes a line to the child.
func (c *child) send(line string) error {
	_, err := fmt.Fprintln(c.in, line)
	return err
}

// usage returns what a server has used so far. The command is "usage", or "gc" to
// collect the server's garbage first.
func (c *child) usage(command string) (u harness.Usage, err error) {
	if err := c.send(command); err != nil {
		return u, err
	}
	return u, c.receive(&u, 0)
}

// endBoth ends the server, then the client: the side that closes a connection first
// keeps its port in TIME_WAIT for a minute, and a client has thousands of ports.
func endBoth(srv, cli *child) error { return errors.Join(srv.end(), cli.end()) }

// end closes the child's standard input, waits for the child, and kills it if it
// does not end in time. It returns no error that receive has already returned.
func (c *child) end() error {
	if c.cmd.ProcessState != nil {
		return nil
	}
	c.in.Close()
	kill := time.AfterFunc(min(endTimeout, c.timeout), func() { c.cmd.Process.Kill() })
	for range c.lines { // Wait closes the pipe, so it must come after the last line
	}
	err := c.cmd.Wait()
	switch {
	case !kill.Stop() && c.failed == nil:
		return fmt.Errorf("%s: did not end, and was killed", c.name)
	case err == nil || c.failed != nil:
		return nil
	case c.log.reason() != "":
		return fmt.Errorf("%s: %w: %s", c.name, err, c.log.reason())
	}
	return fmt.Errorf("%s: %w", c.name, err)
}
