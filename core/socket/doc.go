// Package socket is the wire side of Teleport: the message, its metadata and
// error, the protocol that frames it, and a connection that sends and receives it.
//
// It can be used alone: [NewSocket] turns a net.Conn into a Socket with
// ReadMessage and WriteMessage. Package tp builds sessions on top of it. A
// protocol module imports this package and nothing above it.
package socket
