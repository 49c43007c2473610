package guest

import (
	"runtime"
	"unsafe"
)

// serving answers the host; Serve sets it.
var serving *server

// Serve makes the parts, each an xfer.XferFilter or a codec.Codec, those of this guest. It is
// called once, in an init function, and panics if a part is neither; then the guest does
// not start.
func Serve(parts ...any) {
	s, err := newServer(parts)
	if err != nil {
		panic(err.Error())
	}
	if serving != nil {
		panic("guest.Serve is called twice: give all parts to one call")
	}
	serving = s
}

//go:wasmexport teleport_abi
func abi() uint32 {
	if serving == nil {
		panic("the guest has no parts: call guest.Serve in an init function")
	}
	return 1 // of ABI.md
}

//go:wasmexport teleport_describe
func describeParts() uint64 { return result(serving.describe()) }

//go:wasmexport teleport_alloc
func alloc(size uint32) uint32 { return address(serving.alloc(size)) }

//go:wasmexport teleport_pack
func packItem(part, at, size, max uint32) uint64 {
	return result(serving.do(pack, part, input(at, size), int(max)))
}

//go:wasmexport teleport_unpack
func unpackItem(part, at, size, max uint32) uint64 {
	return result(serving.do(unpack, part, input(at, size), int(max)))
}

//go:wasmexport teleport_encode
func encodeItem(part, at, size, max uint32) uint64 {
	return result(serving.do(encode, part, input(at, size), int(max)))
}

//go:wasmexport teleport_decode
func decodeItem(part, at, size, max uint32) uint64 {
	return result(serving.do(decode, part, input(at, size), int(max)))
}

// input returns the bytes that the host has written to what alloc returned.
func input(at, size uint32) []byte {
	if at != address(serving.in) || int(size) > len(serving.in) {
		panic("the host has written to another place than teleport_alloc returned")
	}
	return serving.in[:size:size]
}

// result puts a pointer, a status and a size into one word. What it points to is kept by
// serving.
func result(status int, out []byte) uint64 {
	return uint64(address(out))<<32 | uint64(status)<<30 | uint64(len(out))
}

func address(b []byte) uint32 {
	p := unsafe.Pointer(unsafe.SliceData(b))
	runtime.KeepAlive(b)
	return uint32(uintptr(p))
}
