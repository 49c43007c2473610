package wasm

import "errors"

// CodeGuestUnavailable is the code of the error of an item that its guest has not answered:
// ErrTrapped, ErrTimeout or ErrUnavailable. It is that of package outproc.
const CodeGuestUnavailable int32 = 530

// Errors of items. Each is wrapped by an error that names the guest and the part. A result
// over its limit is an xfer.ErrTooLarge.
var (
	// ErrRefused reports bytes or a value that the guest has refused, such as a wrong sum.
	ErrRefused = errors.New("refused by the guest")
	// ErrTrapped reports a guest that broke down: it has executed an invalid instruction,
	// panicked, exceeded its memory or returned what is no result. The instance that did
	// is not used again.
	ErrTrapped = errors.New("the guest broke down")
	// ErrTimeout reports a guest that exceeded [Module.Timeout]. The instance that did is
	// not used again.
	ErrTimeout = errors.New("the guest took too long")
	// ErrUnavailable reports that no instance could take the item: all were busy for
	// [Module.Timeout], none could be started, or the handle is closed.
	ErrUnavailable = errors.New("the guest is unavailable")
)

// ErrModule is wrapped by the errors of [Load] and [Handle.Reload] that are the fault of
// the file: it is no guest, one of another version, or not the one that is expected.
var ErrModule = errors.New("no usable guest")
