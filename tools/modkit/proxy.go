package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	xmod "golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/zip"
)

type proxyCmd struct {
	Dir     string `arg:"" type:"path" help:"Where to write it."`
	Version string `help:"Version of all modules; by default the one at which they require each other."`
}

func (c *proxyCmd) Run(e *env) error {
	r, err := loadRepo(e.root)
	if err != nil {
		return err
	}
	if c.Version == "" {
		if c.Version, err = r.version(); err != nil {
			return err
		}
	}
	if err := checkVersion(c.Version); err != nil {
		return err
	}
	if err := r.writeProxy(c.Dir, c.Version); err != nil {
		return err
	}
	fmt.Fprintln(e.out, fileURL(c.Dir))
	return nil
}

func checkVersion(v string) error {
	if semver.Canonical(v) != v || v == "" {
		return fmt.Errorf("modkit: %q is not a version; want one like %s", v, firstVersion)
	}
	if major := semver.Major(v); major != "v0" && major != "v1" {
		return fmt.Errorf("modkit: version %s: from v2 on, a module path ends in /%s", v, major)
	}
	return nil
}

// writeProxy writes every module of the workspace to a directory that serves as GOPROXY.
func (r *repo) writeProxy(dir, version string) error {
	for _, m := range r.workspace() {
		if _, err := r.publish(m, dir, version); err != nil {
			return err
		}
	}
	return nil
}

// sums are the two hashes of a module that stand in go.sum.
type sums struct{ zip, mod string }

func (s sums) lines(path, version string) string {
	return fmt.Sprintf("%s %s %s\n%s %s/go.mod %s\n", path, version, s.zip, path, version, s.mod)
}

// publish writes one module to the proxy directory, and returns its hashes.
// They are those of the published version, since the zip has the files that the go
// command would take from the repository: those git knows, and the licence of the
// root.
func (r *repo) publish(m *module, dir, version string) (sums, error) {
	escaped, err := xmod.EscapePath(m.path())
	if err != nil {
		return sums{}, err
	}
	at := filepath.Join(dir, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		return sums{}, err
	}
	mod, err := m.modAt(version)
	if err != nil {
		return sums{}, err
	}
	var b bytes.Buffer
	if err := r.zipModule(&b, m, mod, version); err != nil {
		return sums{}, fmt.Errorf("modkit: zip of %s: %w", m.Dir, err)
	}
	for name, data := range map[string][]byte{
		"list":            []byte(version + "\n"),
		version + ".info": fmt.Appendf(nil, "{\"Version\":%q,\"Time\":%q}\n", version, time.Now().UTC().Format(time.RFC3339)),
		version + ".mod":  mod,
		version + ".zip":  b.Bytes(),
	} {
		if err := os.WriteFile(filepath.Join(at, name), data, 0o644); err != nil {
			return sums{}, err
		}
	}
	var s sums
	if s.zip, err = dirhash.HashZip(filepath.Join(at, version+".zip"), dirhash.Hash1); err != nil {
		return sums{}, err
	}
	s.mod, err = dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(mod)), nil })
	return s, err
}

// modAt is the go.mod of a module that requires its siblings at this version.
func (m *module) modAt(version string) ([]byte, error) {
	data := modfile.Format(m.Mod.Syntax)
	f, err := modfile.Parse(m.Dir+"/go.mod", data, nil)
	if err != nil {
		return nil, err
	}
	for _, dir := range m.siblings() {
		if err := f.AddRequire(prefix+dir, version); err != nil {
			return nil, err
		}
	}
	return f.Format()
}

// zipModule writes the zip of a module as the module proxies hold it.
func (r *repo) zipModule(w io.Writer, m *module, mod []byte, version string) error {
	names, err := r.files(m)
	if err != nil {
		return err
	}
	var files []zip.File
	licensed := false
	for _, name := range names {
		switch name {
		case "go.mod":
			continue
		case "LICENSE":
			licensed = true
		}
		files = append(files, diskFile{name, filepath.Join(r.dir(m), filepath.FromSlash(name))})
	}
	files = append(files, madeFile{"go.mod", mod})
	if licence := filepath.Join(r.root, "LICENSE"); !licensed {
		if _, err := os.Stat(licence); err == nil {
			files = append(files, diskFile{"LICENSE", licence})
		}
	}
	checked, err := zip.CheckFiles(files)
	if err != nil {
		return err
	}
	if err := checked.Err(); err != nil {
		return err
	}
	return zip.Create(w, xmod.Version{Path: m.path(), Version: version}, files)
}

// files returns the names of a module's files, relative to its directory: those
// that git tracks or would add; without git, all of them.
func (r *repo) files(m *module) ([]string, error) {
	out, err := run(r.dir(m), nil, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return r.allFiles(m)
	}
	var names []string
	for name := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		info, err := os.Lstat(filepath.Join(r.dir(m), filepath.FromSlash(name)))
		if err != nil || !info.Mode().IsRegular() || r.nested(m, name) {
			continue // deleted and not yet committed, a link, or another module
		}
		names = append(names, name)
	}
	return names, nil
}

func (r *repo) allFiles(m *module) ([]string, error) {
	checked, err := zip.CheckDir(r.dir(m))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, at := range checked.Valid {
		name, err := filepath.Rel(r.dir(m), at)
		if err != nil {
			return nil, err
		}
		names = append(names, filepath.ToSlash(name))
	}
	return names, nil
}

// nested reports whether a file of m's directory belongs to a module below it.
func (r *repo) nested(m *module, name string) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if r.get(m.Dir+"/"+dir) != nil {
			return true
		}
	}
	return false
}

// diskFile is a file on the disk under its name in the zip.
type diskFile struct{ name, at string }

func (f diskFile) Path() string                 { return f.name }
func (f diskFile) Lstat() (os.FileInfo, error)  { return os.Lstat(f.at) }
func (f diskFile) Open() (io.ReadCloser, error) { return os.Open(f.at) }

// madeFile is a file in memory.
type madeFile struct {
	name string
	data []byte
}

func (f madeFile) Path() string                 { return f.name }
func (f madeFile) Lstat() (os.FileInfo, error)  { return madeInfo{f}, nil }
func (f madeFile) Open() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(f.data)), nil }

type madeInfo struct{ f madeFile }

func (i madeInfo) Name() string       { return path.Base(i.f.name) }
func (i madeInfo) Size() int64        { return int64(len(i.f.data)) }
func (i madeInfo) Mode() os.FileMode  { return 0o644 }
func (i madeInfo) ModTime() time.Time { return time.Time{} }
func (i madeInfo) IsDir() bool        { return false }
func (i madeInfo) Sys() any           { return nil }
