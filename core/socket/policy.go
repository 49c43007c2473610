package socket

import (
	"fmt"

	"github.com/teleport-go/teleport/core/internal/outbox"
)

// PushPolicy says what happens to a PUSH for which there is no room, since the peer reads
// more slowly than this side writes. The empty policy is the one that holds otherwise: that
// of the session for a message, that of the peer for a session, PushWait for a peer.
type PushPolicy string

const (
	// PushWait waits for room, until the context of WithContext ends.
	PushWait PushPolicy = "wait"
	// PushFail returns an error that wraps ErrFull. Nothing was sent.
	PushFail PushPolicy = "fail"
	// PushDropNewest drops this message.
	PushDropNewest PushPolicy = "drop-newest"
	// PushDropOldest queues the message and drops the oldest ones that were queued with this
	// policy or with PushLatest, as many as are in its way.
	PushDropOldest PushPolicy = "drop-oldest"
	// PushLatest puts the message in the place of the one with the same key that is queued,
	// and that it drops; see WithPushKey. If there is none it is as PushDropOldest.
	PushLatest PushPolicy = "latest"
	// PushDisconnect ends the connection.
	PushDisconnect PushPolicy = "disconnect"
)

// Check returns an error if the policy is none of those above, nor empty.
func (p PushPolicy) Check() error {
	switch p {
	case "", PushWait, PushFail, PushDropNewest, PushDropOldest, PushLatest, PushDisconnect:
		return nil
	}
	return fmt.Errorf("socket: no push policy %q; there are %s, %s, %s, %s, %s and %s", string(p),
		PushWait, PushFail, PushDropNewest, PushDropOldest, PushLatest, PushDisconnect)
}

// queued returns how a batch treats a frame with the policy.
func (p PushPolicy) queued() outbox.Policy {
	switch p {
	case PushDropNewest:
		return outbox.DropNewest
	case PushDropOldest:
		return outbox.DropOldest
	case PushLatest:
		return outbox.Latest
	}
	return outbox.Fail
}

// pushing is what happens to a PUSH for which there is no room.
type pushing struct {
	policy PushPolicy
	key    string
}

// pushingOf returns *p, made on demand.
func pushingOf(p **pushing) *pushing {
	if *p == nil {
		*p = new(pushing)
	}
	return *p
}
