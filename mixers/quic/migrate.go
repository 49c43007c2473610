package quic

import (
	"context"
	"errors"
	"fmt"
)

// Migrate moves the connection to a new UDP socket with the local IP address, "" for any,
// once the server has answered there; until then, and on an error, it goes on as before.
// Messages are neither lost nor interrupted. Only the dialling side can migrate.
//
// A session dialled without LocalIP follows the system's routes by itself; Migrate is for
// a program that knows better, such as one that prefers a network that has come up.
// Each call keeps a socket until the connection ends.
func (c *Conn) Migrate(ctx context.Context, localIP string) error {
	if c.listener != nil {
		return fmt.Errorf("quic: migrate to %q: only the dialling side can: %w", localIP, errors.ErrUnsupported)
	}
	if err := c.migrate(ctx, localIP); err != nil {
		return fmt.Errorf("quic: migrate to %q: %w", localIP, err)
	}
	return nil
}

func (c *Conn) migrate(ctx context.Context, localIP string) error {
	if ctx.Err() != nil { // Probe may prefer an answer that is there already
		return context.Cause(ctx)
	}
	addr, err := localAddr(localIP, 0)
	if err != nil {
		return err
	}
	s, err := new(pool).open(addr, nil)
	if err != nil {
		return err
	}
	c.mu.Lock()
	closed := c.sockets == nil
	if !closed {
		c.sockets = append(c.sockets, s) // which releases it: a transport must outlive its paths
	}
	c.mu.Unlock()
	if closed {
		s.release()
		return c.conn.Context().Err()
	}
	path, err := c.conn.AddPath(&s.transport)
	if err != nil {
		return err
	}
	if err := path.Probe(ctx); err != nil {
		path.Close()
		return err
	}
	return path.Switch()
}
