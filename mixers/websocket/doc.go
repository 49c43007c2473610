// Package websocket carries sessions over WebSocket, RFC 6455, so that pages in browsers
// can call and be called. Its import registers the networks ws and wss, which a
// configuration chooses by name; [Network] has options. [NewHandler] is for a web server
// that is there already. [NewServer] and [NewClient] are those of Teleport v5 and v7.
//
// The framing is a protocol around any other one ([NewWsProtoFunc]), and not a connection:
// a session still runs on the TCP connection, and is parked, polled and batched as one.
// Each message of WebSocket is a message of the session.
//
// # Sub-protocols
//
// The client offers names in Sec-WebSocket-Protocol, and the server takes the first that it
// knows: teleport.json, teleport.pb, teleport.raw, teleport.NAME for the peer's own protocol
// NAME, and those of [Options]. If it knows none it answers 400. A client that offers no
// name speaks the JSON layout of v5 and v7, or [Options.Proto].
//
// With [Options].Resume sessions outlive their connections. The name of the sub-protocol then
// begins with "resume.", and its frames travel in a stream of bytes, unmasked, which one
// connection after the other carries in binary messages; see package mixers/resume.
//
// teleport.json is for scripts that are written by hand: see
// [github.com/teleport-go/teleport/protos/jsonproto.NewScriptProtoFunc]. Bodies that are
// not of the JSON codec travel as strings.
//
// # Requirements of RFC 6455
//
// Frames with reserved bits or opcodes, lengths not in the fewest bytes, masks on the wrong
// side, control frames that are long or fragmented, text that is not UTF-8 and close codes
// that must not be sent end the connection with the code 1002 or 1007. The list of
// requirements with a test for each is in rfc_test.go.
package websocket
