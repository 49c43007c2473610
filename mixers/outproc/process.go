package outproc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// process is the process of a guest. It is the runner.Runner of go-plugin, which starts
// it, waits for the handshake and kills it.
//
// The goroutine that starts it keeps its thread until the process has ended: Linux sends
// Pdeathsig when the thread that has made the process ends, not the host.
type process struct {
	cmd  *exec.Cmd
	logs *logs

	stdin          *os.File // the host's end; the guest sees its end when the host ends
	stdout, stderr *os.File // the host's ends
	first          *io.PipeReader
	firstW         *io.PipeWriter
	quiet          *io.PipeReader // for go-plugin, which gets no stderr
	quietW         *io.PipeWriter

	handshake string        // the first line of stdout; set before exited is closed
	killed    atomic.Bool   // by the host
	started   chan struct{} // closed when Start has returned
	readers   sync.WaitGroup
	exited    chan struct{}
	exitErr   error // set before exited is closed
}

// maxHandshake is the longest first line that is read, in bytes.
const maxHandshake = 4096

// tailTime is how long output is read after the process has ended, which others may
// hold open.
const tailTime = 200 * time.Millisecond

func newProcess(cmd *exec.Cmd, logs *logs) *process {
	p := &process{cmd: cmd, logs: logs, started: make(chan struct{}), exited: make(chan struct{})}
	p.first, p.firstW = io.Pipe()
	p.quiet, p.quietW = io.Pipe()
	return p
}

// Start starts the process.
func (p *process) Start(context.Context) error {
	defer close(p.started)
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // see process
		defer runtime.UnlockOSThread()
		err := p.start()
		started <- err
		if err == nil {
			p.wait()
		}
	}()
	return <-started
}

func (p *process) start() error {
	var files []*os.File
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(files)
			return err
		}
		files = append(files, r, w)
	}
	theirs := []*os.File{files[0], files[3], files[5]}
	ours := []*os.File{files[1], files[2], files[4]}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = theirs[0], theirs[1], theirs[2]
	p.stdin, p.stdout, p.stderr = ours[0], ours[1], ours[2]
	err := p.cmd.Start()
	closeAll(theirs)
	if err != nil {
		closeAll(ours)
		return err
	}
	p.readers.Go(p.readStdout)
	p.readers.Go(func() { p.readLines(bufio.NewReaderSize(&output{File: p.stderr}, maxLine), p.logs.stderr) })
	return nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// wait waits for the end of the process, and of what it has started.
func (p *process) wait() {
	awaitExit(p.cmd.Process.Pid)
	killGroup(p.cmd.Process.Pid)
	state, err := p.cmd.Process.Wait()
	if err == nil {
		p.exitErr = errors.New(state.String())
	} else {
		p.exitErr = err
	}
	p.stdin.Close()
	end := time.Now().Add(tailTime)
	p.stdout.SetReadDeadline(end)
	p.stderr.SetReadDeadline(end)
	p.readers.Wait()
	closeAll([]*os.File{p.stdout, p.stderr})
	close(p.exited)
	p.firstW.Close()
	p.quietW.Close()
}

// output is what a process writes. What it has written before its end is read, however late
// its reader comes: the deadline of wait is for what others write, and those that write nothing.
type output struct {
	*os.File
	late bool // the deadline has passed
}

func (o *output) Read(b []byte) (n int, err error) {
	n, err = o.File.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) && !o.late { // also if there is something
		o.late = true
		o.SetReadDeadline(time.Now().Add(tailTime))
		n, err = o.File.Read(b)
	}
	return n, err
}

// readStdout passes the first line to go-plugin, and logs the others.
func (p *process) readStdout() {
	r := bufio.NewReaderSize(&output{File: p.stdout}, maxLine)
	line, err := r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		p.handshake = string(line)
		return
	}
	p.handshake = strings.TrimRight(string(line[:min(len(line), maxHandshake)]), "\r\n")
	go io.WriteString(p.firstW, p.handshake+"\n") // ends when it is read, or with p.firstW
	p.readLines(r, p.logs.stdout)
}

func (p *process) readLines(r *bufio.Reader, log func(line []byte)) {
	for {
		line, err := r.ReadSlice('\n')
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			log(line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// Wait waits for the end of the process.
func (p *process) Wait(context.Context) error {
	<-p.exited
	return p.exitErr
}

// Kill kills the process and what it has started, and waits for its end. It may be called
// while Start runs, or will be called.
func (p *process) Kill(context.Context) error {
	<-p.started
	if p.cmd.Process == nil {
		return nil // it was not started
	}
	select {
	case <-p.exited:
	default:
		p.killed.Store(true)
		p.cmd.Process.Kill() // and wait kills the group, as long as the id is the process's
		<-p.exited
	}
	return nil
}

func (p *process) Stdout() io.ReadCloser { return p.first }
func (p *process) Stderr() io.ReadCloser { return p.quiet }
func (p *process) Name() string          { return p.cmd.Path }

// ID returns the process id, "" before the start.
func (p *process) ID() string {
	if p.cmd.Process == nil {
		return ""
	}
	return strconv.Itoa(p.cmd.Process.Pid)
}

func (p *process) Diagnose(context.Context) string { return "" }

func (p *process) PluginToHost(network, addr string) (string, string, error) {
	return network, addr, nil
}

func (p *process) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}
