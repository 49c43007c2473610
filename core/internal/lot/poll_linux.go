package lot

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// The constants that package syscall lacks or has in another type.
const (
	readable = syscall.EPOLLIN | syscall.EPOLLRDHUP
	oneShot  = 1 << 30 // EPOLLONESHOT
)

// poller is an epoll of its own. The runtime waits for it, so no thread does.
type poller struct {
	file *os.File
	raw  syscall.RawConn
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &poller{file: os.NewFile(uintptr(fd), "epoll")}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, err
	}
	if err := p.file.SetReadDeadline(time.Time{}); err != nil { // the runtime cannot wait for it
		p.file.Close()
		return nil, fmt.Errorf("lot: %w: %w", errors.ErrUnsupported, err)
	}
	return p, nil
}

// arm waits for one event of fd. Whoever is closed leaves the epoll by itself, so
// a number may have to be added again.
func (p *poller) arm(fd int32) (err error) {
	failed := p.raw.Control(func(epoll uintptr) {
		e := syscall.EpollEvent{Events: readable | oneShot, Fd: fd}
		err = syscall.EpollCtl(int(epoll), syscall.EPOLL_CTL_MOD, int(fd), &e)
		if err == syscall.ENOENT {
			err = syscall.EpollCtl(int(epoll), syscall.EPOLL_CTL_ADD, int(fd), &e)
		}
		err = os.NewSyscallError("epoll_ctl", err)
	})
	if failed != nil {
		return failed
	}
	return err
}

// lookEvery is how often run calls look.
const lookEvery = 3 * time.Second

// run tells of events until close.
func (p *poller) run(ready func(fd int32), look func()) {
	for {
		if p.file.SetReadDeadline(time.Now().Add(lookEvery)) != nil {
			return
		}
		if err := p.wait(ready); !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		look()
	}
}

func (p *poller) wait(ready func(fd int32)) error {
	var events [128]syscall.EpollEvent
	return p.raw.Read(func(epoll uintptr) bool {
		for {
			n, err := syscall.EpollWait(int(epoll), events[:], 0)
			if err == syscall.EINTR {
				continue
			}
			if n <= 0 {
				return false // wait
			}
			for _, e := range events[:n] {
				ready(e.Fd)
			}
		}
	})
}

func (p *poller) close() { p.file.Close() }
