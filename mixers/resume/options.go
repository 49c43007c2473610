package resume

import (
	"cmp"
	"fmt"
	"sync/atomic"
	"time"
)

// Options are the properties of a network. The zero value has the defaults. The two sides
// need not have the same.
type Options struct {
	// Window is how long a stream without a connection waits for another one. Then the
	// session breaks, as it does without this package. Default 30s.
	Window time.Duration

	// Buffer is how many bytes a side sends that the other side has not acknowledged. It
	// keeps them to send them again; Write waits when it is full. At least 128 KiB, default
	// 1 MiB.
	Buffer int

	// IdleTimeout is how long nothing may arrive before a connection counts as broken.
	// Default 15s.
	IdleTimeout time.Duration

	// KeepAlive is how long nothing is sent before this side says that it is alive.
	// Default 5s; it must be shorter than the other side's IdleTimeout.
	KeepAlive time.Duration

	// MaxLost and MaxLostBytes bound the streams without a connection that a listener keeps:
	// how many there are, and how many bytes they hold. Beyond that it gives up those that
	// have been without one for the longest. Defaults 4096 and 64 MiB.
	MaxLost      int
	MaxLostBytes int64

	// Stats counts, if it is not nil. Several networks may share it.
	Stats *Stats
}

// Stats are counters. They may be read at any time.
type Stats struct {
	Streams atomic.Int64 // begun
	Resumed atomic.Int64 // connections that took the place of another one
	Refused atomic.Int64 // connections that could not, by the accepting side: see ErrFresh
	Expired atomic.Int64 // streams that were given up without a connection
	Lost    atomic.Int64 // streams without a connection at the moment
}

const (
	defaultWindow           = 30 * time.Second
	defaultBuffer           = 1 << 20
	defaultIdleTimeout      = 15 * time.Second
	defaultKeepAlive        = 5 * time.Second
	defaultMaxLost          = 4096
	defaultMaxLostBytes     = 64 << 20
	defaultHandshakeTimeout = 10 * time.Second

	leastBuffer = 128 << 10
)

// withDefaults returns o with the defaults.
func (o Options) withDefaults() Options {
	o.Window = cmp.Or(o.Window, defaultWindow)
	o.Buffer = cmp.Or(o.Buffer, defaultBuffer)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, defaultIdleTimeout)
	o.KeepAlive = cmp.Or(o.KeepAlive, defaultKeepAlive)
	o.MaxLost = cmp.Or(o.MaxLost, defaultMaxLost)
	o.MaxLostBytes = cmp.Or(o.MaxLostBytes, defaultMaxLostBytes)
	if o.Stats == nil {
		o.Stats = new(Stats)
	}
	return o
}

// check returns an error for options that cannot work.
func (o *Options) check() error {
	switch {
	case o.Buffer < leastBuffer:
		return fmt.Errorf("resume: Options.Buffer is %d; at least %d bytes are needed", o.Buffer, leastBuffer)
	case o.Window < 0 || o.IdleTimeout < 0 || o.KeepAlive < 0 || o.MaxLost < 0 || o.MaxLostBytes < 0:
		return fmt.Errorf("resume: a negative number in Options")
	}
	return nil
}
