package tp

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// moveRecord is what crosses of a session, beside its connection and the bytes that have
// arrived and were not read. It is JSON, so that two versions of a program understand each
// other as far as they know the same fields: one that is zero may be left out, and a record
// with a field that the new process does not know is refused, since the session would not be
// the same without it.
type moveRecord struct {
	Version  int    `json:"version"`  // recordVersion
	Network  string `json:"network"`  // of the peer
	Listener string `json:"listener"` // the address that the connection was accepted on: its network, a space, and the address
	Protocol string `json:"protocol"` // its name
	State    []byte `json:"state"`    // of socket.Conn

	Conn *moveConn `json:"conn,omitempty"` // of a HandOverConn; nil: the connection is the one that has come

	ID         string        `json:"id"`
	Epoch      uint32        `json:"epoch"`
	Seq        int32         `json:"seq"`             // the number given last
	Taken      int32         `json:"taken,omitempty"` // of the peer's, the last that was taken; below 0 over HTTP
	Hello      uint32        `json:"hello,omitempty"`
	PeerWindow int32         `json:"peer_window,omitempty"`
	PushPolicy PushPolicy    `json:"push_policy,omitempty"` // that SetPushPolicy has set
	Silent     bool          `json:"silent,omitempty"`      // no message has come yet
	SessionAge time.Duration `json:"session_age,omitempty"`
	AgeLeft    time.Duration `json:"age_left,omitempty"` // 0: no end
	ContextAge time.Duration `json:"context_age,omitempty"`
	Remote     *moveAddr     `json:"remote,omitempty"` // of ConnFacts
	RealIP     string        `json:"real_ip,omitempty"`

	Plugins []moveState `json:"plugins,omitempty"` // in their order
	Swap    [][]byte    `json:"swap,omitempty"`    // of PeerConfig.CarrySwap
}

// moveConn says what has come of a HandOverConn.
type moveConn struct {
	State int  `json:"state"` // so many bytes, behind those that were not read
	Below bool `json:"below"` // a descriptor
}

// split divides what has come behind the record into the bytes that were not read, and the
// state of the connection. It returns an error if that, or the descriptor, is not what the
// record says.
func (r *moveRecord) split(rest []byte, conn net.Conn) (unread, state []byte, err error) {
	c := r.Conn
	if c == nil {
		c = &moveConn{Below: true}
	}
	switch {
	case c.State < 0 || c.State > len(rest):
		return nil, nil, fmt.Errorf("the state of its connection has %d bytes, of the %d that have come", c.State, len(rest))
	case c.Below && conn == nil:
		return nil, nil, errors.New("no descriptor has arrived: most likely this process may not open more files")
	case !c.Below && conn != nil:
		return nil, nil, errors.New("a descriptor has arrived, and its record says that there is none")
	}
	switch conn.(type) {
	case nil, *net.TCPConn, *net.UnixConn:
	default:
		return nil, nil, fmt.Errorf("its connection is a %T", conn)
	}
	at := len(rest) - c.State
	return rest[:at:at], rest[at:], nil
}

// moveState is the state of a plugin for the session.
type moveState struct {
	Plugin string `json:"plugin"`
	State  []byte `json:"state"`
}

const recordVersion = 1

// parseRecord reads a record, which may have been written by another version of the
// program.
func parseRecord(b []byte) (*moveRecord, error) {
	r := new(moveRecord)
	if err := readRecord(b, r); err != nil {
		return nil, err
	}
	switch {
	case r.Version != recordVersion:
		return nil, fmt.Errorf("its record is of version %d, not %d", r.Version, recordVersion)
	case r.ID == "" || r.Epoch == 0 || r.Seq < 0 || r.SessionAge < 0 || r.AgeLeft < 0 || r.ContextAge < 0:
		return nil, errors.New("its record has no id or epoch, or a number below 0")
	}
	return r, nil
}
