// Package wasm loads filters and codecs from WebAssembly files.
//
// A guest is a .wasm file with one or several parts, each a transfer filter or a codec.
// [Load] compiles it, checks it, and registers its parts under their ids, for xfer.Get and
// codec.Get, so that a message, a configuration or a peer that names such an id
// does not know where the code comes from:
//
//	h, err := wasm.Load(ctx, wasm.Module{Path: "md5.wasm"})
//	if err != nil { … }
//	defer h.Close()
//
// A guest runs in the process and can reach nothing of it: no file, no network, no
// environment, no memory but its own. Each item (one packing, one encoding) is bounded in
// memory, in time and in the size of its result. An item that fails is an error of the
// message it belongs to; bytes never pass a guest that has failed.
//
// Package guest turns Go filters and codecs into guests. ABI.md describes what a guest in
// another language exports.
package wasm
