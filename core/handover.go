package tp

import "net"

// HandOverConn is a connection of a network that wraps those of another one, such as
// resume+tcp, and that a Reboot can hand to the new process with its session. Its methods are
// called by the engine, for accepted sessions only.
type HandOverConn interface {
	net.Conn

	// Save is called in the old process, while no Read or Write runs. It stops the
	// connection: nothing more is read or written before Settle. It returns what the new
	// process needs to go on, at most 4 MiB together with what has arrived and was not read,
	// and the connection below whose descriptor crosses, a *net.TCPConn or
	// *net.UnixConn. That is nil if there is none at the moment, or none that can cross,
	// as with TLS: then the other side has to connect again. Save does not wait for the
	// other side. After an error the connection goes on, and the engine may try again.
	Save() (state []byte, below net.Conn, err error)

	// Settle ends what Save has begun in the old process, or [HandOverListener.Restore] in
	// the new one. If mine is true, the connection is this process's, and goes on. If
	// not, it is the other process's: it ends here, and closes what it has of descriptors,
	// without a word to the other side. Close may have been called since; then a
	// connection that is this process's closes now.
	Settle(mine bool)
}

// HandOverListener is a listener whose connections are [HandOverConn]s. It may be below
// others, which have a method Unwrap() net.Listener.
type HandOverListener interface {
	net.Listener

	// Restore is called in the new process: it makes a connection of what Save has returned
	// in the old one. It must neither read nor write below before Settle, nor wait. The
	// state may be that of another version of the program, so Restore checks it. After an
	// error the connection stays with the old process; the engine closes this process's
	// descriptor of below.
	Restore(state []byte, below net.Conn) (HandOverConn, error)
}
