// Package websocket proves that clients and servers of v7's mixer/websocket can be served
// and dialled. It has tests alone, and is a package of its own since v7's protobuf protocol
// and its websocket mixer cannot be in one program.
package websocket
