//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
)

const noAnswer = "neither an answer nor an end"

// answer reads one reply, and returns what it says.
func answer(p protocol, conn net.Conn, patience time.Duration) string {
	conn.SetReadDeadline(time.Now().Add(patience))
	m := tp.GetMessage()
	defer tp.PutMessage(m)
	err := socket.NewSocket(conn, p.make).ReadMessage(m)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return noAnswer
	case err != nil:
		return "closed"
	case m.Rerror() != nil:
		return m.Rerror().String()
	}
	return "served"
}

// answered reads until the reply with this number comes.
func answered(p protocol, conn net.Conn, seq int32) error {
	return replies(p, conn, func(m tp.Message) (bool, error) {
		if m.Seq() != seq {
			return false, nil
		}
		if m.Rerror() != nil {
			return true, m.Rerror().Err()
		}
		return true, nil
	})
}

// count reads n replies.
func count(p protocol, conn net.Conn, n int) (served, refused int, err error) {
	err = replies(p, conn, func(m tp.Message) (bool, error) {
		if m.Rerror() == nil {
			served++
		} else {
			refused++
		}
		return served+refused == n, nil
	})
	if err != nil {
		err = fmt.Errorf("after %d of %d replies: %w", served+refused, n, err)
	}
	return served, refused, err
}

// replies reads replies until f returns true.
func replies(p protocol, conn net.Conn, f func(tp.Message) (bool, error)) error {
	s := socket.NewSocket(conn, p.make)
	m := tp.GetMessage()
	defer tp.PutMessage(m)
	for {
		conn.SetReadDeadline(time.Now().Add(patience))
		m.Reset()
		switch err := s.ReadMessage(m); {
		case errors.Is(err, socket.ErrBadMessage):
		case err != nil:
			return err
		case m.Mtype() == tp.TypeReply:
			if done, err := f(m); done {
				return err
			}
		}
	}
}
