package outproc

import (
	"context"
	"errors"
	"fmt"
	"net/url"
)

// remote is a guest that runs already. The engine's own dial of the lane is all there is
// to do; when the lane ends, another one is dialled.
type remote struct{ guest *Guest }

func (r *remote) open(context.Context, string) (endpoint, error) { return r, nil }
func (r *remote) sum() string                                    { return "" }
func (r *remote) close()                                         {}

func (r *remote) address() string {
	_, address, _ := parseAddress(r.guest.Connect)
	return address
}

func (r *remote) secret() string { return r.guest.Token }

// verify checks the user: the process of a unix socket's other end is not known.
func (r *remote) verify(lane fdOwner) error {
	if network, _, _ := parseAddress(r.guest.Connect); network != "unix" {
		return nil
	}
	return checkPeer(lane, 0)
}

func (r *remote) pid() int                 { return 0 }
func (r *remote) ended() <-chan struct{}   { return nil }
func (r *remote) exitError() error         { return errLaneEnded }
func (r *remote) withTail(err error) error { return err }
func (r *remote) kill()                    {}

// parseAddress returns the network and the address of Guest.Connect.
func parseAddress(text string) (network, address string, err error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", "", err
	case u.Scheme == "unix" && u.Host == "" && u.Path != "":
		return "unix", u.Path, nil
	case u.Scheme == "tcp+tls" && u.Host != "" && u.Port() != "" && u.Path == "":
		return "tcp", u.Host, nil
	case u.Scheme == "tcp":
		return "", "", errors.New("a lane over TCP is encrypted: use tcp+tls://, and set TLS")
	}
	return "", "", fmt.Errorf("%q is neither unix:///path nor tcp+tls://host:port", text)
}
