// Package quic is the network "quic": sessions over QUIC (RFC 9000), by
// github.com/quic-go/quic-go.
//
// Importing it registers the network:
//
//	import _ "github.com/teleport-go/teleport/mixers/quic"
//
//	srv := tp.NewPeer(tp.PeerConfig{Network: "quic", ListenPort: 9090})
//	srv.SetTLSConfigFromFile("cert.pem", "key.pem")
//
// QUIC always encrypts, so both sides need a TLS configuration ([tp.Peer]
// SetTLSConfig). The rest of a program is the same as with tcp.
//
// # When
//
// On paths that lose packets, for clients whose address changes (a telephone that goes
// from a wireless network to a mobile one keeps its session), and where only UDP passes.
// A call takes two to four times the CPU time of a call over tcp, and an idle session 84
// KiB; the README of mixers has figures.
//
// # On the wire
//
// A session is one bidirectional stream of a connection with the application protocol
// (ALPN) teleport/1. The dialling side sends the byte 0 first, since a QUIC stream does
// not exist for the other side before its first byte: a session that only listens would
// never be accepted. The bytes of the session's protocol follow. Each side ends its
// direction with FIN. When the accepting side has read up to the FIN it opens a
// unidirectional stream without bytes; that tells the dialling side, which has read the
// other FIN, that nothing is under way any more, and it ends the connection with the code
// 0. So Close loses no bytes in either direction.
//
// A listener also accepts the application protocol h2, which v7 uses, with the stream
// alone: no first byte, and no stream at the end. Options.V7 dials so.
package quic
