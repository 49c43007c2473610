package contract

import (
	"encoding/binary"
	"errors"
	"math"
)

// RouteBundle is the route of a bundle: several small items of filters and codecs in one
// CALL. A guest that has it says so in Description.Bundle.
const RouteBundle = "/guest/bundle"

// The limits of a bundle.
const (
	MaxBundle      = 64       // items
	MaxBundleItem  = 4 << 10  // bytes of an item
	MaxBundleBytes = 64 << 10 // bytes of the bodies of the CALL and of the REPLY; no more than Configuration.MaxItem
)

// unanswered stands for the size of a result that is missing.
const unanswered = math.MaxUint32

// bundleHead is how many bytes an item of a bundle has besides its route and body.
const bundleHead = 1 + 4

// BundledSize returns how many bytes AppendBundled appends.
func BundledSize(route string, item []byte) int { return bundleHead + len(route) + len(item) }

// AppendBundled appends an item to the body of a bundle's CALL. The route has at most 255
// bytes.
func AppendBundled(b []byte, route string, item []byte) []byte {
	b = append(append(b, byte(len(route))), route...)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(item))), item...)
}

// CutBundled returns the first item of the body of a bundle's CALL, and what follows it.
func CutBundled(b []byte) (route, item, rest []byte, err error) {
	if len(b) == 0 || len(b) < bundleHead+int(b[0]) {
		return nil, nil, nil, errBundleCut
	}
	route, b = b[1:1+int(b[0])], b[1+int(b[0]):]
	if item, rest, err = cutSized(b, binary.BigEndian.Uint32(b)); err != nil {
		return nil, nil, nil, err
	}
	return route, item, rest, nil
}

// BeginResult makes room for the size of a result in the body of a bundle's REPLY.
// EndResult, with the length before that, says that what follows it is the result.
func BeginResult(b []byte) []byte { return append(b, 0, 0, 0, 0) }

// EndResult is described at BeginResult.
func EndResult(b []byte, at int) { binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4)) }

// AppendUnanswered appends to the body of a bundle's REPLY that an item has no result.
func AppendUnanswered(b []byte) []byte { return binary.BigEndian.AppendUint32(b, unanswered) }

// CutResult returns the first result of the body of a bundle's REPLY, and what follows it.
// answered is false if the item has none.
func CutResult(b []byte) (result, rest []byte, answered bool, err error) {
	if len(b) < 4 {
		return nil, nil, false, errBundleCut
	}
	size := binary.BigEndian.Uint32(b)
	if size == unanswered {
		return nil, b[4:], false, nil
	}
	result, rest, err = cutSized(b, size)
	return result, rest, err == nil, err
}

// cutSized returns the size bytes behind the first 4 of b, which are there, and what
// follows.
func cutSized(b []byte, size uint32) (part, rest []byte, err error) {
	b = b[4:]
	if uint64(size) > uint64(len(b)) {
		return nil, nil, errBundleCut
	}
	return b[:size:size], b[size:], nil
}

var errBundleCut = errors.New("the bundle ends within an item")
