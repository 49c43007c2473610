//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// A child is this program in another role, in a process of its own: a victim, a
// canary, or a side of the fault round. It is sent lines, and answers each with one
// line of JSON. It is not safe for concurrent use.
type child struct {
	role  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   io.ReadCloser
	lines chan string // closed at the end of its output
	log   tail
}

// answerTimeout bounds the wait for an answer. A victim that is busy with an attack
// answers late, which the canary measures; this is for one that never does.
const answerTimeout = 30 * time.Second

// endTimeout bounds the wait for the end of a child.
const endTimeout = 30 * time.Second

// start starts a program, normally this one, in a role.
func start(program, role string, args ...string) (*child, error) {
	return startWith(program, role, nil, args...)
}

// startWith is start for a child that says more than answers: line is called with each
// of its lines, and not concurrently.
func startWith(program, role string, line func(string), args ...string) (*child, error) {
	c := &child{
		role:  role,
		cmd:   exec.Command(program, append([]string{role}, args...)...),
		lines: make(chan string, 1),
	}
	c.cmd.Stderr = &c.log
	c.cmd.WaitDelay = time.Second
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if c.out, err = c.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(c.lines)
		in := bufio.NewReader(c.out)
		for {
			text, err := in.ReadString('\n')
			if err != nil {
				return // what is behind the last line end was cut off
			}
			if text = strings.TrimSpace(text); line != nil {
				line(text)
			} else {
				c.lines <- text
			}
		}
	}()
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// ask sends a command and decodes the answer into v.
func (c *child) ask(v any, command string, args ...any) error {
	if _, err := fmt.Fprintf(c.in, command+"\n", args...); err != nil {
		return c.gone(err)
	}
	return c.receive(v)
}

// receive decodes the next line into v.
func (c *child) receive(v any) error {
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	select {
	case line, ok := <-c.lines:
		if !ok {
			return c.gone(io.ErrUnexpectedEOF)
		}
		if err := json.Unmarshal([]byte(line), v); err != nil {
			return fmt.Errorf("%s: answer %q: %w", c.role, line, err)
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("%s: no answer within %v", c.role, answerTimeout)
	}
}

// gone returns the error of a child that has ended by itself, with its last words.
func (c *child) gone(err error) error {
	c.end()
	return fmt.Errorf("the process of the %s has ended (%v): %w\n%s", c.role, c.cmd.ProcessState, err, c.log.String())
}

// end closes the child's input, at which it ends, and kills it if it does not. It may
// be called again.
func (c *child) end() {
	if c.cmd.ProcessState != nil {
		return
	}
	c.in.Close()
	kill := time.AfterFunc(endTimeout, func() {
		c.cmd.Process.Kill()
		c.out.Close() // a process that it has started may hold the other end
	})
	defer kill.Stop()
	for range c.lines { // Wait closes the pipe, so it comes after the last line
	}
	c.cmd.Wait()
}

// serveLines is the other side of ask: it calls answer for each line of the standard
// input, and prints what it returns. It returns at the end of the input.
func serveLines(answer func(line string) any) {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		say(answer(in.Text()))
	}
}

// say prints a line of JSON.
func say(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(append(b, '\n'))
}

// tail keeps the first and the last bytes that were written to it.
type tail struct {
	mu   sync.Mutex
	head []byte
	rest []byte
}

const tailPart = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(len(p), tailPart-len(t.head))
	t.head = append(t.head, p[:n]...)
	t.rest = append(t.rest, p[n:]...)
	if cut := len(t.rest) - tailPart; cut > 0 {
		t.rest = append(t.rest[:0], t.rest[cut:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.head) + string(t.rest)
}
