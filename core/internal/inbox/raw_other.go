//go:build !unix

package inbox

import "errors"

// useRaw leaves the reading to conn.Read.
func (r *Reader) useRaw() {}

func (r *Reader) readRaw([]byte, bool) (int, error) { return 0, errors.ErrUnsupported }
