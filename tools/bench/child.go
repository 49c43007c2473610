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

// patience is how long a child may take for an answer beyond what it was asked to
// measure: starting, connecting, and the last calls of a window. A candidate may
// have its own.
const patience = 60 * time.Second

// ending is how long a child may take to end when it is told to.
const ending = 20 * time.Second

// child is a process that serves or calls for a candidate, spoken to by lines.
// One goroutine uses it.
type child struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // closed at the end of its output
	log   childLog

	patience time.Duration
	failed   error // why it is known to be of no use any more
}

// start starts a candidate's program, with a command of harness.Main.
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

		patience: cmp.Or(c.patience, patience),
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

// read passes on the lines that are meant for the driver; the others are some
// framework's log. It ends when the child does.
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

// tell waits for the child's next line, for as long as its work takes and some
// patience, and reads it into v. A child that says nothing is killed.
func (c *child) tell(v any, work time.Duration) error {
	limit := work + c.patience
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
		return fmt.Errorf("%s: ended without a word", c.name)
	case <-timer.C:
		c.failed = fmt.Errorf("%s: said nothing for %v, and was killed", c.name, limit)
		c.cmd.Process.Kill()
		return c.failed
	}
}

// say writes a line to the child.
func (c *child) say(line string) error {
	_, err := fmt.Fprintln(c.in, line)
	return err
}

// usage asks a server what it has used so far; the command "gc" lets it collect
// its garbage before.
func (c *child) usage(command string) (u harness.Usage, err error) {
	if err := c.say(command); err != nil {
		return u, err
	}
	return u, c.tell(&u, 0)
}

// endBoth ends the server first: the side that closes a connection first has its
// port taken for a minute more, and a client has thousands of them.
func endBoth(srv, cli *child) error { return errors.Join(srv.end(), cli.end()) }

// end lets the child end, and kills one that does not. It tells what tell has not
// told already.
func (c *child) end() error {
	if c.cmd.ProcessState != nil {
		return nil
	}
	c.in.Close()
	kill := time.AfterFunc(min(ending, c.patience), func() { c.cmd.Process.Kill() })
	for range c.lines { // Wait closes the pipe, so it comes after the last line
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
