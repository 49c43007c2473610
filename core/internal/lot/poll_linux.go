package lot

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/teleport-go/teleport/core/internal/sockio"
)

// readable has no EPOLLET and no EPOLLONESHOT: what is left after Readable is an
// event again, so nobody has to read until nothing is left, or to arm it again.
const readable = syscall.EPOLLIN | syscall.EPOLLRDHUP

// poller is an epoll of its own. The runtime waits for it, so no thread does.
type poller struct {
	file *os.File
	raw  syscall.RawConn
}

// events are those of one look at the epoll.
type events [128]syscall.EpollEvent

func (e *events) ticket(i int) Ticket {
	return Ticket(uint32(e[i].Pad))<<32 | Ticket(uint32(e[i].Fd))
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
	if err := p.file.SetReadDeadline(time.Now().Add(lookEvery)); err != nil { // the runtime cannot wait for it
		p.file.Close()
		return nil, fmt.Errorf("lot: %w: %w", errors.ErrUnsupported, err)
	}
	return p, nil
}

// arm waits for events of a descriptor, which come with the ticket. Whoever is
// closed leaves the epoll by itself.
func (p *poller) arm(t Ticket, fd int32) error {
	e := syscall.EpollEvent{Events: readable, Fd: int32(uint32(t)), Pad: int32(t >> 32)}
	err := p.control(syscall.EPOLL_CTL_ADD, fd, &e)
	if err == syscall.EEXIST {
		err = p.control(syscall.EPOLL_CTL_MOD, fd, &e)
	}
	return os.NewSyscallError("epoll_ctl", err)
}

func (p *poller) disarm(fd int32) { p.control(syscall.EPOLL_CTL_DEL, fd, nil) }

func (p *poller) control(op int, fd int32, e *syscall.EpollEvent) (err error) {
	failed := p.raw.Control(func(epoll uintptr) {
		err = syscall.EpollCtl(int(epoll), op, int(fd), e)
	})
	if failed != nil {
		return failed
	}
	return err
}

// lookEvery is how often wait says errLook.
const lookEvery = 3 * time.Second

var errLook = errors.New("lot: time to look")

// wait waits for events and returns how many there are.
func (p *poller) wait(e *events) (n int, err error) {
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
		if failed = p.file.SetReadDeadline(time.Now().Add(lookEvery)); failed == nil {
			failed = errLook
		}
		return 0, failed
	case failed != nil:
		return 0, failed
	}
	return max(n, 0), err
}

func (p *poller) close() { p.file.Close() }
