package poller

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/teleport-go/teleport/core/internal/sockio"
)

// readable has no EPOLLET and no EPOLLONESHOT: bytes that OnReadable leaves cause
// another event. So it need not read until nothing is left, and nothing must be rearmed.
const readable = syscall.EPOLLIN | syscall.EPOLLRDHUP

// epoll is the Poller's own epoll. The runtime waits for it, so no thread does.
type epoll struct {
	file *os.File
	raw  syscall.RawConn
}

// events holds the events that one wait returns.
type events [128]syscall.EpollEvent

func (e *events) key(i int) Key {
	return Key(uint32(e[i].Pad))<<32 | Key(uint32(e[i].Fd))
}

// hungUp reports whether the event says that the other side has hung up.
func (e *events) hungUp(i int) bool {
	return e[i].Events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0
}

func newEpoll() (*epoll, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &epoll{file: os.NewFile(uintptr(fd), "epoll")}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, err
	}
	if err := p.file.SetReadDeadline(time.Now().Add(sweepEvery)); err != nil { // the runtime cannot wait for an epoll on this system
		p.file.Close()
		return nil, fmt.Errorf("poller: %w: %w", errors.ErrUnsupported, err)
	}
	return p, nil
}

// add makes wait return the events of a descriptor, with the key. A descriptor leaves
// the epoll when its last duplicate is closed.
func (p *epoll) add(k Key, fd int32) error {
	e := syscall.EpollEvent{Events: readable, Fd: int32(uint32(k)), Pad: int32(k >> 32)}
	err := p.control(syscall.EPOLL_CTL_ADD, fd, &e)
	if err == syscall.EEXIST {
		err = p.control(syscall.EPOLL_CTL_MOD, fd, &e)
	}
	return os.NewSyscallError("epoll_ctl", err)
}

func (p *epoll) remove(fd int32) { p.control(syscall.EPOLL_CTL_DEL, fd, nil) }

func (p *epoll) control(op int, fd int32, e *syscall.EpollEvent) (err error) {
	failed := p.raw.Control(func(epoll uintptr) {
		err = syscall.EpollCtl(int(epoll), op, int(fd), e)
	})
	if failed != nil {
		return failed
	}
	return err
}

// sweepEvery is how often wait returns errSweep.
const sweepEvery = 3 * time.Second

var errSweep = errors.New("poller: time to sweep")

// wait waits for events and returns how many there are.
func (p *epoll) wait(e *events) (n int, err error) {
	failed := p.raw.Read(func(epoll uintptr) bool {
		for {
			n, err = sockio.Events(epoll, e[:])
			if err != syscall.EINTR {
				return n != 0
			}
		}
	})
	switch {
	case errors.Is(failed, os.ErrDeadlineExceeded):
		if failed = p.file.SetReadDeadline(time.Now().Add(sweepEvery)); failed == nil {
			failed = errSweep
		}
		return 0, failed
	case failed != nil:
		return 0, failed
	}
	return max(n, 0), err
}

func (p *epoll) close() { p.file.Close() }
