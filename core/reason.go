package tp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/teleport-go/teleport/core/internal/inbox"
	"github.com/teleport-go/teleport/core/socket"
)

// This file finds out why reading a connection has ended.

// readReason returns why reading has ended with err. If the peer has closed the
// connection on the first frame, it adds the protocol's hint at the likely mistake: a
// peer with bytes unread ends the connection by a reset, not by EOF. A later connection
// of a session gets no hint: its peer is restarting.
func readReason(l *link, err error) *CloseReason {
	r := endReason(l, err)
	if errors.Is(r.Cause, inbox.ErrMemory) || errors.Is(r.Cause, errPushes) {
		l.env.stats.memoryCloses.Add(1)
	}
	if f := l.bye.Load(); f != nil && r.Side != SideLocal {
		return f.reason()
	}
	var errno syscall.Errno
	if r.Side == SideRemote || r.Side == SideNetwork && errors.As(r.Cause, &errno) && !errno.Timeout() {
		if hint := l.sock.Hint(); hint != "" && l.epoch == 1 {
			return &CloseReason{r.Side, fmt.Errorf("%w: %s", r.Cause, hint), r.Act}
		}
	}
	return r
}

func endReason(l *link, err error) *CloseReason {
	if r := l.killed.Load(); r != nil {
		return r // this side closed the connection, and recorded why
	}
	if err == io.EOF {
		return &CloseReason{SideRemote, errRemoteClose, "reading"}
	}
	if p := (*socket.Parted)(nil); errors.As(err, &p) {
		l.bye.CompareAndSwap(nil, &farewell{rerr: p.Rerror.Copy()})
		return l.bye.Load().reason()
	}
	var bad *frameError
	if errors.As(err, &bad) {
		return &CloseReason{SideLocal, bad.err, readingFrame}
	}
	return &CloseReason{SideNetwork, err, "reading"}
}

// readError returns err if the network failed or the connection has ended, and else,
// for a frame that cannot be read, a *frameError.
func readError(err error) error {
	if p := (*socket.Parted)(nil); err == io.EOF || errors.As(err, &p) {
		return err // a clean end: not in the middle of a frame
	}
	var netErr net.Error
	var errno syscall.Errno
	if errors.As(err, &netErr) || errors.As(err, &errno) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return &frameError{err}
}
