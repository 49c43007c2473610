package inherit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// A Line is what parent and child speak over while connections move from one to the
// other: a pair of connected unix sockets. Each connection crosses by itself:
//
//	parent  'o' number  lengths of head and rest  head rest, and the descriptor
//	child   'y' number, or 'n' number  length of a text  text
//	parent  'g' number: the child has the connection; or 'x' number: it has not
//
// All numbers are big endian, of 8 bytes for the number of an offer, 4 for a length, 2
// for that of a text. The child does not touch the connection before 'g', so whatever
// happens to the child or to the line before, the connection is the parent's. Anything
// else on the line ends it. What is offered may have no descriptor.
//
// Over a line back (table.Back, table.Older) connections move to an older process: there
// the child offers, and what is said of parent and child is the other way round.
type Line struct {
	conn    *net.UnixConn
	other   side          // the process at the other end
	adopted chan struct{} // closed by Adopt when it returns

	mu     sync.Mutex // of the parent: one offer at a time
	number uint64
	err    error // why the line has ended
}

// side is what errors call the process at the other end of a line.
type side string

const (
	oldProcess   side = "the old process"
	newProcess   side = "the new process"
	olderProcess side = "an older process" // before the old one
	newerProcess side = "a newer process"  // after the new one
)

func newLineOver(conn *net.UnixConn, other side) *Line {
	return &Line{conn: conn, other: other, adopted: make(chan struct{})}
}

// Limits of an offer and of an answer, in bytes.
const (
	MaxHead = 1 << 20
	MaxRest = 4 << 20
	maxText = 1 << 10
)

// Kinds of what is said on a line.
const (
	saysOffer = 'o'
	saysYes   = 'y'
	saysNo    = 'n'
	saysGo    = 'g'
	saysDrop  = 'x'
)

var (
	// ErrRefused is in the error of an Offer that the other process has refused.
	ErrRefused = errors.New("refused")
	// ErrNotReady is in the error of an Offer that this process has not made, or has taken
	// back since ready has returned false. The line goes on.
	ErrNotReady = errors.New("the connection cannot be handed over now")
)

// answerTime is how long the child may take for one connection.
const answerTime = 2 * time.Second

// Offer offers the connection c, a syscall.Conn, to the other process; if c is nil, no
// descriptor is sent. If the other process accepts it, and ready returns true then, the
// connection is the other's when Offer returns nil: the caller closes its own descriptor,
// and does nothing else with it. After an error the connection is the caller's. Offers are
// made one after the other; an error that matches neither ErrRefused nor ErrNotReady ends
// the line.
func (l *Line) Offer(ctx context.Context, head, rest []byte, c net.Conn, ready func() bool) error {
	var raw syscall.RawConn
	if c != nil {
		sc, ok := c.(syscall.Conn)
		if !ok {
			return fmt.Errorf("%w: a %T has no descriptor", ErrNotReady, c)
		}
		var err error
		if raw, err = sc.SyscallConn(); err != nil {
			return fmt.Errorf("%w: %w", ErrNotReady, err)
		}
	}
	if len(head) > MaxHead || len(rest) > MaxRest {
		return fmt.Errorf("%w: its state of %d bytes, or its %d unread bytes, are over the limit", ErrNotReady, len(head), len(rest))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if err := context.Cause(ctx); err != nil { // while others were offered
		return fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	l.number++
	until := time.Now().Add(answerTime)
	if at, ok := ctx.Deadline(); ok && at.Before(until) {
		until = at
	}
	l.conn.SetDeadline(until)
	err := l.offer(head, rest, raw, ready)
	if err != nil && !errors.Is(err, ErrRefused) && !errors.Is(err, ErrNotReady) {
		l.err = fmt.Errorf("%s cannot be given connections: %w", l.other, err)
		l.conn.Close()
		return l.err
	}
	return err
}

func (l *Line) offer(head, rest []byte, c syscall.RawConn, ready func() bool) error {
	b := make([]byte, 0, 17+len(head)+len(rest))
	b = append(b, saysOffer)
	b = binary.BigEndian.AppendUint64(b, l.number)
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(rest)))
	b = append(append(b, head...), rest...)
	var n int
	var err error
	if c != nil {
		// Within Control the descriptor cannot be closed. File and Fd would make the
		// description blocking, which both processes share.
		if closed := c.Control(func(fd uintptr) { n, err = sendWith(l.conn, b, int(fd)) }); closed != nil {
			return fmt.Errorf("%w: %w", ErrNotReady, closed)
		}
	}
	if err == nil && n < len(b) {
		_, err = l.conn.Write(b[n:])
	}
	if err != nil {
		return err
	}
	var answer [9]byte
	if _, err := io.ReadFull(l.conn, answer[:]); err != nil {
		return err
	}
	if n := binary.BigEndian.Uint64(answer[1:]); n != l.number {
		return fmt.Errorf("its answer %.9q is for connection %d, not %d", answer[:], n, l.number)
	}
	switch answer[0] {
	case saysNo:
		text, err := readText(l.conn)
		if err != nil {
			return err
		}
		return fmt.Errorf("%w by %s: %s", ErrRefused, l.other, text)
	case saysYes:
	default:
		return fmt.Errorf("its answer %.9q neither accepts nor refuses", answer[:])
	}
	if !ready() {
		if err := l.say(saysDrop, l.number); err != nil {
			return err
		}
		return ErrNotReady
	}
	return l.say(saysGo, l.number)
}

