package main

import (
	"errors"
	"io"
	"io/fs"
	"os"

	tp "github.com/teleport-go/teleport/core"
)

// store serves the files of a directory.
type store struct {
	dir   *os.Root // out of which no name leads
	limit int64    // on the size of a file
}

func (s *store) register(r tp.Router) {
	tp.HandleCall(r, "/files/info", s.info)
	tp.HandleCall(r, "/files/held", s.held)
	tp.HandleStream(r, "/files/get", s.get)
	tp.HandleStream(r, "/files/put", s.put)
}

func (s *store) open(name string) (*os.File, error) {
	f, err := s.dir.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure(tp.CodeNotFound, tp.CodeText(tp.CodeNotFound), "there is no file %q", name)
	}
	return f, err
}

// info returns what is in a file.
func (s *store) info(_ tp.CallCtx, name *string) (file, error) {
	f, err := s.open(*name)
	if err != nil {
		return file{}, err
	}
	defer f.Close()
	return describe(*name, f)
}

// held returns what the server has of a file, so that an upload begins there.
func (s *store) held(ctx tp.CallCtx, f *file) (held, error) {
	if err := f.check(); err != nil {
		return held{}, err
	}
	if had, err := s.info(ctx, &f.Name); err == nil && had == *f {
		return held{f.Size, true}, nil
	}
	info, err := s.dir.Stat(f.partName())
	if errors.Is(err, fs.ErrNotExist) {
		return held{}, nil
	}
	if err != nil {
		return held{}, err
	}
	return held{Offset: min(info.Size(), f.Size)}, nil
}

// get sends a file from an offset on.
func (s *store) get(ctx tp.StreamCtx, st *tp.Stream[[]byte, []byte]) error {
	var p part
	if _, err := ctx.Bind(&p); err != nil {
		return badRequest("%v", err)
	}
	if err := p.check(); err != nil {
		return err
	}
	f, err := s.open(p.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	switch now, err := describe(p.Name, f); {
	case err != nil:
		return err
	case now != p.file:
		return failure(codeChanged, "Changed", "the file %q has changed: begin anew", p.Name)
	}
	_, err = io.Copy(tp.StreamWriter(st), io.NewSectionReader(f, p.Offset, p.Size-p.Offset))
	return err
}

// put receives a file from an offset on. What has come before an error stays.
func (s *store) put(ctx tp.StreamCtx, st *tp.Stream[[]byte, []byte]) error {
	var p part
	if _, err := ctx.Bind(&p); err != nil {
		return badRequest("%v", err)
	}
	if err := p.check(); err != nil {
		return err
	}
	if p.Size > s.limit {
		return badRequest("%q has %d bytes, more than the limit of %d", p.Name, p.Size, s.limit)
	}
	f, err := s.dir.OpenFile(p.partName(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return err
	} else if p.Offset > info.Size() {
		return badRequest("the offset is %d, but only %d bytes of %q are here", p.Offset, info.Size(), p.Name)
	}
	r := tp.StreamReader(st)
	n, err := io.Copy(io.NewOffsetWriter(f, p.Offset), io.LimitReader(r, p.Size-p.Offset))
	if err != nil {
		return err
	}
	if p.Offset+n < p.Size {
		return badRequest("%q ends after %d bytes, and not after %d", p.Name, p.Offset+n, p.Size)
	}
	switch _, err := io.CopyN(io.Discard, r, 1); err {
	case io.EOF:
	case nil:
		return badRequest("%q does not end after %d bytes", p.Name, p.Size)
	default:
		return err
	}
	return complete(s.dir, f, &p.file)
}

// complete closes f and gives it its name, if what has arrived is the file.
func complete(dir *os.Root, f *os.File, want *file) error {
	got, err := describe(want.Name, io.NewSectionReader(f, 0, want.Size+1))
	if err != nil {
		return err
	}
	if got != *want {
		dir.Remove(want.partName())
		return failure(codeDamaged, "Damaged", "%q has %d bytes with the sha256 %s; want %d with %s", got.Name, got.Size, got.SHA256, want.Size, want.SHA256)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil { // an open file has no new name on Windows
		return err
	}
	err = dir.Rename(want.partName(), want.Name)
	if errors.Is(err, fs.ErrNotExist) { // another attempt has ended at the same time
		_, err = dir.Stat(want.Name)
	}
	return err
}
