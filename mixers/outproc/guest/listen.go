package guest

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// listen serves hosts at the address of Config.Listen until the process gets a signal to
// end, and then answers what is under way.
func (s *server) listen() error {
	s.token = s.cfg.Token
	if s.token == "" {
		s.token = os.Getenv(contract.EnvToken)
	}
	os.Unsetenv(contract.EnvToken)
	cfg, err := s.listenConfig()
	if err != nil {
		return fmt.Errorf("listen at %s: %w", s.cfg.Listen, err)
	}
	if err := s.open(cfg); err != nil {
		return err
	}
	defer s.peer.Close()
	if cfg.Network == "tcp" {
		if err := s.peer.SetTLSConfig(s.cfg.TLS); err != nil {
			return err
		}
	}
	if err := s.peer.Listen(); err != nil {
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(end)
	slog.Info("guest: hosts can connect", "name", s.desc.Name, "address", s.peer.Addrs()[0].String())
	<-end
	return nil
}

// listenConfig returns what the address says.
func (s *server) listenConfig() (cfg tp.PeerConfig, err error) {
	u, err := url.Parse(s.cfg.Listen)
	switch {
	case err != nil:
		return cfg, err
	case u.Scheme == "unix" && u.Host == "" && u.Path != "":
		return tp.PeerConfig{Network: "unix", LocalIP: u.Path}, nil
	case u.Scheme != "tcp+tls":
		return cfg, errors.New("the address is neither unix:///path nor tcp+tls://host:port")
	case s.cfg.TLS == nil:
		return cfg, errors.New("tcp+tls needs Config.TLS")
	case s.token == "":
		return cfg, errors.New("tcp+tls needs a token: set Config.Token or " + contract.EnvToken)
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		return cfg, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return tp.PeerConfig{Network: "tcp", LocalIP: host, ListenPort: uint16(n)}, err
}
