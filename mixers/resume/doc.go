// Package resume makes networks whose sessions outlive their connections: a stream of bytes
// that goes on where it was when a connection breaks, by another connection. The sessions
// at its ends notice nothing but a pause: no call is lost, none runs twice, and everything
// arrives in order.
//
//	tcp, err := tp.LookupNetwork("tcp")
//	n := resume.Over(tcp, resume.Options{Window: time.Minute})
//	peer := tp.NewPeer(tp.PeerConfig{Net: &n, ListenPort: 9090})
//
// Importing the package registers the networks "resume+tcp" and "resume+unix", with the
// default options. Both sides need such a network.
//
// # Verdicts
//
// The side that has dialled connects again, with pauses that grow, for as long as the
// Window of its options. Then the verdict of the other side is one of two: resumed, and
// both sides send what the other one has not received; or fresh, and the stream has ended:
// the session breaks with ErrFresh, and its redial begins anew, as it does over any
// network. There is no verdict between.
//
// A Reboot hands the accepted streams to the new process, with their connections where these
// are sockets themselves.
//
// # On the wire
//
// A connection begins with a preamble of each side, the dialling one's first; numbers are
// big-endian:
//
//	{"tpr" 0x01} {16 bytes token} {6 bytes sent} {6 bytes received}
//
// The token of a new stream is zero in the question, and the answer has the one that the
// accepting side has made. The answer to the question for an old stream has that stream's
// token, or zero and in place of sent a number that says why not: 1 there is no such stream,
// 2 the positions are not in it, 3 it belongs to another client. Records follow:
//
//	0x0001 … 0x7fff  so many bytes of the stream follow
//	0x8000           6 bytes follow: the position that the sender has received
//	0x8001           the sender's direction has ended
//	0x8002           the sender has closed the stream; behind 0x8001
//
// Positions count the bytes of records, heads included, since the first connection of the
// stream. A connection that resumes a stream goes on behind the position in the other side's
// preamble, maybe in the middle of a record. Positions are their low 48 bits.
//
// A side that has sent nothing for Options.KeepAlive acknowledges again. TLS runs on each
// connection, below the preamble, so a token is as secret as the bytes of the session.
//
// Connections with a handshake of their own carry the same bytes behind that; see [Streams].
package resume
