//go:build !unix

package inbox

import "errors"

// useRaw does nothing: the Reader reads by conn.Read.
func (r *Reader) useRaw() {}

func (r *Reader) readRaw([]byte, bool) (int, error) { return 0, errors.ErrUnsupported }
