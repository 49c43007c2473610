package outproc

import (
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Guest says which program to start and how. Path alone is enough, and so is Connect for
// a guest that runs already.
type Guest struct {
	// Path is the guest's file. Path, SHA256, Lock, Args, Env and MaxRSS are for guests that
	// the host starts.
	Path string
	// Connect is the address of a guest that runs already: unix:///path, or
	// tcp+tls://host:port, which needs TLS. It is dialled again when the connection ends.
	Connect string
	// Token is what such a guest expects; see guest.Config.Token.
	Token string
	// TLS is the configuration for tcp+tls.
	TLS *tls.Config

	// Name is the name that the guest must have; "" accepts any.
	Name string
	// SHA256 is the hash of the file, in hexadecimal; a file of another one is not run.
	// "" is none.
	SHA256 string
	// Lock is the path of a lock file, which [Lock] writes and people keep with their
	// sources: a guest that the host starts must be in it, with the name, the version and
	// the hash that it has there. A file whose hash is not in it is not run. "" is none.
	Lock string
	// Args are its arguments.
	Args []string
	// Env is its environment: NAME=value, or NAME for the host's own value. Of the host's
	// variables it gets no others but PATH, HOME, TMPDIR, TZ, LANG and LC_ALL.
	Env []string
	// Config is encoded as JSON for guest.Config.Configure.
	Config any
	// Optional makes a guest that cannot be loaded a WARN line in place of an error of
	// Load: its Handle is stopped and has no parts. It never lets a message pass without
	// the guest.
	Optional bool

	// Replicas is how many processes run the guest. One of them gets all items; a second
	// one is ready to take its place. Default 1, at most 8.
	Replicas int
	// MaxRSS is the resident memory, in bytes, at which a process of the guest is ended,
	// and another one started in its place. 0 is no limit. It needs Linux.
	MaxRSS int64

	// Timeout is how long one item, such as the bytes of a message, may take. Default 1s.
	Timeout time.Duration
	// StartTimeout is how long the guest may take until it is ready. Default 10s.
	StartTimeout time.Duration
	// MaxItem is the size of the largest item, and of its result, in bytes. Default
	// 64 MiB.
	MaxItem int
	// MaxInFlight is how many items may be under way. More wait, at most for Timeout, which
	// is not taken off the time of the item. Default 1024.
	MaxInFlight int

	// Logger gets the log records of the guest and about it; nil is slog.Default().
	Logger *slog.Logger

	pingEvery time.Duration // default 1s
	from      string        // the list of guests it is from, whose lock file is Lock; else ""
}

const maxReplicas = 8

// check fills in defaults and returns an error for what cannot work.
func (g *Guest) check() error {
	if g.Connect != "" {
		if err := g.checkConnect(); err != nil {
			return err
		}
	} else if g.Path == "" {
		return errors.New("set Path to the file of the guest, or Connect to the address of one that runs; both are empty")
	}
	if g.SHA256 != "" {
		if b, err := hex.DecodeString(g.SHA256); err != nil || len(b) != 32 {
			return fmt.Errorf("SHA256 %q is not 64 hexadecimal digits", g.SHA256)
		}
	}
	if g.Replicas > maxReplicas {
		return fmt.Errorf("%d Replicas are more than %d: one of them gets all items, the others only wait", g.Replicas, maxReplicas)
	}
	if g.MaxItem > maxMaxItem {
		return fmt.Errorf("MaxItem %d is more than %d", g.MaxItem, maxMaxItem)
	}
	orDefault(&g.Replicas, 1)
	orDefault(&g.Timeout, time.Second)
	orDefault(&g.StartTimeout, 10*time.Second)
	orDefault(&g.MaxItem, 64<<20)
	orDefault(&g.MaxInFlight, 1024)
	orDefault(&g.pingEvery, time.Second)
	if g.Logger == nil {
		g.Logger = slog.Default()
	}
	return nil
}

func (g *Guest) checkConnect() error {
	switch network, _, err := parseAddress(g.Connect); {
	case err != nil:
		return fmt.Errorf("the address in Connect: %w", err)
	case g.Path != "" || g.SHA256 != "" || g.Lock != "" || len(g.Args)+len(g.Env) > 0 || g.MaxRSS > 0:
		return errors.New("with Connect the host starts no process: leave Path, SHA256, Lock, Args, Env and MaxRSS empty")
	case (network == "tcp") != (g.TLS != nil):
		return errors.New("set TLS if Connect begins with tcp+tls://, and only then")
	}
	return nil
}

// checkName returns an error if the guest, which says that its name is name, is not the one
// that is wanted.
func (g *Guest) checkName(name string) error {
	if g.Name == "" || name == g.Name {
		return nil
	}
	field := "Path"
	if g.Connect != "" {
		field = "Connect"
	}
	return fmt.Errorf("its name is %s, not %s: change Guest.Name, or Guest.%s", name, g.Name, field)
}

// where is the guest's path or address.
func (g *Guest) where() string {
	if g.Connect != "" {
		return g.Connect
	}
	return g.Path
}

// maxMaxItem leaves room for the header in a frame of 2 GiB.
const maxMaxItem = 1<<31 - 1 - itemRoom

// itemRoom is what the frame of an item needs besides the item, in bytes.
const itemRoom = 4096

func orDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}