func (l *Line) say(kind byte, number uint64) error {
	_, err := l.conn.Write(binary.BigEndian.AppendUint64([]byte{kind}, number))
	return err
}

func readText(r io.Reader) (string, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return "", err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > maxText {
		return "", fmt.Errorf("a text of %d bytes is over the limit of %d", n, maxText)
	}
	text := make([]byte, n)
	_, err := io.ReadFull(r, text)
	return string(text), err
}

// failed reports whether an Offer has ended the line.
func (l *Line) failed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err != nil
}

// Rehearse moves the sessions of one peer to another one of this process, over a Line; both
// are of the package tp, which sets it. It is for tests.
var Rehearse func(ctx context.Context, from, to any) (moved int, stayed map[string]int)

// lives reports whether the process at the other end has the line open.
func (l *Line) lives() bool { return isOpen(l.conn) }

// Close ends the line.
func (l *Line) Close() error { return l.conn.Close() }

// An Adopter takes over the connection of an offer, in the child: it prepares all that can
// fail, and returns a function that is called with whether the connection is this
// process's from now on. It closes conn if it is not, and after an error. conn is nil if no
// descriptor has arrived: none was sent, or this process may not open more files.
type Adopter func(head, rest []byte, conn net.Conn) (settle func(mine bool), err error)

// Adopt answers offers until the line ends, which is no error at the end of an offer. It is
// called once.
func (l *Line) Adopt(adopt Adopter) error {
	defer close(l.adopted)
	defer l.conn.Close()
	for {
		o, err := l.receive()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		settle, err := o.adopt(adopt)
		if err != nil {
			if err := l.refuse(o.number, err); err != nil {
				return err
			}
			continue
		}
		mine, err := l.settled(o.number)
		settle(mine)
		if err != nil {
			return err
		}
	}
}

// lineHead is the head of an offer whose connection is another line to the same process.
var lineHead = []byte("line")

// withLines returns an Adopter that adopts what comes over lines that are offered, too.
func withLines(adopt Adopter) (both Adopter) {
	both = func(head, rest []byte, conn net.Conn) (settle func(mine bool), err error) {
		if !bytes.Equal(head, lineHead) {
			return adopt(head, rest, conn)
		}
		u, ok := conn.(*net.UnixConn)
		if !ok {
			if conn != nil {
				conn.Close()
			}
			return nil, fmt.Errorf("a line is a unix socket, not a %T", conn)
		}
		return func(mine bool) {
			if !mine {
				u.Close()
				return
			}
			go func() { _ = newLineOver(u, newerProcess).Adopt(both) }() // ends with the process at its other end, or with this one
		}, nil
	}
	return both
}

// offer is what the parent has offered.
type offer struct {
	number     uint64
	head, rest []byte
	conn       net.Conn // nil: no descriptor has arrived
	err        error    // why there is no conn, of a descriptor that has
}

func (o *offer) adopt(adopt Adopter) (settle func(bool), err error) {
	if o.err != nil {
		return nil, o.err
	}
	return adopt(o.head, o.rest, o.conn)
}

// refuse answers an offer with an error.
func (l *Line) refuse(number uint64, err error) error {
	text := err.Error()
	text = text[:min(len(text), maxText)]
	b := binary.BigEndian.AppendUint64([]byte{saysNo}, number)
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	_, err = l.conn.Write(append(b, text...))
	return err
}

// settled accepts an offer, and returns whether the connection is this process's.
func (l *Line) settled(number uint64) (mine bool, err error) {
	if err := l.say(saysYes, number); err != nil {
		return false, err
	}
	var b [9]byte
	if _, err := io.ReadFull(l.conn, b[:]); err != nil {
		return false, err
	}
	if n := binary.BigEndian.Uint64(b[1:]); n != number || b[0] != saysGo && b[0] != saysDrop {
		return false, fmt.Errorf("%s says %.9q after it has offered connection %d", l.other, b[:], number)
	}
	return b[0] == saysGo, nil
}

// receive reads an offer.
func (l *Line) receive() (o *offer, err error) {
	var first [17]byte
	file, n, err := receiveWith(l.conn, first[:])
	if file != nil {
		defer file.Close()
	}
	if n == 0 && errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if err == nil && n < len(first) {
		if _, err = io.ReadFull(l.conn, first[n:]); err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil {
		return nil, err
	}
	head, rest, err := l.parseOffer(first[:])
	if err != nil {
		return nil, err
	}
	o = &offer{number: binary.BigEndian.Uint64(first[1:])}
	b, err := readAll(l.conn, head+rest)
	if err != nil {
		return nil, err
	}
	o.head, o.rest = b[:head], b[head:]
	if file != nil {
		o.conn, o.err = net.FileConn(file)
	}
	return o, nil
}

// parseOffer returns the lengths that an offer begins with.
func (l *Line) parseOffer(b []byte) (head, rest int, err error) {
	if b[0] != saysOffer {
		return 0, 0, fmt.Errorf("%s says %.17q in place of an offer", l.other, b)
	}
	h, r := binary.BigEndian.Uint32(b[9:]), binary.BigEndian.Uint32(b[13:])
	if h > MaxHead || r > MaxRest {
		return 0, 0, fmt.Errorf("an offer of %d and %d bytes is over the limit", h, r)
	}
	return int(h), int(r), nil
}

// readAll reads n bytes, and takes memory as they arrive.
func readAll(r io.Reader, n int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err == nil && len(b) < n {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}
