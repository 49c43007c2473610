//go:build unix

package inherit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// startDir is the directory of a relative os.Args[0], whatever Chdir is called later.
var startDir, _ = os.Getwd()

func init() {
	text, ok := os.LookupEnv(Env)
	if !ok {
		return
	}
	os.Unsetenv(Env) // another child process must not use it
	successor.adopt(text)
}

// adopt takes over the open files of the table.
func (t *takeover) adopt(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var tab table
	if err := json.Unmarshal([]byte(text), &tab); err != nil {
		t.problem(fmt.Errorf("inherit: environment variable %s: %w", Env, err))
		return
	}
	t.parent = os.Getppid()
	for _, e := range tab.Listeners {
		lis, err := e.open()
		if err != nil {
			t.problem(fmt.Errorf("inherit: descriptor %d for %s %s: %w", e.FD, e.Network, e.Addr, err))
			continue
		}
		t.left = append(t.left, claim{e, lis})
	}
	open := func(fd int, other side) *Line {
		if fd == 0 {
			return nil
		}
		line, err := openLine(fd, other)
		if err != nil {
			t.problem(fmt.Errorf("inherit: descriptor %d for connections: %w", fd, err))
		}
		return line
	}
	if t.line = open(tab.Line, oldProcess); t.line != nil {
		t.adopted = t.line.adopted
	}
	for i, fd := range append([]int{tab.Back}, tab.Older...) {
		other := oldProcess
		if i > 0 {
			other = olderProcess
		}
		if line := open(fd, other); line != nil {
			t.backs = append(t.backs, line)
		}
	}
	ready, err := openReady(tab.Ready)
	if err != nil {
		t.problem(fmt.Errorf("inherit: descriptor %d to report to: %w", tab.Ready, err))
		return
	}
	t.ready = ready
	if len(tab.Listeners) == 0 {
		t.notify()
	}
}

// open makes a listener from the descriptor, and checks that it is bound to e.Real.
func (e entry) open() (net.Listener, error) {
	if e.FD < 3 {
		return nil, errors.New("not a descriptor for a socket")
	}
	syscall.CloseOnExec(e.FD)
	f := os.NewFile(uintptr(e.FD), e.Real)
	defer f.Close() // the listener has a copy
	lis, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	if real := lis.Addr().String(); real != e.Real {
		lis.Close()
		return nil, fmt.Errorf("bound to %s, not %s", real, e.Real)
	}
	return lis, nil
}

// openReady returns a function that writes one byte into the pipe and closes it.
func openReady(fd int) (func(), error) {
	if fd < 3 {
		return nil, errors.New("not a descriptor for a pipe")
	}
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "ready")
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeNamedPipe == 0 {
		return nil, errors.New("not a pipe")
	}
	return func() {
		// An error says that the parent has ended: then it need not be notified.
		_, _ = f.Write([]byte{1})
		f.Close()
	}, nil
}

// HandOver starts this program again, with the same arguments, environment and
// working directory, and returns the child once that has reported that it is ready.
// From then on the files of unix sockets belong to the child, until Recover. takeBack takes
// connections that the child, or one that has replaced it since, has accepted and offers to
// this process, as long as it runs. It may be called concurrently.
//
// If the child ends before, or is not ready when ctx ends, HandOver kills it and
// returns an error; nothing has changed for the caller.
func HandOver(ctx context.Context, listeners []*Listener, takeBack Adopter) (*Child, error) {
	name, err := program()
	if err != nil {
		return nil, fmt.Errorf("inherit: find this program: %w", err)
	}
	listeners = sorted(listeners)
	ready, report, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("inherit: make a pipe: %w", err)
	}
	defer ready.Close()
	line, far, err := newLine()
	if err != nil {
		report.Close()
		return nil, fmt.Errorf("inherit: make a line for connections: %w", err)
	}
	back, farBack, err := newLine()
	if err != nil {
		report.Close()
		line.Close()
		far.Close()
		return nil, fmt.Errorf("inherit: make a line for connections that come back: %w", err)
	}
	backs := append([]*os.File{farBack}, olderLines(ctx)...)
	child, err := start(name, listeners, report, far, backs)
	report.Close() // so that the pipe ends when the child does, and the lines too
	far.Close()
	for _, f := range backs {
		f.Close()
	}
	if err != nil {
		line.Close()
		back.Close()
		return nil, fmt.Errorf("inherit: start %s: %w", name, err)
	}
	go func() { _ = back.Adopt(withLines(takeBack)) }() // ends with the child, or with this process; the child sees an error itself

	c := &Child{Pid: child.Pid, Line: line, listeners: listeners, exited: make(chan struct{})}
	go func() { // ends with the child, or with this process
		state, err := child.Wait()
		c.end = fmt.Sprint(state)
		if err != nil {
			c.end = err.Error()
		}
		close(c.exited)
	}()
	notified := make(chan bool, 1)
	go func() { // ends with the child, or with ready.Close
		n, _ := ready.Read(make([]byte, 1))
		notified <- n == 1
	}()
	var cause error
	select {
	case ok := <-notified:
		if ok {
			for _, l := range listeners {
				l.handed.Store(true)
			}
			return c, nil
		}
		cause = errors.New("it ended or closed its pipe")
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	line.Close()
	_ = child.Kill() // an error says that it has ended
	<-c.exited
	return nil, fmt.Errorf("inherit: process %d did not take over: %w (%s)", child.Pid, cause, c.end)
}

