// Package xfer defines the interface of the transfer filters, which compress, check
// or encrypt the bytes of messages, and registers them by id and by name. XferPipe
// applies several in order.
//
// A filter is a module of its own that registers itself when it is imported:
//
//	import _ "github.com/teleport-go/teleport/xfers/gzip"
//
// All functions of the package may be called concurrently.
package xfer

import (
	"errors"

	"github.com/teleport-go/teleport/core/internal/registry"
)

// XferFilter transforms the bytes of a message for the transfer. Its methods are
// called concurrently. They do not modify their input and do not retain it, but the
// result may share memory with it.
type XferFilter interface {
	// ID returns the filter's id on the wire; it is not 0 and never changes.
	ID() byte
	// Name returns the filter's name; it is not empty and never changes.
	Name() string
	// OnPack returns the packed bytes.
	OnPack([]byte) ([]byte, error)
	// OnUnpack reverses OnPack.
	OnUnpack([]byte) ([]byte, error)
}

// Appender is an XferFilter that can append to a buffer of the caller, and stops at
// a limit. A filter whose output can be much larger than its input has to be one.
type Appender interface {
	XferFilter
	// AppendPack appends the packed src to dst and returns the extended buffer.
	// If it fails it returns dst, unchanged in length. src and dst do not overlap;
	// neither is retained.
	AppendPack(dst, src []byte) ([]byte, error)
	// AppendUnpack appends the unpacked src to dst as AppendPack does. If that
	// is more than max bytes it fails with an error that wraps ErrTooLarge, before
	// it allocates memory for more.
	AppendUnpack(dst, src []byte, max int) ([]byte, error)
}

// Remote is an XferFilter that waits: for another process or machine, for a device, or for
// anything else that takes many times as long as it takes to read a message. The filters
// of several received messages of a session then run at once, beside the goroutine that
// reads, if a filter of their pipe is remote; the order of the messages stays. A filter that
// computes for some microseconds is not remote.
//
// Its methods return within a bound of their own, of seconds at most: they get no context, and
// the session waits for them. A session ends if a message behind others has waited for its
// filters for two minutes.
type Remote interface {
	XferFilter
	// Remote reports whether the filter waits. Its answer never changes.
	Remote() bool
}

// IDs of the project's filters, so that a protocol can name one without importing
// it. IDs from 1 to 127 are reserved for the project, 240 to 255 for tests; all
// other filters choose from 128 to 239.
const (
	Gzip byte = 'g'
	MD5  byte = 'm'
	Zstd byte = 'z'
)

// Names of the filters of this repository.
const (
	NameGzip = "gzip"
	NameMD5  = "md5"
	NameZstd = "zstd"
)

// DefaultMax is the limit, in bytes, on the output of each stage of OnUnpack, which
// has no parameter for one.
const DefaultMax = 64 << 20

var (
	// ErrUnsupported is wrapped by the error of a look-up that finds no filter.
	ErrUnsupported = errors.New("unsupported transfer filter")
	// ErrTooLarge is wrapped by the error of an unpacking that exceeds its limit.
	ErrTooLarge = errors.New("too large")
	// ErrXferPipeTooLong reports a pipe with more than 255 filters, which no protocol
	// can send.
	ErrXferPipeTooLong = errors.New("xfer: the length of transfer pipe cannot be bigger than 255")
)

const home = "github.com/teleport-go/teleport/xfers/"

var filters = registry.New[XferFilter]("transfer filter", ErrUnsupported,
	registry.Known{ID: Gzip, Name: NameGzip, Import: home + "gzip"},
	registry.Known{ID: MD5, Name: NameMD5, Import: home + "md5"},
	registry.Known{ID: Zstd, Name: NameZstd, Import: home + "zstd"},
)

// Register registers a filter. It panics if its id or its name is taken, or if the id
// is 0 or the name empty. It is meant for init functions.
func Register(f XferFilter) { filters.Register(f) }

// Replace registers a filter in place of those that have its id or its name. It
// panics if the id is 0 or the name empty. It is meant for main, before messages are
// sent.
func Replace(f XferFilter) { filters.Replace(f) }

// Get returns the filter with that id. The error wraps ErrUnsupported and names the
// import that may be missing.
func Get(id byte) (XferFilter, error) { return filters.Get(id) }

// GetByName returns the filter with that name. The error is that of Get.
func GetByName(name string) (XferFilter, error) { return filters.GetByName(name) }

// All returns the registered filters in the order of their ids.
func All() []XferFilter { return filters.All() }
