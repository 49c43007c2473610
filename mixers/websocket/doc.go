// Package websocket carries sessions over WebSocket, RFC 6455, so that pages in browsers
// can call and be called.
package websocket
