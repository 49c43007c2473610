package outproc

import "context"

// source is where the instances of a guest come from: a program, or a guest that runs
// already.
type source interface {
	// open returns what an instance is opened to. If that makes a socket, it does so in
	// dir.
	open(ctx context.Context, dir string) (endpoint, error)
	// sum is the SHA-256 of the program's file, "" if there is none.
	sum() string
	close()
}

// newSource returns the source of a guest.
func newSource(g *Guest) (source, error) {
	if g.Connect != "" {
		return &remote{g}, nil
	}
	p, err := openProgram(g)
	if err != nil {
		return nil, err // and not a source that holds nil
	}
	if err := checkSum(g, p.sum()); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// endpoint is what the lane of an instance leads to.
type endpoint interface {
	// address is where the lane listens.
	address() string
	// secret is the token of the lane's first message.
	secret() string
	// verify returns an error if another process has accepted the lane.
	verify(lane fdOwner) error

	// pid is the process id, 0 if it is not known.
	pid() int
	// ended is closed when the process has ended. It is nil for a process that was not
	// started here.
	ended() <-chan struct{}
	// exitError returns how the process has ended.
	exitError() error
	// withTail returns err with the process's last lines of output.
	withTail(err error) error
	// kill ends the process, if it was started here, and waits for its end.
	kill()
}

// fdOwner is a session or what has its methods.
type fdOwner interface{ ControlFD(func(fd uintptr)) error }
