package evio

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	tp "github.com/teleport-go/teleport/core"
)

// networks are those that loops can wait for.
var networks = []string{"tcp", "tcp4", "tcp6", "unix"}

// ErrNetwork is in the error for a network that event loops cannot wait for.
//
//lint:ignore ST1005 the text is that of v5 and v7, which users search for
var ErrNetwork = errors.New("Unsupport evio network")

// Server is a peer whose sessions are served by event loops. It can dial, too.
type Server struct {
	tp.Peer
}

// NewServer makes a server with so many event loops; not above 0 means cfg.Loops, or else
// one per processor. It panics with the error that Open would return.
func NewServer(loops int, cfg tp.PeerConfig, globalLeftPlugin ...tp.Plugin) *Server {
	srv, err := Open(loops, cfg, globalLeftPlugin...)
	if err != nil {
		panic(err)
	}
	return srv
}

// Open is NewServer, but returns an error: that of tp.Open, or one that wraps ErrNetwork
// if the network is none of tcp, tcp4, tcp6 and unix.
func Open(loops int, cfg tp.PeerConfig, globalLeftPlugin ...tp.Plugin) (*Server, error) {
	network := cfg.Network
	if cfg.Net != nil {
		network = cfg.Net.Name
	}
	if network != "" && !slices.Contains(networks, network) {
		return nil, fmt.Errorf("evio: network %q: %w, refer to the following: %s", network, ErrNetwork, strings.Join(networks, ", "))
	}
	switch {
	case loops > 0:
		cfg.Loops = loops
	case cfg.Loops <= 0:
		cfg.Loops = -1
	}
	p, err := tp.Open(cfg, globalLeftPlugin...)
	if err != nil {
		return nil, err
	}
	return &Server{p}, nil
}

// NewClient is tp.NewPeer: a client needs no loops, and its sessions have no goroutine
// while nothing comes.
func NewClient(cfg tp.PeerConfig, globalLeftPlugin ...tp.Plugin) tp.Peer {
	return tp.NewPeer(cfg, globalLeftPlugin...)
}
