// Package xfer says what filters the bytes of a message on their way
// (compression, checks, encryption), and knows the filters that are there, by id
// and by name. XferPipe applies several in order.
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

// XferFilter handles the bytes of a message when it is transferred. Its methods
// are called concurrently. It never changes the bytes it is given and keeps no
// part of them, but the result may share memory with them.
type XferFilter interface {
	// ID returns the filter's id on the wire; it is not 0 and never changes.
	ID() byte
	// Name returns the filter's name; it is not empty and never changes.
	Name() string
	// OnPack performs filtering on packing.
	OnPack([]byte) ([]byte, error)
	// OnUnpack performs filtering on unpacking: it undoes OnPack.
	OnUnpack([]byte) ([]byte, error)
}

// Appender is an XferFilter that can write into a buffer it is given, and stops
// at a limit. A filter whose output can be much larger than its input must be
// one.
type Appender interface {
	XferFilter
	// AppendPack appends the packed src to dst and returns the extended buffer.
	// If it fails it returns dst, unchanged in length. src and dst do not overlap;
	// none is kept.
	AppendPack(dst, src []byte) ([]byte, error)
	// AppendUnpack appends the unpacked src to dst as AppendPack does. If that
	// would be more than max bytes it fails with an error that wraps ErrTooLarge,
	// before it takes memory for more.
	AppendUnpack(dst, src []byte, max int) ([]byte, error)
}

// IDs of the project's filters, so that a protocol can name one without importing
// it. IDs from 1 to 127 are reserved for the project, 240 to 255 for tests; all
// other filters choose from 128 to 239.
const (
	Gzip byte = 'g'
	MD5  byte = 'm'
	Zstd byte = 'z'
)

// Names of the project's filters.
const (
	NameGzip = "gzip"
	NameMD5  = "md5"
	NameZstd = "zstd"
)

// DefaultMax is the limit, in bytes, on the output of a stage where the caller
// can give none (OnUnpack).
const DefaultMax = 64 << 20

var (
	// ErrUnsupported is in every error of a look-up that found nothing.
	ErrUnsupported = errors.New("unsupported transfer filter")
	// ErrTooLarge is in every error of an unpacking that went over its limit.
	ErrTooLarge = errors.New("too large")
	// ErrXferPipeTooLong says that a pipe has more filters than the wire can name.
	ErrXferPipeTooLong = errors.New("xfer: the length of transfer pipe cannot be bigger than 255")
)

const home = "github.com/teleport-go/teleport/xfers/"

var filters = registry.New[XferFilter]("transfer filter", ErrUnsupported,
	registry.Known{ID: Gzip, Name: NameGzip, Import: home + "gzip"},
	registry.Known{ID: MD5, Name: NameMD5, Import: home + "md5"},
	registry.Known{ID: Zstd, Name: NameZstd, Import: home + "zstd"},
)

// Register makes a filter known. It panics if its id or its name is taken, or
// if the id is 0 or the name empty. It is meant for init.
func Register(f XferFilter) { filters.Register(f) }

// Replace makes a filter known and takes its id and its name from whoever had
// them. It panics if the id is 0 or the name empty. It is meant for main, before
// messages flow.
func Replace(f XferFilter) { filters.Replace(f) }

// Get returns transfer filter by id. The error wraps ErrUnsupported and names
// the import that may be forgotten.
func Get(id byte) (XferFilter, error) { return filters.Get(id) }

// GetByName returns transfer filter by name. The error is as of Get.
func GetByName(name string) (XferFilter, error) { return filters.GetByName(name) }

// All returns the registered filters in the order of their ids.
func All() []XferFilter { return filters.All() }
