package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// progress is called with how many bytes of a file are there.
type progress func(done, size int64)

// upload sends a file. It begins where the server's part ends, and anew after each break of
// the connection, which the session makes again. It returns how often it has begun.
func upload(ctx context.Context, sess tp.Session, path string, show progress) (attempts int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	what, err := describe(filepath.Base(path), f)
	if err != nil {
		return 0, err
	}
	return untilDone(ctx, func() (int64, error) {
		has, err := tp.Invoke[held](ctx, sess, "/files/held", what)
		if err != nil || has.Complete {
			return has.Offset, err
		}
		st, err := tp.OpenStream[[]byte, []byte](ctx, sess, "/files/put", tp.WithBody(part{what, has.Offset}))
		if err != nil {
			return has.Offset, err
		}
		defer st.Close()
		rest := io.NewSectionReader(f, has.Offset, what.Size-has.Offset)
		w := tp.StreamWriter(st)
		n, err := io.Copy(&counter{w, has.Offset, what.Size, show}, rest)
		if err == nil {
			err = w.Close()
		}
		if err == nil || errors.Is(err, tp.ErrStreamEnded) {
			err = st.Wait() // the server has the file, and it is whole; or why it has not
		}
		return has.Offset + n, err
	})
}

// download receives a file of the server's into a directory, in the same way.
func download(ctx context.Context, sess tp.Session, name, into string, show progress) (attempts int, err error) {
	dir, err := os.OpenRoot(into)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	what := file{}
	return untilDone(ctx, func() (int64, error) {
		if what.Name == "" {
			if what, err = tp.Invoke[file](ctx, sess, "/files/info", name); err != nil {
				return 0, err
			}
			if err := what.check(); err != nil {
				return 0, err
			}
		}
		f, err := dir.OpenFile(what.partName(), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		offset, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return 0, err
		}
		st, err := tp.OpenStream[[]byte, []byte](ctx, sess, "/files/get", tp.WithBody(part{what, min(offset, what.Size)}))
		if err != nil {
			return offset, err
		}
		r := tp.StreamReader(st)
		defer r.Close()
		rest := io.LimitReader(r, what.Size-offset+1) // a byte too many is enough to notice
		n, err := io.Copy(&counter{f, offset, what.Size, show}, rest)
		if err != nil {
			return offset + n, err
		}
		return offset + n, complete(dir, f, &what)
	})
}

const (
	pause     = 100 * time.Millisecond // between two attempts
	mostInRow = 50                     // attempts without a byte more
)

// untilDone calls attempt, which returns how far it has come, until it succeeds or fails
// otherwise than by the connection.
func untilDone(ctx context.Context, attempt func() (int64, error)) (attempts int, err error) {
	best, inRow := int64(-1), 0
	for {
		attempts++
		at, err := attempt()
		switch {
		case err == nil:
			return attempts, nil
		case !errors.Is(err, tp.ErrConnClosed) && !errors.Is(err, tp.ErrNotRun):
			return attempts, err
		}
		if inRow++; at > best {
			best, inRow = at, 0
		}
		if inRow == mostInRow {
			return attempts, fmt.Errorf("%d attempts in a row came no further than %d bytes: %w", mostInRow, best, err)
		}
		select {
		case <-ctx.Done():
			return attempts, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// counter is a writer that shows the progress.
type counter struct {
	io.Writer
	done, size int64
	show       progress
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.done += int64(n)
	if c.show != nil {
		c.show(c.done, c.size)
	}
	return n, err
}
