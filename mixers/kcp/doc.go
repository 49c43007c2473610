// Package kcp is the network "kcp": sessions over KCP, a reliable protocol on UDP that
// repeats lost packets early, by github.com/xtaci/kcp-go.
//
//	n := kcp.New(kcp.Options{Key: key}) // at least 16 secret bytes, on both sides
//	peer := tp.NewPeer(tp.PeerConfig{Net: &n, ListenPort: 9090})
//
// Importing the package registers the network "kcp", which has no key: anybody can read,
// forge and end its sessions. A peer with it logs a WARNING, unless it has a TLS
// configuration: that protects what is said, but not the sessions from being ended.
//
// # When
//
// For few sessions on paths that lose packets, where latency counts more than CPU time and
// bandwidth. README.md has figures. Prefer quic where there is a choice: it has TLS,
// congestion control and address changes.
//
// # On the wire
//
// A datagram is a packet of KCP. With a key it is
//
//	{16 bytes salt} {8 bytes counter} {packet, sealed by AES-256-GCM; 16 bytes longer}
//
// where the key of AES is that of HKDF-SHA256 over Options.Key, with the salt of the
// sender's socket and the direction, and the nonce is the counter. A datagram of 8 bytes,
// {4 bytes conversation, little-endian} "gone", says that the sender does not have this
// conversation, or not any more.
//
// The stream of KCP begins with a handshake, which makes sure that both sides are there
// and that no recorded session is played again: the dialling side sends "tkcp\x00\x00\x00\x01",
// the other one 16 random bytes, which the dialling side sends back. Records follow, each
// with a head of 2 bytes, big-endian:
//
//	0x0000           the sender's direction has ended
//	0x0001 … 0x7fff  so many bytes of the session's protocol follow
//	0x8000           the sender is alive
//	0x8001           the sender has read the other direction up to its end
//
// A side that has sent nothing for Options.KeepAlive says that it is alive.
//
// V7 dials and accepts peers of v7: no handshake, no records, no key; parity packets
// 10+3 (Reed-Solomon). There a side that closes does not tell the other one, and neither
// notices that the other one has vanished; use the heartbeat plugin.
package kcp