// start starts the program with the listeners as descriptors from 3 on, and
// the pipe and its ends of the lines after them. backs begins with the line to this process.
//
// It uses syscall.ForkExec: os/exec would set the descriptors to blocking mode, and with
// them the listeners of this process, which share their flags.
func start(name string, listeners []*Listener, report, line *os.File, backs []*os.File) (*os.Process, error) {
	files := []uintptr{0, 1, 2}
	defer func() {
		for _, fd := range files[3:] {
			syscall.Close(int(fd))
		}
	}()
	var tab table
	for _, l := range listeners {
		c, err := l.SyscallConn()
		if err != nil {
			return nil, err
		}
		fd, err := dup(c)
		if err != nil {
			return nil, fmt.Errorf("copy the descriptor of %s %s: %w", l.network, l.Addr(), err)
		}
		tab.Listeners = append(tab.Listeners, entry{l.network, l.addr, l.Addr().String(), len(files)})
		files = append(files, uintptr(fd))
	}
	for i, f := range append([]*os.File{report, line}, backs...) {
		c, err := f.SyscallConn()
		if err != nil {
			return nil, err
		}
		fd, err := dup(c)
		if err != nil {
			return nil, err
		}
		switch as := len(files); i {
		case 0:
			tab.Ready = as
		case 1:
			tab.Line = as
		case 2:
			tab.Back = as
		default:
			tab.Older = append(tab.Older, as)
		}
		files = append(files, uintptr(fd))
	}
	text, err := json.Marshal(tab)
	if err != nil {
		return nil, err
	}
	pid, err := syscall.ForkExec(name, os.Args, &syscall.ProcAttr{
		Env:   append(os.Environ(), Env+"="+string(text)),
		Files: files,
	})
	if err != nil {
		return nil, err
	}
	return os.FindProcess(pid)
}

// newLine returns the parent's end of a line, and the child's as a file.
func newLine() (l *Line, child *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	child = os.NewFile(uintptr(fds[1]), "line")
	if l, err = openLine(fds[0], newProcess); err != nil {
		child.Close()
		return nil, nil, err
	}
	return l, child, nil
}

// olderLines returns the child's ends of lines to the processes before this one.
func olderLines(ctx context.Context) (ends []*os.File) {
	for _, l := range BackLines() {
		if !l.lives() {
			continue
		}
		end, err := l.extend(ctx)
		switch {
		case err == nil:
			ends = append(ends, end)
		case !isEnd(err):
			successor.mu.Lock()
			successor.problem(fmt.Errorf("inherit: an older process still runs, and the new one cannot hand connections back to it: %w", err))
			successor.mu.Unlock()
		}
	}
	return ends
}

// isEnd reports whether an error of a line is that the process at its other end has ended.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// extend makes another line to the process at the other end of this one, which offers are
// adopted on in the same way, and returns this side's end.
func (l *Line) extend(ctx context.Context) (end *os.File, err error) {
	far, end, err := newLine()
	if err != nil {
		return nil, err
	}
	defer far.Close() // the other process has a copy
	if err := l.Offer(ctx, lineHead, nil, far.conn, func() bool { return true }); err != nil {
		end.Close()
		return nil, err
	}
	return end, nil
}

// NewLines returns both ends of a line in this process, for tests.
func NewLines() (near, far *Line, err error) {
	near, file, err := newLine()
	if err != nil {
		return nil, nil, err
	}
	fd, err := syscall.Dup(int(file.Fd()))
	file.Close()
	if err == nil {
		far, err = openLine(fd, oldProcess)
	}
	if err != nil {
		near.Close()
	}
	return near, far, err
}

// openLine returns the line with this descriptor, which it owns, to the other process.
func openLine(fd int, other side) (*Line, error) {
	if fd < 3 {
		return nil, errors.New("not a descriptor for a line")
	}
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "line")
	defer f.Close() // the connection has a copy
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("descriptor %d is of a %T, not of a unix socket", fd, c)
	}
	return newLineOver(u, other), nil
}

// dup duplicates a descriptor. The duplicate does not leak into other child processes.
func dup(c syscall.RawConn) (fd int, err error) {
	ctlErr := c.Control(func(from uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if fd, err = syscall.Dup(int(from)); err == nil {
			syscall.CloseOnExec(fd)
		}
	})
	if ctlErr != nil {
		return 0, ctlErr
	}
	return fd, err
}

// program finds this program as the shell that started it would, so that a new file
// under the same name, or behind the same link, runs next.
func program() (string, error) {
	arg := os.Args[0]
	if strings.Contains(arg, "/") && !filepath.IsAbs(arg) {
		arg = filepath.Join(startDir, arg)
	}
	if name, err := exec.LookPath(arg); err == nil && filepath.IsAbs(name) {
		return name, nil
	}
	return os.Executable()
}
