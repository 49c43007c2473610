package outproc

import (
	"errors"
	"fmt"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// CodeGuestUnavailable is the code of the error of an item that its guest has not
// answered: it has ended and does not come back in time, it is in quarantine or closed,
// or it has not answered before the item's deadline.
const CodeGuestUnavailable int32 = 530

// ErrGuestUnavailable matches every error with CodeGuestUnavailable in its chain
// (errors.Is).
var ErrGuestUnavailable = tp.NewRerror(CodeGuestUnavailable, "Guest Unavailable", "").Err()

// ErrRefused is wrapped by the error of an item that its guest has refused: bytes whose
// sum is wrong, text that is not of the codec's format.
var ErrRefused = errors.New("refused")

func unavailable(name string, cause error) error {
	return tp.NewRerror(CodeGuestUnavailable, "Guest Unavailable", fmt.Sprintf("guest %s: %v", name, cause)).WithCause(cause).Err()
}

// replyError returns the error of an item whose guest has answered with one.
func replyError(name string, r *tp.Rerror) error {
	text := r.Reason
	if text == "" {
		text = r.Message
	}
	switch r.Code {
	case contract.CodeTooLarge:
		return fmt.Errorf("guest %s: %s: %w", name, text, xfer.ErrTooLarge)
	case contract.CodeRefused:
		return fmt.Errorf("guest %s: %s: %w", name, text, ErrRefused)
	}
	return fmt.Errorf("guest %s: %w", name, r.Err())
}
